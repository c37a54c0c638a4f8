use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Frame;
use Limited;
use RawEnds;
use RawPeer;
use Run;
use Test::More;

# send_high_water and send_low_water: on_drain comes when the queue has fallen to the low
# mark after it had reached the high one; is_writable is true below the high mark.

croaks_everywhere($_, 'must be a non-negative number', -1, 'high', 'nan', 'inf', {})
    for qw(send_high_water send_low_water);
croaks_everywhere('send_low_water', 'must be at most send_high_water', 1, 10_000);

my $context = EV::Websockets::Context->new;

my @sizes;
sub client {
    my (%options) = @_;
    @sizes = ();
    my ($events, $peer) = raw_client($context, on_drain => sub { push @sizes, $_[0]->send_queue_size }, %options);
    return ($events->conn, $peer, $events);
}

# In large numbers, since the kernels take and give megabytes at a time.
{
    my ($conn, $peer, $events) = client(send_high_water => 40_000_000, send_low_water => 30_000_000);
    $peer->stop_reading;
    ok($conn->is_writable, 'an empty queue is writable');
    my $message = 'x' x 1_000_000;
    my $sent = 0;
    while ($conn->is_writable) {
        $conn->send_binary($message);
        $sent++;
    }
    is($sent, 40, 'it is until the high mark is reached');
    $conn->send_binary($message) for 1 .. 20;
    $sent += 20;
    settle();
    is(scalar @sizes, 0, 'there is no on_drain while the peer does not read');
    ok(!$conn->is_writable, 'and the queue is not writable');
    $peer->start_reading;
    run_until(sub { @sizes }, 'when it does, on_drain is called');
    cmp_ok($sizes[0], '<=', 30_000_000, 'at the low mark');
    cmp_ok($sizes[0], '>', 0, 'and not only when the queue is empty');
    ok($conn->is_writable, 'the queue is writable again');
    run_until(sub { $peer->frames_of(BINARY) == $sent }, 'all of it arrives');
    is(scalar @sizes, 1, 'on_drain is called once');
    ok($conn->is_writable, 'an empty queue is writable');

    $conn->send_binary('small') for 1 .. 10;
    run_until(sub { $peer->frames_of(BINARY) == $sent + 10 }, 'less than the high mark');
    settle();
    is(scalar @sizes, 1, 'is nothing to hear of');
    $conn->send_binary('y' x 41_000_000);
    run_until(sub { @sizes == 2 }, 'the next time that the mark is reached there is another');
}

# A Pong of ours lifted the queue over the mark, and nothing was told of its fall: a program that
# asks is_writable waited for ever.
{
    my (@writable, $conn, $peer);
    ($conn, $peer) = client(
        send_high_water => 1000,
        on_message      => sub {
            push @writable, $_[0]->is_writable;
            $_[0]->send('x' x 990) if @writable == 1;
        },
    );
    $peer->put(join '', map { $peer->make(@$_) } [ TEXT, '1' ], [ PING, 'ping' ], [ TEXT, '2' ]);
    run_until(sub { @writable == 2 }, 'a message, a Ping and a message');
    is(join(' ', map { $_ ? 'yes' : 'no' } @writable), 'yes no', 'the Pong makes the queue as long as the mark');
    run_until(sub { @sizes }, 'and its fall is told');
}

# Without a low mark the queue has to be empty.
{
    my ($conn, $peer) = client(send_high_water => 1000);
    $conn->send('x' x 10);
    run_until(sub { $peer->frames_of(TEXT) == 1 }, 'a short message');
    is(scalar @sizes, 0, 'is nothing to hear of');
    $conn->send('x' x 1000);
    ok(!$conn->is_writable, 'a long one is');
    run_until(sub { @sizes }, 'on_drain');
    is_deeply(\@sizes, [0], 'with an empty queue');
}

# Without marks: whenever the queue has become empty; is_writable goes by max_send_queue.
{
    my ($conn, $peer) = client();
    for my $count (1 .. 3) {
        $conn->send('x');
        ok($conn->is_writable, 'without marks a queue is always writable');
        run_until(sub { @sizes == $count }, 'and on_drain follows every send');
    }
    ($conn, $peer) = client(max_send_queue => 1000);
    $conn->send('x' x 500);
    ok($conn->is_writable, 'a queue that is not full is writable');
    $conn->send('x' x 500);
    ok(!$conn->is_writable, 'one that is full is not');
    run_until(sub { @sizes }, 'on_drain');
    ok($conn->is_writable, 'an empty one is');
}

# A high mark beyond max_send_queue would never be reached.
{
    my ($conn, $peer) = client(
        max_send_queue => 1000, send_queue_policy => 'drop', send_high_water => 100_000, send_low_water => 90_000,
    );
    my $queued = 0;
    $queued++ while $conn->send('x' x 100);
    ok(!$conn->is_writable, 'a queue that is full is not writable, whatever the mark');
    run_until(sub { @sizes }, 'and on_drain comes');
}

# Whoever waits for on_drain must not wait in vain: another one sends between the end of
# the queue and the callback.
{
    my (@drained, %conn);
    my $port = $context->listen(
        host       => '127.0.0.1', send_high_water => 1000, send_low_water => 10,
        on_connect => sub { $conn{ $_[1]{Path} } = $_[0] },
        on_drain   => sub {
            my ($c) = @_;
            push @drained, $c == $conn{'/first'} ? 'first' : 'second';
            $conn{'/second'}->send('x' x 500) if @drained == 1;
        },
    );
    my @peer = map { RawPeer->connect($port)->upgrade(path => $_) } '/first', '/second';
    run_until(sub { $peer[0]->head && $peer[1]->head && keys %conn == 2 }, 'two connections');
    $conn{$_}->send('y' x 2000) for '/first', '/second';
    run_until(sub { $peer[1]->frames_of(TEXT) == 2 }, 'what was sent in between arrives');
    run_until(sub { @drained == 2 }, 'and on_drain comes behind it');
    is("@drained", 'first second', 'once for each');
}

# is_writable in the other states.
{
    my $c = $context->connect(url => 'ws://127.0.0.1:1/', on_error => sub { });
    ok(!$c->is_writable, 'not while connecting');
    run_until(sub { $c->state eq 'closed' }, 'closed');
    ok(!$c->is_writable, 'nor when closed');
    my ($conn, $peer, $events) = client();
    $conn->close;
    ok(!$conn->is_writable, 'nor while closing');
    run_until(sub { $peer->close_read }, 'closing');
    $conn->DESTROY;
    ok(!$conn->is_writable, 'nor when destroyed');
    croaks_like { EV::Websockets::Connection::is_writable('x') } qr/the invocant is not an EV::Websockets::Connection/,
        'it wants a connection';
}

finish();
