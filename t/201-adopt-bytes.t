use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Adopt;
use EV;
use EV::Websockets;
use Events;
use Frame;
use IO::Handle;
use Run;
use Test::More;

# What was read before adopt, wherever it is: in initial_data, in the handle's
# buffer, still on the socket. Every byte counts once, and in order.

my $context = EV::Websockets::Context->new;
my $mask    = "\1\2\3\4";
my $long    = 'x' x 3000;
my $frames  = join '', map { frame(mask => $mask, opcode => TEXT, payload => $_) } 'one', '', $long;
my $stream  = request(headers => { 'X-A' => 'b' }) . $frames;

# Adopts with the first bytes as initial_data, the next ones in the handle's
# buffer (read ahead by a readline), the rest written afterwards.
sub adopt_in_parts {
    my ($given, $buffered, $later) = @_;
    my ($near, $far) = unix_pair();
    if (length $buffered) {
        syswrite $far, "line\n$buffered";
        readline($near) eq "line\n" or die "no line\n";
    }
    my ($peer, $events) = (peer_on($far), Events->new);
    $context->adopt(fh => $near, initial_data => $given, $events->handlers);
    $peer->put($later) if length $later;
    my $came = wait_until(sub { $events->count('message') == 3 && defined $peer->head });
    my $same = $came && $peer->status == 101 && $events->last_of('connect')->[0]{'X-A'} eq 'b'
        && join('|', $events->messages) eq "one||$long" && $events->order eq 'connect message message message';
    $events->conn->abort if $events->conn;
    return $same;
}

my $length = length $stream;
my @wrong = grep { !adopt_in_parts(substr($stream, 0, $_), '', substr($stream, $_)) }
    0 .. $length - 3000, $length - 1, $length;
is_deeply(\@wrong, [], 'initial_data may end at every byte of the request and the frames');

# Perl's own buffer has 8 KiB, more than all of this.
@wrong = grep { !adopt_in_parts('', substr($stream, 0, $_), substr($stream, $_)) }
    grep { $_ % 7 == 1 || $_ > $length - 3 } 1 .. $length;
is_deeply(\@wrong, [], 'and so may what is in the buffer of the handle');

ok(adopt_in_parts(substr($stream, 0, 50), substr($stream, 50, 200), substr($stream, 250)), 'all three in order');
ok(adopt_in_parts(substr($stream, 0, 300), substr($stream, 300), ''), 'nothing left on the socket');

subtest 'bytes that were put back, above those that were read ahead' => sub {
    my ($near, $far) = unix_pair();
    syswrite $far, "line\n" . substr $stream, 2;
    readline $near;
    $near->ungetc(ord 'E');
    $near->ungetc(ord 'G');
    my ($peer, $events) = (peer_on($far), Events->new);
    $context->adopt(fh => $near, $events->handlers);
    run_until(sub { $events->count('message') == 3 }, 'all messages come');
    is_deeply([ $events->messages ], [ 'one', '', $long ], 'and are right');
};

subtest 'a refused socket keeps what was in its buffer' => sub {
    my ($near, $far) = unix_pair();
    syswrite $far, "line\nGET / HTTP/1.1\r\n\r\nsecond\n";
    readline $near;
    croaks_like { $context->adopt(fh => $near) } qr/\AFailed to adopt socket: 426 /, 'no upgrade';
    is(scalar readline($near), "GET / HTTP/1.1\r\n", 'its lines can be read');
    is(scalar readline($near), "\r\n", 'in order');
    is(scalar readline($near), "second\n", 'to the last one');
};

subtest 'what was printed goes out first' => sub {
    my ($near, $far) = unix_pair();
    $near->autoflush(0);
    print $near "HTTP/1.1 100 Continue\r\n\r\n";
    my ($peer, $events) = (peer_on($far), Events->new);
    $context->adopt(fh => $near, initial_data => request(), $events->handlers);
    run_until(sub { $events->count('connect') && $peer->rest }, 'connected');
    is($peer->status, 100, 'what was printed');
    like($peer->rest, qr{\AHTTP/1\.1 101 }, 'and then the upgrade');
};

subtest 'initial_data with the UTF-8 flag is the same bytes' => sub {
    my ($near, $far) = unix_pair();
    my ($peer, $events) = (peer_on($far), Events->new);
    my $bytes = request() . frame(mask => "\xff\xfe\xfd\xfc", opcode => BINARY, payload => "\x80\xff");
    utf8::upgrade($bytes);
    $context->adopt(fh => $near, initial_data => $bytes, $events->handlers);
    run_until(sub { $events->count('message') }, 'a message');
    is(($events->messages)[0], "\x80\xff", 'is right');
    ok(utf8::is_utf8($bytes), 'the scalar is as it was');
};

