use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Events;
use Frame;
use Pair;
use RawPeer;
use Run;
use Test::More;

# $conn->stats, $ctx->stats($place), $ctx->stats: every figure against a peer that
# counts its octets itself.

my $MASK = 'abcd';

sub some {
    my ($stats, @names) = @_;
    return join ' ', map { "$_=" . (defined $stats->{$_} ? $stats->{$_} : 'undef') } @names;
}

my @RECEIVED = map { "${_}_received" } qw(messages frames payload wire);
my @SENT     = map { "${_}_sent" } qw(messages frames payload wire);

subtest 'one connection, frame by frame' => sub {
    my $at_close;
    my $pair = Pair->listen(listen => { on_close => sub { $at_close = $_[0]->stats } });
    my ($peer, $conn) = $pair->raw_peer;
    is some($conn->stats, @RECEIVED, @SENT, 'send_queue', 'send_queue_peak'),
        join(' ', map { "$_=0" } @RECEIVED, @SENT, 'send_queue', 'send_queue_peak'), 'all begins at zero';
    is $conn->stats->{latency}, undef, '... no Ping was answered yet';
    is $conn->stats->{compression_received}, undef, '... and what does not exist has no ratio';

    my $wire = join '',
        frame(opcode => TEXT, payload => 'x' x 100,  mask => $MASK),
        frame(opcode => TEXT, payload => 'y' x 300,  mask => $MASK, fin => 0),
        frame(opcode => PING, payload => 'ping',     mask => $MASK),
        frame(opcode => CONT, payload => 'z' x 70_000, mask => $MASK);
    $peer->put($wire);
    run_until(sub { $pair->server->count('message') == 2 }, 'two messages, one of them in fragments');
    is some($conn->stats, @RECEIVED),
        "messages_received=2 frames_received=4 payload_received=70400 wire_received=" . length $wire, 'what has come';
    run_until(sub { $conn->stats->{wire_sent} == 6 }, 'the Pong is out');
    is some($conn->stats, @SENT), 'messages_sent=0 frames_sent=1 payload_sent=0 wire_sent=6', 'a Pong is a frame and no message';

    $conn->send('a' x 200);
    $conn->send_fragment('b', 0, 0);
    $conn->send_fragment('c', 0, 1);
    $conn->send_ping('d');
    is some($conn->stats, @SENT, 'send_queue'), 'messages_sent=2 frames_sent=5 payload_sent=202 wire_sent=6 send_queue=203',
        'what is queued counts, and is not on the wire yet';
    run_until(sub { !$conn->send_queue_size }, 'written');
    is some($conn->stats, 'wire_sent', 'send_queue', 'send_queue_peak'), 'wire_sent=' . (6 + 204 + 3 + 3 + 3) . ' send_queue=0 send_queue_peak=203',
        '... and then it is';

    $peer->put(frame(opcode => CLOSE, payload => close_payload(4001), mask => $MASK));
    run_until(sub { $at_close }, 'closed');
    is some($at_close, 'messages_received', 'frames_received', 'frames_sent'), 'messages_received=2 frames_received=5 frames_sent=6',
        'on_close can still ask';
    is $pair->context->stats->{closed}{4001}, 1, 'the code is counted';
    is_deeply [ map { $pair->context->stats->{$_} } qw(opened open messages_received) ], [ 1, 0, 2 ],
        'the sums have what a closed connection has counted';
    run_until(sub { $peer->eof }, 'gone');
    is $pair->context->stats($pair->port)->{messages_received}, 2, '... and keep it';
};

subtest 'listeners and clients' => sub {
    my $context = EV::Websockets::Context->new;
    my @server  = map { Events->new } 1, 2;
    my @port    = map { $context->listen(host => '127.0.0.1', $_->handlers) } @server;
    my @client;
    for my $port (@port, $port[0]) {
        push @client, my $events = Events->new;
        $context->connect(url => "ws://127.0.0.1:$port/", $events->handlers);
    }
    run_until(sub { 3 == grep { $_->count('connect') } @client and $server[0]->count('connect') == 2 && $server[1]->count('connect') },
        'three clients at two listeners');
    $_->conn->send('12345') for @client;
    run_until(sub { $server[0]->count('message') == 2 && $server[1]->count('message') }, 'a message of each');
    is some($context->stats($port[0]), qw(opened open messages_received payload_received messages_sent)),
        'opened=2 open=2 messages_received=2 payload_received=10 messages_sent=0', 'a listener has its own';
    is some($context->stats("$port[1]"), qw(opened messages_received)), 'opened=1 messages_received=1', 'so has the other';
    is some($context->stats, qw(opened open messages_received messages_sent payload_sent handshakes)),
        'opened=6 open=6 messages_received=3 messages_sent=3 payload_sent=15 handshakes=0', 'the context has all, clients too';
    my $all = $context->stats;
    cmp_ok $all->{events}, '>=', 9, 'events are counted';
    cmp_ok $all->{loop_turns}, '>', 0, 'turns of the loop are';
    is $all->{events_per_turn}, $all->{events} / $all->{loop_turns}, '... and their ratio is';
    ok !exists $context->stats($port[0])->{events}, 'which are no listener\'s';

    $context->stop_listening($port[0]);
    croaks_like { $context->stats($port[0]) } qr/^stats: nothing listens at '$port[0]'/, 'a listener that was stopped has none';
    $client[0]->conn->close(1000);
    $client[2]->conn->abort;
    run_until(sub { $server[0]->count('close') == 2 && $client[0]->count('close') && $client[2]->count('close') }, 'its connections end');
    is some($context->stats, qw(opened open messages_received)), 'opened=6 open=2 messages_received=3', 'the context keeps its sums';
    is_deeply $context->stats->{closed}, { 1000 => 2, 1006 => 2 }, 'closed, by code';
};

