use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Adopt;
use EV;
use EV::Websockets;
use Events;
use Frame;
use IO::Socket::INET;
use POSIX ();
use Run;
use Socket;
use Test::More;

# adopt: a socket that the program had before becomes a server's connection.

my $context = EV::Websockets::Context->new;

# Every way to come by a connected stream socket, and every portion of the
# request that may have been read already.
my %pairs = (
    'TCP, IPv4'    => sub { tcp_pair('127.0.0.1') },
    'TCP, IPv6'    => sub { tcp_pair('::1') },
    'a socketpair' => sub { unix_pair() },
);
my $request = request(path => '/room%201?who=ann', headers => { 'X-Own' => 'yes', Cookie => 'a=1' });
my %portions = (
    'nothing of the request'     => '',
    'half of the request'        => substr($request, 0, length($request) / 2),
    'the request'                => $request,
);
for my $kind (sort keys %pairs) {
    my @pair = eval { $pairs{$kind}->() };
    if (!@pair) {
        note "$kind: not here: $@";
        next;
    }
    for my $portion (sort keys %portions) {
        @pair = $pairs{$kind}->() if !@pair;
        my ($near, $far) = splice @pair;
        my $read   = $portions{$portion};
        my $peer   = peer_on($far);
        my $events = Events->new;
        my $name   = "$kind, $portion in initial_data";
        my $conn   = $context->adopt(fh => $near, initial_data => $read,
            $events->handlers(on_message => sub { $_[0]->send("echo of $_[1]") }));
        isa_ok($conn, 'EV::Websockets::Connection');
        is($conn->state, 'connecting', "$name: connecting at once");
        is($events->order, '', "$name: and no callback from inside");
        is_deeply([ $context->connections ], [], "$name: it is no connection yet");
        $peer->put(substr $request, length $read);
        run_until(sub { $events->count('connect') && defined $peer->head }, "$name: connected");
        is($conn->state, 'connected', "$name: state");
        ok($events->conn == $conn, "$name: the same object");
        is_deeply([ map { "$_" } $context->connections ], [ "$conn" ], "$name: it is among the connections");
        my ($headers) = @{ $events->last_of('connect') };
        is_deeply(
            [ @$headers{qw(Path Query URI X-Own Cookie Host)} ],
            [ '/room 1', 'who=ann', '/room%201?who=ann', 'yes', 'a=1', '127.0.0.1' ],
            "$name: the request's headers"
        );
        is($peer->status, 101, "$name: 101");
        is(($peer->header('Sec-WebSocket-Accept'))[0], accept_key('dGhlIHNhbXBsZSBub25jZQ=='), "$name: the accept key");
        is($conn->peer_address, { 'TCP, IPv4' => '127.0.0.1', 'TCP, IPv6' => '::1' }->{$kind}, "$name: address");
        $peer->send_frame(TEXT, 'hello');
        run_until(sub { $peer->frames_of(TEXT) }, "$name: an echo");
        is(($peer->frames_of(TEXT))[0]{payload}, 'echo of hello', "$name: is right");
        $peer->send_close(1000, 'bye');
        run_until(sub { $peer->eof && $events->count('close') }, "$name: closed");
        is_deeply($events->last_of('close'), [ 1000, 'bye' ], "$name: with code and reason");
        is(($peer->close_read)[0], 1000, "$name: answered");
        is($conn->state, 'closed', "$name: state at the end");
        ok(defined fileno $near, "$name: the handle is still open");
    }
}

# ---- options ----

subtest 'the options of a listener' => sub {
    my ($near, $far) = unix_pair();
    my ($peer, $events, $seen) = (peer_on($far), Events->new);
    my $conn = $context->adopt(
        fh => $near, initial_data => request(headers => {
            'Sec-WebSocket-Protocol' => 'c, b, a', 'Sec-WebSocket-Extensions' => 'permessage-deflate',
        }),
        protocol => ['a', 'b'], headers => { 'X-A' => [1, 2] }, deflate => 1, max_message_size => 10,
        on_handshake => sub { $seen = $_[0]; return { 'X-B' => 3 } },
        $events->handlers,
    );
    is($seen, undef, 'on_handshake is not called from inside');
    run_until(sub { $events->count('connect') && defined $peer->head }, 'connected');
    is($seen->{Path}, '/', 'on_handshake saw the request');
    is($conn->get_protocol, 'b', 'subprotocol');
    is(($peer->header('Sec-WebSocket-Protocol'))[0], 'b', 'which the client was told');
    is($conn->extensions, 'permessage-deflate; server_no_context_takeover; client_no_context_takeover', 'compression');
    is_deeply([ $peer->header('X-A'), $peer->header('X-B') ], [ 1, 2, 3 ], 'headers of both');
    $peer->send_frame(TEXT, 'x' x 11);
    run_until(sub { $events->count('close') }, 'a message that is too long');
    is_deeply($events->last_of('error'), ['message exceeds max_message_size'], 'is refused');
    is($events->last_of('close')->[0], 1009, 'with 1009');
};

