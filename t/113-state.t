use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Pair;
use RawServer;
use Run;
use Test::More;

# state, is_connected, is_connecting, connections, stash, peer_address and
# get_protocol through the life of a connection.

sub looks {
    my ($conn) = @_;
    return join ' ', $conn->state, $conn->is_connecting ? 'connecting' : '-', $conn->is_connected ? 'connected' : '-';
}
my %LOOKS = (
    connecting => 'connecting connecting -',
    connected  => 'connected - connected',
    closing    => 'closing - -',
    closed     => 'closed - -',
);

{
    my %in;
    my $pair = Pair->listen(listen => {
        on_handshake => sub { $in{handshake} = 1 },
        map { my $name = $_; ("on_$name" => sub { $in{"server $name"} ||= looks($_[0]) }) } @Events::NAMES,
    });
    my $context = $pair->context;
    is_deeply([ $context->connections ], [], 'no connections yet');
    is(scalar($context->connections), 0, 'their number is none');
    my $events = Events->new;
    my $conn = $context->connect(
        url => 'ws://127.0.0.1:' . $pair->port,
        $events->handlers(map { my $name = $_; ("on_$name" => sub { $in{"client $name"} ||= looks($_[0]) }) } @Events::NAMES),
    );
    is(looks($conn), $LOOKS{connecting}, 'after connect');
    is($conn->peer_address, undef, 'no peer_address while connecting');
    is($conn->get_protocol, undef, 'no protocol while connecting');
    is_deeply([ $context->connections ], [], 'a connecting one is not in connections');
    $conn->stash->{since} = 'connect';

    run_until(sub { $events->count('connect') && $pair->server->count('connect') }, 'connected');
    is(looks($conn), $LOOKS{connected}, 'connected');
    is($conn->peer_address, '127.0.0.1', 'peer_address of the server');
    my $other = $pair->server->conn;
    is($other->peer_address, '127.0.0.1', 'peer_address of the client');
    is(join(' ', sort $context->connections), join(' ', sort "$conn", "$other"), 'connections has both roles');
    is(scalar($context->connections), 2, 'in scalar context it is their number');

    is($conn->stash->{since}, 'connect', 'the stash is kept');
    is_deeply($other->stash, {}, 'each connection has its own');
    is($conn->stash, $conn->stash, 'the same hash every time');

    $conn->close(1000);
    is(looks($conn), $LOOKS{closing}, 'after close');
    is(scalar(grep { $_ == $conn } $context->connections), 1, 'a closing one is in connections');
    run_until(sub { $events->count('close') && $pair->server->count('close') }, 'closed');
    is(looks($conn), $LOOKS{closed}, 'at the end');
    is_deeply([ $context->connections ], [], 'a closed one is not in connections');
    is($conn->stash->{since}, 'connect', 'the stash outlives the close');
    is($conn->peer_address, undef, 'no peer_address when closed');
    is($conn->send_queue_size, 0, 'send_queue_size when closed');

    is($in{'client connect'}, $LOOKS{connected}, 'in on_connect of the client');
    is($in{'server connect'}, $LOOKS{connected}, 'in on_connect of the server');
    is($in{'client close'}, $LOOKS{closed}, 'in on_close of the client');
    is($in{'server close'}, $LOOKS{closed}, 'in on_close of the server');

    # Everything that needs an open connection says that it is not.
    for my $method (qw(send send_binary send_ping send_pong send_fragment)) {
        croaks_with { $conn->$method('x') } 'Connection is not open', "$method when closed";
    }
    $conn->$_ for qw(close pause_recv resume_recv);
    pass('close, pause_recv and resume_recv do nothing');

    $conn->DESTROY;
    is($conn->state, 'destroyed', 'after DESTROY');
    croaks_with { $conn->send('x') } 'Connection has been destroyed', 'send on a destroyed one';
    is($conn->send_queue_size, 0, 'send_queue_size on a destroyed one');
}

# connecting and closing.
{
    my $raw = RawServer->new(answer => sub { });
    my $context = EV::Websockets::Context->new;
    my $conn = $context->connect(url => 'ws://127.0.0.1:' . $raw->port);
    for my $when ('at once', 'during the upgrade') {
        for my $method (qw(send send_binary send_ping send_pong send_fragment)) {
            croaks_with { $conn->$method('x') } 'Connection is not open', "$method while connecting, $when";
        }
        is($conn->send_queue_size, 0, "send_queue_size while connecting, $when");
        $conn->pause_recv;
        $conn->resume_recv;
        $conn->close;
        is($conn->state, 'connecting', "close while connecting does nothing, $when");
        run_until(sub { $raw->last_peer && defined $raw->last_peer->head }, 'the request is sent');
    }
    $raw->last_peer->accept;
    run_until(sub { $conn->is_connected }, 'and it connects');

    $conn->close;
    for my $method (qw(send send_binary send_ping send_pong send_fragment)) {
        croaks_with { $conn->$method('x') } 'Connection is not open', "$method while closing";
    }
    $conn->close(4000, 'again');
    run_until(sub { $raw->last_peer->close_read }, 'the Close arrives');
    settle();
    is(scalar $raw->last_peer->frames_of(8), 1, 'a second close sends no second Close');
    is(($raw->last_peer->close_read)[0], 1000, 'the code defaults to 1000');
    is($conn->state, 'closing', 'still closing while the peer has not answered');
    $raw->last_peer->send_close(1000)->finish_writing;
    run_until(sub { $conn->state eq 'closed' }, 'and closed when it has');
}

# A failed connection.
{
    my @seen;
    my $context = EV::Websockets::Context->new;
    my $conn = $context->connect(
        url      => 'ws://127.0.0.1:' . RawServer::unused_port(),
        on_error => sub { push @seen, looks($_[0]), scalar $context->connections },
    );
    run_until(sub { @seen }, 'a failed connection');
    is($seen[0], $LOOKS{closed}, 'is closed in its on_error');
    croaks_with { $conn->send('x') } 'Connection is not open', 'send afterwards';
}

# IPv6: the listener is on both, and a v4 address is never shown as v4-mapped.
SKIP: {
    skip 'no IPv6 loopback here', 4
        if !eval { require IO::Socket::IP; IO::Socket::IP->new(LocalHost => '::1', LocalPort => 0, Listen => 1) };
    my $pair = Pair->listen;
    my $events = Events->new;
    my $conn = $pair->context->connect(url => 'ws://[::1]:' . $pair->port . '/', $events->handlers);
    run_until(sub { $events->count('connect') && $pair->server->count('connect') }, 'connected to ws://[::1]');
    is($conn->peer_address, '::1', 'peer_address of the server');
    is($pair->server->conn->peer_address, '::1', 'peer_address of the client');
    is($pair->server->last_of('connect')->[0]{Host}, '[::1]:' . $pair->port, 'Host has the brackets and the port');
}

finish();
