use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Events;
use Frame;
use Limited;
use RawEnds;
use RawPeer;
use Run;
use Test::More;

# max_message_rate and max_byte_rate: a peer that sends more is not read from for a while, and
# nothing is lost. A rate of one in a thousand seconds lets the burst through, and then nothing.

my $TEXT = 'must be a number above 0, or [rate, burst], two of them, or 0';
croaks_everywhere($_, $TEXT, -1, 'fast', 'nan', 'inf', [], [1], [ 1, 2, 3 ], [ 0, 1 ], [ 1, 0 ], [ -1, 1 ], [ 1, 'many' ],
    [ 1, undef ], {}) for qw(max_message_rate max_byte_rate);
croaks_everywhere('on_limit', 'must be a code reference', 'once', 1);

my $context = EV::Websockets::Context->new;
# A pair was shown as the address of its array, which says nothing.
croaks_with { $context->listen(max_message_rate => $_->[0]) } "listen: max_message_rate $TEXT (got '$_->[1]')", "shown: $_->[1]"
    for [ [ -1, 5 ], '[-1, 5]' ], [ [ 1, undef ], '[1, undef]' ], [ [ 1 .. 9 ], '[1, 2, 3, ...]' ], [ [], '[]' ];
my $other   = bystander($context);
my @told;

# The limits that were reached are in @told.
sub telling {
    my ($make, %options) = @_;
    @told = ();
    return $make->($context, on_limit => sub { push @told, $_[1] }, %options);
}

sub messages {
    my ($peer, @numbers) = @_;
    return $peer->put(join '', map { $peer->make(TEXT, "message $_") } @numbers);
}

for my $made (\&raw_client, \&raw_server, \&raw_adopted) {
    my $role = $made == \&raw_client ? 'a client' : $made == \&raw_server ? 'a server' : 'adopted';

    # Messages.
    {
        my $name = "$role, messages";
        my ($events, $peer) = telling($made, max_message_rate => [ 0.001, 5 ]);
        messages($peer, 1 .. 20);
        $peer->send_frame(PING, 'behind them');
        run_until(sub { $events->count('message') == 5 }, "$name: the burst is delivered");
        settle();
        is($events->count('message'), 5, "$name: and no more");
        is_deeply([ $events->messages ], [ map { "message $_" } 1 .. 5 ], "$name: the first ones");
        is_deeply(\@told, ['max_message_rate'], "$name: on_limit is told which limit it is");
        is(scalar $peer->frames_of(PONG), 0, "$name: what is behind them waits");
        is($events->order, join(' ', 'connect', ('message') x 5), "$name: the connection goes on");
        is_served($other, $name);
        $events->conn->send('ours');
        run_until(sub { $peer->frames_of(TEXT) }, "$name: what we send goes out");

        # The end is not held up.
        $events->conn->close(1000, 'enough');
        run_until(sub { $peer->close_read }, "$name: our Close goes out");
        $peer->send_close(1000);
        $peer->finish_writing;
        run_until(sub { $events->count('close') }, "$name: and the peer's is read");
        is($events->last_of('close')->[0], 1000, "$name: a clean close");
        is($events->count('message'), 5, "$name: no message after close()");
    }
    {
        my $name = "$role, messages that wait";
        my ($events, $peer) = telling($made, max_message_rate => [ 100, 5 ]);
        messages($peer, 1 .. 25);
        run_unticked(sub { $events->count('message') == 25 }, "$name: come in the end");
        is_deeply([ $events->messages ], [ map { "message $_" } 1 .. 25 ], "$name: all, in order");
        is_deeply(\@told, ['max_message_rate'], "$name: on_limit is told once");
        is($events->count('error'), 0, "$name: without an error");
    }

    # Bytes.
    {
        my $name = "$role, bytes";
        my ($events, $peer) = telling($made, max_byte_rate => [ 0.001, 10_000 ]);
        my $frame = $peer->make(BINARY, 'x' x 94);    # 100 bytes from a client
        $peer->put_from(sub { $frame x 100 });
        run_until(sub { @told }, "$name: the peer sends more than it may");
        settle();
        cmp_ok($events->count('message'), '>=', 99, "$name: the burst is delivered");
        cmp_ok($events->count('message'), '<', 115, "$name: and not much more");
        is_deeply(\@told, ['max_byte_rate'], "$name: on_limit is told which limit it is");
        is_served($other, $name);
        $peer->hang_up;
        $events->conn->abort;
        run_until(sub { $events->count('close') }, "$name: it can be ended");
    }
    {
        my $name = "$role, bytes that wait";
        my ($events, $peer) = telling($made, max_byte_rate => [ 2_000_000, 10_000 ]);
        my $long = join ',', 1 .. 40_000;
        messages($peer, 1 .. 100);
        $peer->send_frame(TEXT, $long);
        messages($peer, 101 .. 110);
        run_unticked(sub { $events->count('message') == 111 }, "$name: come in the end");
        my @all = $events->messages;
        is_deeply(\@all, [ (map { "message $_" } 1 .. 100), $long, map { "message $_" } 101 .. 110 ],
            "$name: all, in order");
        is_deeply(\@told, ['max_byte_rate'], "$name: on_limit is told once");
    }
}