subtest 'validate_utf8' => sub {
    for my $validate (1, 0) {
        my (undef, $peer, $events) = connected($context, validate_utf8 => $validate);
        $peer->send_frame(TEXT, "\xff");
        run_until(sub { $events->count('message') || $events->count('close') }, "validate_utf8 $validate");
        is($events->order, $validate ? 'connect error close' : 'connect message', 'as it says');
    }
};

# ---- what goes wrong, and is told by on_error ----

sub fails {
    my ($name, $give, $act, $error, $status, %o) = @_;
    subtest $name => sub {
        my ($near, $far) = unix_pair();
        my ($peer, $events) = (peer_on($far), Events->new);
        my $conn = $context->adopt(fh => $near, initial_data => $give, $events->handlers(%o));
        $act->($peer);
        run_until(sub { $events->count('error') }, 'on_error');
        like($events->last_of('error')->[0], $error, 'says why');
        is($conn->state, 'closed', 'state');
        run_until(sub { $peer->eof }, 'the stream ends');
        is($peer->status, $status, 'what the client was answered');
        settle();
        is($events->order, 'error', 'nothing else is reported');
        is_deeply([ $context->connections ], [], 'no connection is left');
    };
}

fails('a request that turns out to be none', "GET / HTTP/1.1\r\n", sub { $_[0]->put("Host: h\r\n\r\n") },
    qr/\Athe upgrade was refused: 426 Upgrade Required/, 426);
fails('garbage', '', sub { $_[0]->put("\0\1\2") }, qr/\Athe upgrade was refused: 400 Bad Request/, 400);
fails('a client that leaves', "GET / HT", sub { $_[0]->finish_writing }, qr/\Athe client went away/, undef);
fails('on_handshake that refuses', request(), sub { }, qr/\Athe upgrade was refused: 403 Forbidden/, 403,
    on_handshake => sub { 0 });
fails('on_handshake that dies', request(), sub { }, qr/403 Forbidden/, 403, on_handshake => sub { die "no\n" });
is_deeply([ warned() ], ["EV::Websockets: exception in on_handshake: no\n"], 'which is warned about');

# ---- croaks ----

my ($near, $far) = unix_pair();
my ($listening, $udp, $unconnected, $datagrams);
$listening = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1) or die "listen: $@";
$udp = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => 9, Proto => 'udp') or die "udp: $@";
socket $unconnected, PF_INET, SOCK_STREAM, 0 or die "socket: $!";
socketpair $datagrams, my $other, AF_UNIX, SOCK_DGRAM, PF_UNSPEC or die "socketpair: $!";
open my $file, '<', $0 or die "open: $!";
open my $memory, '<', \'text' or die "open: $!";
my ($closed) = unix_pair();
close $closed;

croaks_with { $context->adopt } 'fh parameter is required', 'no fh';
croaks_with { $context->adopt(fh => undef) } 'fh parameter is required', 'fh that is undef';
croaks_with { $context->adopt('fh') } "odd number of options: key 'fh' has no value", 'odd options';
croaks_with { $context->adopt(fh => $_) } 'Invalid filehandle', 'fh that is none: ' . (defined $_ ? $_ : 'undef')
    for 1, 'STDIN', '', [], {}, sub { }, \1, $closed, $memory;
croaks_with { $context->adopt(fh => $file) } 'adopt: file handle is not a socket', 'a file';
croaks_with { $context->adopt(fh => \*STDIN) } 'adopt: file handle is not a socket', 'standard input';
croaks_with { $context->adopt(fh => $listening) }
    'Failed to adopt socket: the socket is a listening one', 'a listening socket';
