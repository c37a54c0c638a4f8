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

# send_queue_size and on_drain.

# Inside a callback nothing is written before it has returned.
{
    my @sizes;
    my $pair = Pair->open(listen => { on_message => sub {
        my ($conn) = @_;
        push @sizes, $conn->send_queue_size;
        $conn->send('12345');
        push @sizes, $conn->send_queue_size;
        $conn->send_binary('x' x 1000);
        push @sizes, $conn->send_queue_size;
        $conn->send_fragment('abc', 0, 0);
        $conn->send_fragment('de', 0, 1);
        push @sizes, $conn->send_queue_size;
        $conn->send('');
        push @sizes, $conn->send_queue_size;
    } });
    $pair->c->send('go');
    is($pair->c->send_queue_size, 2, 'outside of callbacks: counted right after send');
    run_until(sub { $pair->client->count('message') == 4 }, 'all arrive');
    is_deeply(\@sizes, [ 0, 5, 1005, 1010, 1010 ], 'payload bytes, right after each send');
    is($pair->s->send_queue_size, 0, 'empty when written');
    is($pair->c->send_queue_size, 0, 'at both ends');
    run_until(sub { $pair->server->count('drain') }, 'on_drain');
    $pair->shut;
    is($pair->s->send_queue_size, 0, '0 when closed');
}

# on_drain comes when the queue is empty, after it was not.
{
    my @at_drain;
    my $pair = Pair->listen(listen => { on_drain => sub { push @at_drain, $_[0]->send_queue_size } });
    my $peer = RawPeer->connect($pair->port)->upgrade;
    run_until(sub { $pair->server->count('connect') && $peer->head }, 'connected');
    my $conn = $pair->server->conn;
    settle();
    @at_drain = ();
    $peer->stop_reading;
    $conn->send_binary('x' x 1_000_000) for 1 .. 20;
    is($conn->send_queue_size, 20_000_000, '20 MB queued');
    settle();
    cmp_ok($conn->send_queue_size, '>', 0, 'a peer that does not read leaves some in the queue');
    cmp_ok($conn->send_queue_size, '<', 20_000_000, 'the kernel has taken some');
    is(scalar @at_drain, 0, 'no on_drain yet');
    $peer->start_reading;
    run_until(sub { @at_drain }, 'on_drain comes when the peer reads');
    is($at_drain[0], 0, 'with an empty queue');
    settle();
    is(scalar @at_drain, 1, 'once');
    run_until(sub { $peer->frames_of(2) == 20 }, 'and all has arrived');
}

# A stream that on_drain feeds, one chunk at a time, both directions at once.
{
    my ($left, $echoes) = (300, 0);
    my $pair;
    $pair = Pair->open(
        listen  => { on_drain => sub { $_[0]->send_binary('chunk ' . $left--) if $left > 0 } },
        connect => { on_message => sub { $_[0]->send('seen') } },
    );
    $pair->s->send('start');
    run_until(sub { $pair->client->count('message') == 301 }, 'on_drain feeds itself, to the end');
    is(($pair->client->messages)[-1], 'chunk 1', 'in order');
    run_until(sub { $pair->server->count('message') == 301 }, 'while the other direction works');
}

# on_drain that always sends does not starve the loop.
{
    my ($drains, $other) = (0, 0);
    my $pair = Pair->open(listen => { on_drain => sub { $drains++; $_[0]->send('again') if !$other } });
    my $timer = EV::timer(0.05, 0, sub { $other = 1 });
    $pair->s->send('start');
    run_until(sub { $other }, 'a timer runs beside an endless on_drain');
    cmp_ok($drains, '>', 1, 'which ran again and again');
}

# Never after close().
{
    my $after = 0;
    my $pair = Pair->open(listen => { on_drain => sub { $after++ if $_[0]->state ne 'connected' } });
    $pair->server->forget;
    $pair->s->send_binary('x' x 3_000_000);
    $pair->s->close;
    run_until(sub { $pair->server->count('close') && $pair->client->count('close') }, 'closed after 3 MB');
    is($pair->client->count('message'), 1, 'what was queued before close arrived');
    is($pair->server->count('drain') + $after, 0, 'no on_drain after close');
}
{
    my $pair = Pair->open;
    $pair->server->forget;
    $pair->s->close;
    run_until(sub { $pair->server->count('close') }, 'closed with nothing queued');
    is($pair->server->order, 'close', 'on_close alone');
    is($pair->server->count('drain'), 0, 'the Close frame itself is no reason for on_drain');
}

# The same from inside a callback.
{
    my $pair = Pair->open(listen => { on_message => sub { $_[0]->send('bye'); $_[0]->close } });
    $pair->server->forget;
    $pair->c->send('go');
    run_until(sub { $pair->server->count('close') }, 'send and close in on_message');
    is($pair->server->count('drain'), 0, 'no on_drain');
    is_deeply([ $pair->client->messages ], ['bye'], 'but the message');
}

finish();
