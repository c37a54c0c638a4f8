use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Pair;
use RawPeer;
use Run;
use Test::More;

# on_handshake: accept, accept with headers, reject.

my ($answer, @seen, @listed);
my $pair;
$pair = Pair->listen(listen => {
    headers      => { 'X-Always' => 'yes' },
    on_handshake => sub {
        push @seen, [@_];
        @listed = $pair->context->connections;
        return ref $answer eq 'CODE' ? $answer->() : $answer;
    },
});
my $server = $pair->server;

sub answered {
    my ($name, $with) = @_;
    $answer = $with;
    @seen = ();
    $server->forget;
    my $peer = RawPeer->connect($pair->port);
    $peer->upgrade(path => '/p%20q?r', headers => { 'X-Token' => 'abc', Cookie => [ 'a=1', 'b=2' ] });
    run_until(sub { defined $peer->head }, "$name: answered");
    is(scalar @seen, 1, "$name: asked once");
    return $peer;
}

sub accepted {
    my ($name, $with) = @_;
    my $peer = answered($name, $with);
    is($peer->status, 101, "$name: accepted");
    run_until(sub { $server->count('connect') }, "$name: connected");
    is_deeply([ $peer->header('X-Always') ], ['yes'], "$name: the listener's own header");
    return $peer;
}

sub rejected {
    my ($name, $with) = @_;
    my $peer = answered($name, $with);
    is($peer->start_line, 'HTTP/1.1 403 Forbidden', "$name: the status line");
    run_until(sub { $peer->eof }, "$name: and the end of the connection");
    is_deeply([ $peer->header('Sec-WebSocket-Accept') ], [], "$name: no upgrade");
    is($server->count('connect') + $server->count('close'), 0, "$name: neither on_connect nor on_close");
    is_deeply([ $pair->context->connections ], [], "$name: no connection");
}

accepted('a true value', 1);
is(scalar @{ $seen[0] }, 2, 'two arguments');
is(ref $seen[0][1], 'EV::Websockets::Handshake', 'the second is for a decision that comes later');
my $headers = $seen[0][0];
is(ref $headers, 'HASH', 'a hash ref');
is($headers->{'X-Token'}, 'abc', 'with the request headers');
is($headers->{Cookie}, 'a=1; b=2', 'joined');
is_deeply([ @$headers{qw(Path Query URI)} ], [ '/p q', 'r', '/p%20q?r' ], 'and Path, Query, URI');
is_deeply($headers, $server->last_of('connect')->[0], 'the same that on_connect gets');
is_deeply(\@listed, [], 'the connection is not there yet');
$_->close for $pair->context->connections;

for my $true ([ 'a string', 'yes' ], [ 'an array ref', [] ], [ 'an empty hash ref', {} ], [ 'a code ref result', sub { (0, 1) } ]) {
    accepted(@$true)->hang_up;
    run_until(sub { $server->count('close') }, "$true->[0]: gone");
}

# A program that returned the user it had found sent every field of that object,
# the password's hash among them, to the client.
{ package Account; sub new { my $class = shift; return bless {@_}, $class } }
{ package Truth; use overload bool => sub { $_[0]{admitted} }, fallback => 1; our @ISA = 'Account' }
my $account = accepted('an object', Account->new(name => 'alice', password_hash => '$2b$12$secret'));
unlike($account->head, qr/alice|secret|password|^name/mi, 'what is in it is not sent');
$account->hang_up;
run_until(sub { $server->count('close') }, 'the object: gone');
accepted('an object that is true', Truth->new(admitted => 1))->hang_up;
run_until(sub { $server->count('close') }, 'the true object: gone');

my $with = accepted('a hash ref', { 'x-mIxed' => 'v', 'Set-Cookie' => [ 'a=1', 'b=2' ], 'X-Number' => 3 });
like($with->head, qr/^x-mIxed: v\r$/m, 'its headers are in the 101, spelled as given');
is_deeply([ $with->header('Set-Cookie') ], [ 'a=1', 'b=2' ], 'repeated for an array ref');
is_deeply([ $with->header('X-Number') ], ['3'], 'a number');
is_deeply([ accepted('the next one', 1)->header('x-mIxed') ], [], 'and in this one alone');

# All that was accepted goes away, so that what follows can see its own.
$_->close for $pair->context->connections;
undef $with;
run_until(sub { my @left = $pair->context->connections; !@left }, 'all are closed');

rejected('0', 0);
rejected('the empty string', '');
rejected('undef', undef);
rejected('"0"', '0');
rejected('the empty list', sub { return });
rejected('an object that is false', Truth->new(admitted => 0));
is(join('', warned()), '', 'no warning for any of them');
rejected('a die', sub { die "no entry\n" });
is(join('', warned()), "EV::Websockets: exception in on_handshake: no entry\n", 'a die is warned');

# A header that would split the response is never sent.
{
    my $peer = answered('CR LF in a header value', { 'X-A' => "a\r\nX-Evil: 1" });
    isnt($peer->status, 101, 'is not accepted');
    is_deeply([ $peer->header('X-Evil') ], [], 'and not sent');
    run_until(sub { $peer->eof }, 'the connection ends');
    my @warnings = warned();
    is(scalar(grep { !/EV::Websockets/ } @warnings), 0, 'whatever is warned names the module');
}

# A request that is no upgrade is not asked about.
{
    @seen = ();
    my $peer = RawPeer->connect($pair->port)->put("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    run_until(sub { defined $peer->head }, 'a plain GET is answered');
    is(scalar @seen, 0, 'without on_handshake');
}

# A client of ours sees the status.
{
    $answer = 0;
    my $events = Events->new;
    my $conn = $pair->context->connect(url => 'ws://127.0.0.1:' . $pair->port, $events->handlers);
    run_until(sub { $events->count('error') }, 'our client is rejected');
    like($events->last_of('error')->[0], qr/403 Forbidden/, 'and told so');
    is($events->order, 'error', 'once');
    is($conn->state, 'closed', 'closed');
}

finish();