# ---- sockets whose upgrade is over ----

subtest 'upgraded, as the server' => sub {
    my ($near, $far) = unix_pair();
    my ($peer, $events) = (peer_on($far), Events->new);
    $peer->{head} = '';    # there will be none
    my $conn = $context->adopt(fh => $near, upgraded => 1, protocol => 'chat', initial_data => substr($frames, 0, 5),
        $events->handlers);
    is($conn->state, 'connecting', 'state');
    $peer->put(substr $frames, 5);
    run_until(sub { $events->count('message') == 3 }, 'all messages come');
    is_deeply($events->last_of('connect'), [ {} ], 'on_connect has no headers');
    is_deeply([ $events->messages ], [ 'one', '', $long ], 'messages');
    is($conn->get_protocol, 'chat', 'the subprotocol that was given');
    is($conn->extensions, undef, 'no extension');
    $conn->send('answer');
    run_until(sub { $peer->frames_of(TEXT) }, 'an answer');
    my ($answer) = $peer->frames_of(TEXT);
    is_deeply([ @$answer{qw(payload masked)} ], [ 'answer', 0 ], 'is the first thing that was sent, and not masked');
    $conn->close(1000);
    run_until(sub { $peer->close_read }, 'a Close');
    $peer->send_close(1000);
    run_until(sub { $peer->eof && $events->count('close') }, 'the end');
};

subtest 'as the client' => sub {
    my ($near, $far) = unix_pair();
    my ($peer, $events) = (RawPeer->new($far, role => 'server'), Events->new);
    $peer->{head} = '';
    my $conn = $context->adopt(fh => $near, role => 'client', $events->handlers,
        initial_data => frame(opcode => TEXT, payload => 'from the server'));
    run_until(sub { $events->count('message') }, 'a message');
    $conn->send($_) for 'a', 'b';
    run_until(sub { $peer->frames_of(TEXT) == 2 }, 'answers');
    is_deeply([ map { $_->{payload} } $peer->frames_of(TEXT) ], [ 'a', 'b' ], 'are right');
    my @keys = map { $_->{key} } $peer->frames_of(TEXT);
    isnt($keys[0], $keys[1], 'each is masked with a key of its own');
    $peer->put(frame(mask => $mask, opcode => TEXT, payload => 'x'));
    run_until(sub { $events->count('close') }, 'a server that masks');
    is($events->last_of('close')->[0], 1002, 'breaks the protocol');
};

subtest 'both ends ours' => sub {
    my ($near, $far) = unix_pair();
    my ($server, $client) = (Events->new, Events->new);
    my $s = $context->adopt(fh => $near, upgraded => 1, role => 'server',
        $server->handlers(on_message => sub { $_[0]->send($_[1]) }));
    my $c = $context->adopt(fh => $far, role => 'client', $client->handlers(on_connect => sub { $_[0]->send($long x 100) }));
    run_until(sub { $client->count('message') }, 'an echo');
    is(length(($client->messages)[0]), 300_000, 'is whole');
    $c->close(4000, 'enough');
    run_until(sub { $client->count('close') && $server->count('close') }, 'closed');
    is_deeply([ $server->last_of('close'), $client->last_of('close') ], [ [ 4000, 'enough' ], [ 4000, undef ] ], 'at both ends');
};

my ($near) = unix_pair();
my %wrong = (
    headers      => { 'X-A' => 1 },
    on_handshake => sub { },
    deflate      => 1,
    env          => {},
    handshake_timeout => 5,
);
for my $option (sort keys %wrong) {
    croaks_with { $context->adopt(fh => $near, upgraded => 1, $option => $wrong{$option}) }
        "adopt: $option is for an upgrade, and that of this socket is over", "upgraded with $option";
}
croaks_with { $context->adopt(fh => $near, upgraded => 1, protocol => 'a, b') }
    'adopt: the upgrade of this socket is over: protocol must be the one that was agreed on', 'two protocols';
croaks_with { $context->adopt(fh => $near, role => 'proxy') }
    "adopt: role must be 'client' or 'server' (got 'proxy')", 'an unknown role';
croaks_with { $context->adopt(fh => $near, role => 'client', upgraded => 0) }
    "adopt: role 'client' is for a socket whose upgrade is over, and upgraded is false", 'a client that is not';

finish;