croaks_with { $context->adopt(fh => $unconnected) }
    'Failed to adopt socket: the socket is not connected', 'a socket that is not connected';
croaks_with { $context->adopt(fh => $_) }
    'Failed to adopt socket: the socket is not a stream socket', 'a datagram socket' for $udp, $datagrams;
croaks_like { $context->adopt(fh => $near, initial_data => "wide \x{263a}") }
    qr/\Aadopt: initial_data must be bytes, and has characters beyond 255 at /, 'wide characters';
croaks_like { $context->adopt(fh => $near, initial_data => []) }
    qr/\Aadopt: initial_data must be a string/, 'initial_data that is a reference';
for my $option (qw(on_handshake on_connect on_message)) {
    croaks_like { $context->adopt(fh => $near, $option => 'x') }
        qr/\Aadopt: $option must be a code reference/, "$option that is no code";
}
croaks_like { $context->adopt(fh => $near, headers => { 'X' => "1\n" }) }
    qr/\Aadopt: header 'X' contains CR, LF or NUL/, 'a header that cannot be sent';
croaks_like { $context->adopt(fh => $near, protocol => 'a b') }
    qr/\Aadopt: protocol 'a b' is not a token/, 'a protocol that is none';
croaks_like { $context->adopt(fh => $near, deflate => { level => 99 }) } qr/\Aadopt: deflate: level/, 'deflate';
croaks_like { $context->adopt(fh => $near, max_message_size => -1) } qr/\Aadopt: max_message_size/, 'a size';

my %unacceptable = (
    'no upgrade'          => [ 426, "GET / HTTP/1.1\r\nHost: h\r\n\r\n" ],
    'another version'     => [ 426, request(headers => { 'Sec-WebSocket-Version' => 8 }) ],
    'no key'              => [ 400, request(headers => { 'Sec-WebSocket-Key' => undef }) ],
    'a bad key'           => [ 400, request(headers => { 'Sec-WebSocket-Key' => 'x' }) ],
    'a body'              => [ 400, request(headers => { 'Content-Length' => 3 }) ],
    'a POST'              => [ 426, request(method => 'POST') ],
    'HTTP/1.0'            => [ 426, request(version => 'HTTP/1.0') ],
    'no HTTP'             => [ 400, "\x16\x03\x01" ],
    'a head without end'  => [ 431, 'GET / HTTP/1.1' . "\r\nX: " . 'x' x 20_000 ],
    'an offer of nonsense' => [ 400, request(headers => { 'Sec-WebSocket-Extensions' => 'permessage-deflate; =' }) ],
);
for my $what (sort keys %unacceptable) {
    my ($status, $bytes) = @{ $unacceptable{$what} };
    croaks_like { $context->adopt(fh => $near, initial_data => $bytes, deflate => 1) }
        qr/\AFailed to adopt socket: $status [A-Z][A-Za-z ]+: .+ at \Q$0\E line \d+\.\n\z/, "initial_data: $what";
}

# The same socket through all of this: nothing was sent, and it is as it was.
{
    my $flags = fcntl $near, POSIX::F_GETFL(), 0;
    is($flags & POSIX::O_NONBLOCK(), 0, 'a socket that was refused is not made non-blocking');
    my ($peer, $events) = (peer_on($far), Events->new);
    $context->adopt(fh => $near, initial_data => request(), $events->handlers);
    run_until(sub { $events->count('connect') && defined $peer->head }, 'it can still be adopted');
    is($peer->status, 101, 'and the first bytes are ours');
    ok(fcntl($near, POSIX::F_GETFL(), 0) & POSIX::O_NONBLOCK(), 'now it is non-blocking');
}

croaks_with { EV::Websockets::Context::adopt(undef) }
    'EV::Websockets::Context::adopt: the invocant is not an EV::Websockets::Context object', 'no context';
{
    my $gone = EV::Websockets::Context->new;
    $gone->DESTROY;
    croaks_with { $gone->adopt(fh => $near) } 'Context has been destroyed', 'a context that is destroyed';
}
croaks_with { $context->adopt(fh => (unix_pair())[0], colour => 'blue') } "adopt: unknown option 'colour'",
    'an unknown option';

finish;