# A number alone is a rate with a burst of one second, and of one message at least.
{
    my ($events, $peer) = telling(\&raw_client, max_message_rate => 0.001);
    messages($peer, 1 .. 10);
    run_until(sub { @told }, 'a number alone');
    settle();
    is($events->count('message'), 1, 'lets one message through');
}
for my $off (0, undef) {
    my ($events, $peer) = telling(\&raw_client, max_message_rate => $off, max_byte_rate => $off);
    messages($peer, 1 .. 1000);
    run_until(sub { $events->count('message') == 1000 }, 'no limit');
    is(scalar @told, 0, 'is not told');
}

# Who had sent as many messages as it might was beyond its rate, though no further one came: on_limit was told, and
# neither a Ping nor a Close was read until there was room for a message.
{
    my ($events, $peer) = telling(\&raw_client, max_message_rate => [ 0.001, 5 ]);
    messages($peer, 1 .. 5);
    run_until(sub { $events->count('message') == 5 }, 'the burst, and no more');
    $peer->send_frame(PING, 'p');
    run_until(sub { $peer->frames_of(PONG) }, 'a Ping behind it is answered');
    is_deeply(\@told, [], 'on_limit is not told');
    $peer->put($peer->make(CLOSE, close_payload(1000)));
    run_until(sub { $events->count('close') }, 'and a Close is read');
    is_deeply(\@told, [], 'nor is it then');
}
{
    my ($events, $peer) = telling(\&raw_client, max_message_rate => [ 2, 1 ]);
    for my $number (1 .. 3) {
        messages($peer, $number);
        run_until(sub { $events->count('message') == $number }, "half of the rate, $number");
        my $over;
        my $timer = EV::timer(1, 0, sub { $over = 1 });
        run_until(sub { $over }, 'a second');
    }
    is_deeply(\@told, [], 'who keeps to the rate is not told of');
}
{
    my ($events, $peer) = telling(\&raw_client, max_byte_rate => [ 0.001, 5000 ]);
    $peer->put($peer->make(BINARY, 'x' x (5000 - 8)));
    run_until(sub { $events->count('message') }, 'as many bytes as there may be');
    settle();
    is_deeply(\@told, [], 'are not too many');
    $peer->send_frame(PING, 'p');
    run_until(sub { @told }, 'more are');
}

# The end of a pause for bytes let the next message through, whatever the other rate said.
{
    my ($events, $peer) = telling(\&raw_client, max_message_rate => [ 0.001, 1 ], max_byte_rate => [ 100_000, 1000 ]);
    $peer->put($peer->make(BINARY, 'x' x 1016) x 5);    # each is what is read at a time
    run_until(sub { $events->count('message') }, 'both rates: a message');
    my $over;
    my $timer = EV::timer(1, 0, sub { $over = 1 });
    run_until(sub { $over }, 'some pauses for bytes');
    is($events->count('message'), 1, 'and no more');
}

# Control frames are no messages.
{
    my ($events, $peer) = telling(\&raw_client, max_message_rate => [ 0.001, 1 ]);
    $peer->put($peer->make(PING, 'p') x 100 . $peer->make(PONG, 'q') x 100);
    run_until(sub { $peer->frames_of(PONG) == 100 && $events->count('pong') == 100 }, 'Pings and Pongs are not counted');
    is(scalar @told, 0, 'they are no messages');
    $peer->send_frame(CLOSE, close_payload(1001, ''));
    run_until(sub { $events->count('close') }, 'nor is a Close');
}

# Whoever pauses and goes on gets no more than the rate.
{
    my ($events, $peer) = telling(\&raw_client, max_message_rate => [ 0.001, 2 ], on_message => sub { $_[0]->pause_recv });
    messages($peer, 1 .. 5);
    run_until(sub { $events->count('message') == 1 }, 'one message, and a pause');
    $events->conn->resume_recv;
    run_unticked(sub { $events->count('message') == 2 }, 'another one');
    $events->conn->resume_recv;
    settle();
    is($events->count('message'), 2, 'resume_recv does not end the pause of the rate');
}

# Messages that nobody listens to count as well.
{
    my $limited = 0;
    my $port = $context->listen(host => '127.0.0.1', max_message_rate => [ 0.001, 3 ], on_limit => sub { $limited++ });
    my $peer = RawPeer->connect($port)->upgrade;
    run_until(sub { $peer->head }, 'a listener without on_message');
    messages($peer, 1 .. 10);
    run_until(sub { $limited }, 'limits, too');
}

# on_limit can end the connection, and the context.
{
    my $events = Events->new;
    my $port = $context->listen(
        host => '127.0.0.1', max_message_rate => [ 0.001, 2 ], $events->handlers,
        on_limit => sub { $_[0]->close(1008, 'too many') },
    );
    my $peer = RawPeer->connect($port)->upgrade;
    run_until(sub { $peer->head }, 'on_limit that closes');
    messages($peer, 1 .. 10);
    run_until(sub { $peer->close_read }, 'closes');
    is(($peer->close_read)[0], 1008, 'with its code');
    $peer->send_close(1008);
    run_until(sub { $events->count('close') }, 'and the peer is read until it has closed');

    my $doomed = EV::Websockets::Context->new;
    my $gone;
    $port = $doomed->listen(
        host => '127.0.0.1', max_byte_rate => [ 0.001, 2 ], on_limit => sub { undef $doomed; $gone = 1; die "on purpose\n" },
    );
    $peer = RawPeer->connect($port)->upgrade;
    run_until(sub { $peer->head }, 'on_limit that destroys the context');
    messages($peer, 1 .. 1000);
    run_until(sub { $gone && $peer->eof }, 'does');
    like(join('', warned()), qr/\AEV::Websockets: exception in limit handler: on purpose\n\z/, 'and its die is told');
}

finish();
