use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Frame;
use Limited;
use Pair;
use RawEnds;
use RawPeer;
use Run;
use Test::More;

# max_send_queue and send_queue_policy: what becomes of messages for a peer that does not
# read. The queue has room for a message as long as it is below the limit.

croaks_everywhere('max_send_queue', 'must be a non-negative number', -1, 'long', 'nan', 'inf', []);
croaks_everywhere('send_queue_policy', q{must be 'close', 'croak' or 'drop'}, 'ignore', '', 1, 'Close');

my $context = EV::Websockets::Context->new;
my $other   = bystander($context);

# The module's end of a connection whose peer reads nothing: ($conn, $peer, $events).
sub unread {
    my ($make, %options) = @_;
    my ($events, $peer) = $make->($context, %options);
    $peer->stop_reading;
    return ($events->conn, $peer, $events);
}

# Sends until the kernel takes nothing more, so that the queue stays as long as it is.
sub fill {
    my ($conn) = @_;
    my $sent = 0;
    for (1 .. 1000) {
        last if !$conn->is_writable;
        $sent += $conn->send_binary('x' x 65536) ? 1 : 0;
        EV::run(EV::RUN_NOWAIT()) if !$conn->is_writable;
    }
    return $sent;
}

my $LIMIT = 200_000;

for my $made (\&raw_client, \&raw_server) {
    my $role = $made == \&raw_client ? 'a client' : 'a server';

    # croak
    {
        my $name = "$role, croak";
        my ($conn, $peer, $events) = unread($made, max_send_queue => $LIMIT, send_queue_policy => 'croak');
        my $sent = fill($conn);
        cmp_ok($sent, '>', 3, "$name: the kernel takes some");
        my $size = $conn->send_queue_size;
        cmp_ok($size, '>=', $LIMIT - 1000, "$name: then the queue is full");
        cmp_ok($size, '<', $LIMIT + 65536, "$name: by no more than one message");
        croaks_with { $conn->send('x') } 'send queue is full', "$name: send";
        croaks_with { $conn->send_text('x') } 'send queue is full', "$name: send_text";
        croaks_with { $conn->send_binary('') } 'send queue is full', "$name: send_binary, also of nothing";
        croaks_with { $conn->send_fragment('x', 0, 0) } 'send queue is full', "$name: send_fragment";
        is($conn->send_queue_size, $size, "$name: nothing was queued");
        is($conn->state, 'connected', "$name: the connection goes on");
        $conn->send_ping('p');
        $conn->send_pong('q');
        is($conn->send_queue_size, $size + 2, "$name: control frames are queued all the same");
        is_served($other, $name);
        $peer->start_reading;
        run_until(sub { $conn->is_writable }, "$name: when the peer reads, there is room again");
        ok($conn->send('again'), "$name: and send returns true");
        run_until(sub { grep { $_->{payload} eq 'again' } $peer->frames_of(TEXT) }, "$name: it arrives");
        is(scalar $peer->frames_of(BINARY), $sent, "$name: behind everything that was queued");
        is($events->count('error'), 0, "$name: without an error");
    }

    # drop
    {
        my $name = "$role, drop";
        my ($conn, $peer, $events) = unread($made, max_send_queue => $LIMIT, send_queue_policy => 'drop');
        my $sent = fill($conn);
        my $size = $conn->send_queue_size;
        for my $method (qw(send send_text send_binary send_fragment)) {
            my $returned = $conn->$method('lost');
            ok(defined $returned && !$returned, "$name: $method returns false");
        }
        is($conn->send_queue_size, $size, "$name: and queues nothing");
        is($conn->state, 'connected', "$name: the connection goes on");
        is($conn->stats->{messages_dropped}, 4, "$name: each is counted");
        is_served($other, $name);

        # A message whose beginning was dropped is dropped as a whole.
        ok(!$conn->send_fragment('lost', 0, 0), "$name: the first part of a message is dropped");
        croaks_like { $conn->send('x') } qr/\ACannot send while a fragmented message is in progress/,
            "$name: which is in progress all the same";
        $peer->start_reading;
        run_until(sub { $conn->send_queue_size == 0 }, "$name: there is room");
        ok(!$conn->send_fragment('lost', 0, 0), "$name: but not for the next part of it");
        ok(!$conn->send_fragment('lost', 0, 1), "$name: nor for the last");
        ok($conn->send_fragment('kept, ', 0, 0), "$name: the next message begins anew");
        $peer->stop_reading;
        $conn->send_fragment('y' x 65536, 0, 0) for 1 .. 200;
        cmp_ok($conn->send_queue_size, '>', $LIMIT, "$name: a message that has begun is not dropped in its middle");
        ok($conn->send_fragment('to the end', 0, 1), "$name: nor at its end");
        ok(!$conn->send('lost'), "$name: but the next one is");
        $peer->start_reading;
        run_until(sub { $conn->send_queue_size == 0 }, "$name: all goes out");
        ok($conn->send('end'), "$name: and the next one is sent");
        run_until(sub { grep { $_->{payload} eq 'end' } $peer->frames_of(TEXT) }, "$name: and arrives");
        is(scalar(grep { $_->{payload} =~ /lost/ } @{ $peer->frames }), 0, "$name: nothing of what was dropped");
        my @parts = $peer->frames_of(CONT);
        is(scalar @parts, 201, "$name: every part of what was not");
        is($parts[-1]{payload}, 'to the end', "$name: its last one");
    }

    # close, which is the default
    {
        my $name = "$role, close";
        my ($conn, $peer, $events) = unread($made, max_send_queue => $LIMIT);
        my $sent = fill($conn);
        my $returned = $conn->send('too much');
        ok(defined $returned && !$returned, "$name: send returns false");
        is($events->order, 'connect', "$name: no callback runs in send");
        is($conn->state, 'closing', "$name: the connection ends");
        ok(!$conn->is_writable, "$name: and is not writable");
        croaks_with { $conn->send('x') } 'Connection is not open', "$name: it cannot be sent on any more";
        run_until(sub { $events->count('close') }, "$name: on_close");
        is($events->order, 'connect error close', "$name: behind on_error");
        is_deeply($events->last_of('error'), ['send queue is full'], "$name: which says why");
        is($events->last_of('close')->[0], 1013, "$name: 1013");
        is_served($other, $name);
        $peer->start_reading;
        run_until(sub { $peer->close_read }, "$name: a peer that reads after all");
        is_deeply([ $peer->close_read ], [ 1013, 'send queue is full' ], "$name: is told the same");
        is(scalar $peer->frames_of(BINARY), $sent, "$name: behind what was queued");
    }
}

