use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Events;
use RawServer;
use Run;
use Test::More;

# The headers of the response, as on_connect of a client gets them, and the
# responses that are a little unusual but right.

my @answer;
my $server  = RawServer->new(answer => sub { $_[0]->accept(@answer) });
my $context = EV::Websockets::Context->new;

sub headers_for {
    my ($name, @response) = @_;
    @answer = @response;
    my $events = Events->new;
    my $conn = $context->connect(url => 'ws://127.0.0.1:' . $server->port, $events->handlers);
    run_until(sub { $events->log->[0] }, "$name: answered");
    is($events->order, 'connect', "$name: connected");
    diag($events->last_of('error')->[0]) if $events->count('error');
    return $events->count('connect') ? $events->last_of('connect')->[0] : {};
}

my $headers = headers_for('many headers', fields => [
    'server: Raw/1.0', 'X-LOUD-name: v', 'www-authenticate: Basic', 'X-Spaces:    around it   ',
    'X-Tight:value', 'X-Twice: one', 'x-twice: two', 'Set-Cookie: a=1; Path=/', 'set-cookie: b=2, or 3',
    'X-Empty:', "X-Bytes: caf\xc3\xa9", 'X-Colon: a: b',
]);
is($headers->{Server}, 'Raw/1.0', 'a name in canonical capitals');
is($headers->{'X-Loud-Name'}, 'v', 'whatever the peer made of it');
is($headers->{'WWW-Authenticate'}, 'Basic', 'WWW-Authenticate');
is($headers->{'X-Spaces'}, 'around it', 'white space around a value is no part of it');
is($headers->{'X-Tight'}, 'value', 'nor is it needed');
is($headers->{'X-Twice'}, 'one, two', 'repeated: joined with ", "');
is($headers->{'Set-Cookie'}, "a=1; Path=/\nb=2, or 3", 'Set-Cookie: joined with a newline');
is($headers->{'X-Empty'}, '', 'an empty value');
is($headers->{'X-Bytes'}, "caf\xc3\xa9", 'bytes are bytes');
ok(!utf8::is_utf8($headers->{'X-Bytes'}), 'without the UTF8 flag');
is($headers->{'X-Colon'}, 'a: b', 'a colon in a value');
is($headers->{Upgrade}, 'websocket', 'Upgrade');
is($headers->{Connection}, 'Upgrade', 'Connection');
ok($headers->{'Sec-WebSocket-Accept'}, 'Sec-WebSocket-Accept');
is_deeply([ grep { exists $headers->{$_} } qw(Path Query URI) ], [], 'no Path, Query or URI: they belong to requests');

headers_for('Upgrade in capitals', with => { Upgrade => 'WebSocket' });
headers_for('connection in lower case', with => { Connection => 'upgrade' });
headers_for('a list in Connection', with => { Connection => 'keep-alive, Upgrade' });
headers_for('another reason phrase', status => 'HTTP/1.1 101 Yes please');
headers_for('no reason phrase', status => 'HTTP/1.1 101 ');
is(headers_for('200 headers', fields => [ map { "X-Number-$_: $_" } 1 .. 60 ])->{'X-Number-60'}, '60', 'many of them');

# Frames that arrive in one segment with the 101 come after on_connect.
{
    my $eager = RawServer->new(answer => sub {
        my ($peer) = @_;
        $peer->put($peer->response . $peer->make(1, 'at once') . $peer->make(1, 'and again'));
    });
    my $events = Events->new;
    my $conn = $context->connect(url => 'ws://127.0.0.1:' . $eager->port, $events->handlers);
    run_until(sub { $events->count('message') == 2 }, 'messages together with the 101');
    is($events->order, 'connect message message', 'on_connect first');
    is_deeply([ $events->messages ], [ 'at once', 'and again' ], 'in order');
}

# A response in single bytes.
{
    my $slow = RawServer->new(answer => sub {
        my ($peer) = @_;
        my @bytes = split //, $peer->response . $peer->make(1, 'slowly');
        $peer->{drip} = EV::timer(0, 0.001, sub { @bytes ? $peer->put(shift @bytes) : delete $peer->{drip} });
    });
    my $events = Events->new;
    my $conn = $context->connect(url => 'ws://127.0.0.1:' . $slow->port, $events->handlers);
    run_until(sub { $events->count('message') }, 'a response and a frame, byte by byte');
    is($events->order, 'connect message', 'are understood');
    is(($events->messages)[0], 'slowly', 'as they were meant');
}

finish();