subtest 'on the way, and compressed' => sub {
    my $pair = Pair->listen(listen => { deflate => 1 });
    my $peer = RawPeer->connect($pair->port);
    run_until(sub { $pair->context->stats->{handshakes} == 1 }, 'a client that has yet to ask is under way');
    is $pair->context->stats($pair->port)->{handshakes}, 1, '... at its listener';
    undef $peer;
    run_until(sub { $pair->context->stats->{handshakes} == 0 }, '... until it leaves');
    is_deeply $pair->context->stats($pair->port)->{rejected}, { gone => 1 }, '... which is counted by its cause';
    $peer = RawPeer->connect($pair->port);
    $peer->put("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    run_until(sub { $peer->eof }, 'a request that is no upgrade');
    is_deeply $pair->context->stats->{rejected}, { gone => 1, request => 1 }, '... is counted, too';
    my $client = Events->new;
    my $conn = $pair->context->connect(url => 'ws://127.0.0.1:' . $pair->port, $client->handlers);
    is $conn->stats, undef, 'a client that is not connected has none';
    run_until(sub { $client->count('connect') }, 'a client that compresses');
    $conn->send('compress me ' x 1000);
    run_until(sub { $pair->server->count('message') }, 'a message');
    my $stats = $pair->server->conn->stats;
    is $stats->{payload_received}, 12_000, 'the payload is what the program sees';
    cmp_ok $stats->{wire_received}, '<', 500, 'the wire is what came';
    is $stats->{compression_received}, $stats->{payload_received} / $stats->{wire_received}, 'the ratio says how good it was';
    my $context = $pair->context;
    my $gone = $conn;
    undef $pair;
    undef $context;
    is $gone->stats, undef, 'without a context there are none';
};

subtest 'what is dropped' => sub {
    my $pair = Pair->listen(listen => { max_send_queue => 1000, send_queue_policy => 'drop' });
    my ($peer, $conn) = $pair->raw_peer;
    $conn->send('x' x 900) for 1 .. 5;
    is some($conn->stats, qw(messages_sent payload_sent send_queue messages_dropped)),
        'messages_sent=2 payload_sent=1800 send_queue=1800 messages_dropped=3', 'a dropped message was not sent';
    is $pair->context->stats->{messages_dropped}, 3, '... and is in the sums';
};

# What a connection wrote after its on_close, the rest of its queue and the answering Close, was in no count for good. And
# payload was counted from the call on, but its frames when they had gone out: the ratio of a long queue was many times 1.
subtest 'what goes out at the end' => sub {
    my $at_close;
    my $pair = Pair->listen(listen => { max_send_queue => 0, on_close => sub { $at_close = $_[0]->stats } });
    my $all = $pair->context;
    my ($peer, $conn) = $pair->raw_peer;
    $peer->stop_reading;
    $conn->send_binary('x' x 1_000_000) for 1 .. 20;
    run_until(sub { $conn->stats->{wire_sent} }, 'some of it goes out');
    my $ratio = $conn->stats->{compression_sent};
    cmp_ok $ratio, '>', 0.99, 'what waits is in the ratio';
    cmp_ok $ratio, '<', 1, '... with its frames';
    $peer->send_close(1000);
    run_until(sub { $at_close }, 'the peer closes');
    cmp_ok $at_close->{wire_sent}, '<', 20_000_000, 'on_close: not all has gone out';
    is $conn->stats, undef, 'after it there are no counts of the connection';
    $peer->start_reading;
    run_until(sub { $peer->eof }, 'the rest goes out');
    my $frames = 20 * (10 + 1_000_000) + 2 + 2;
    is length($peer->rest), $frames, 'all of it, and a Close';
    is $all->stats->{wire_sent}, $frames, '... the context has counted it';
    is $all->stats($pair->port)->{wire_sent}, $frames, '... and the listener';
    is some($all->stats, qw(frames_sent payload_sent)), 'frames_sent=21 payload_sent=20000000', '... as it has the frames';

    ($peer, $conn) = $pair->raw_peer;
    $peer->stop_reading;
    $conn->send_binary('x' x 1_000_000) for 1 .. 20;
    undef $at_close;
    $conn->abort;
    run_until(sub { $at_close }, 'a connection that is aborted');
    cmp_ok $all->stats->{compression_sent}, '<', 1, '... has saved nothing by what is lost';
};

# They were those of whichever connection was told of as closed last, until another one was.
subtest 'the counts of an end are those of its connection, and as long as it is told' => sub {
    my (@peer, @conn, %stats);
    my $pair = Pair->listen(listen => { on_close => sub {
        my ($conn) = @_;
        if ($conn == $conn[0]) {
            $peer[1]->send_close(1000);
            run_until(sub { $stats{1} }, 'another one closes meanwhile');
            $stats{0} = $conn->stats;
        } else {
            $stats{1} = $conn->stats;
        }
    } });
    for my $number (0, 1) {
        ($peer[$number], $conn[$number]) = $pair->raw_peer;
        $conn[$number]->send('x' x (10 + $number));
    }
    $peer[0]->send_close(1000);
    run_until(sub { $stats{0} }, 'both are told');
    is $stats{$_}{payload_sent}, 10 + $_, "its own, $_" for 0, 1;
    is $_->stats, undef, 'none afterwards' for @conn;
};

croaks_like { EV::Websockets::Context->new->stats('nowhere') } qr/^stats: nothing listens at 'nowhere'/, 'a place where nothing listens';
croaks_like { EV::Websockets::Context->new->stats(undef) } qr/^stats: give a port or the path of a Unix socket/, 'undef is no place';

finish();