# Empty messages are no octets of send_queue_size, and take memory all the same.
{
    my ($conn, $peer) = unread(\&raw_client, max_send_queue => 1000, send_queue_policy => 'drop');
    my $queued = grep { $conn->send('') } 1 .. 10_000;
    is($conn->send_queue_size, 0, 'messages without payload');
    is($queued, 500, 'are limited by their headers, too');
}

# A message is queued whole, however long it is; and 0 is no limit.
{
    my ($conn, $peer) = unread(\&raw_client, max_send_queue => 10, send_queue_policy => 'drop');
    ok($conn->send('x' x 1_000_000), 'a message longer than the limit is queued');
    ok(!$conn->send('x'), 'and the next one is not');
    $peer->start_reading;
    run_until(sub { $peer->frames_of(TEXT) }, 'it arrives');
}
for my $off ([], [ max_send_queue => 0 ]) {
    my ($conn, $peer) = unread(\&raw_client, @$off, send_queue_policy => 'croak');
    $conn->send('x' x 100_000) for 1 .. 100;
    is($conn->send_queue_size, 10_000_000, 'no limit');
    ok($conn->is_writable, 'there is always room');
    $peer->hang_up;
}

# What is compressed counts as what is queued.
SKIP: {
    my $pair = Pair->open(
        context => {},
        listen  => { deflate => 1, max_send_queue => 100_000, send_queue_policy => 'croak' },
    );
    $pair->c->pause_recv;
    my $message = 'the same again, ' x 6250;
    my $sent = 0;
    $sent++ while $sent < 20 && eval { $pair->s->send($message); 1 };
    is($sent, 20, '2 MB that compress to little fit into a queue of 100 kB');
    cmp_ok($pair->s->send_queue_size, '<', 100_000, 'which is not full');
}

# In a callback: the connection may end in the middle of the loop that sends to all.
{
    my (%ended, @peers);
    my $port = $context->listen(
        host => '127.0.0.1', max_send_queue => 50_000,
        on_close   => sub { $ended{$_[1]}++ },
        on_message => sub {
            for my $c ($context->connections) {
                next if !$c->is_connected || !$c->stash->{reader};
                $c->send('y' x 100_000) for 1 .. 2;
            }
        },
        on_connect => sub { $_[0]->stash->{reader} = 1 if $_[1]{Path} eq '/reader' },
    );
    for (1 .. 3) {
        my $peer = RawPeer->connect($port)->upgrade(path => '/reader');
        push @peers, $peer;
        run_until(sub { $peer->head }, 'a reader');
        $peer->stop_reading;
    }
    my $asking = RawPeer->connect($port)->upgrade;
    run_until(sub { $asking->head }, 'one that asks');
    $asking->send_frame(TEXT, 'to all');
    run_until(sub { ($ended{1013} || 0) == 3 }, 'all that do not read are closed');
    is_served($other, 'a loop over all');
    ok(!$asking->eof, 'who asked is not');
}

# adopt
{
    require Adopt;
    my ($near, $peer, $events, $conn) =
        Adopt::connected($context, max_send_queue => 1000, send_queue_policy => 'croak');
    $conn->send('x' x 1000);
    croaks_with { $conn->send('x') } 'send queue is full', 'adopt takes the options, too';
}

finish();
