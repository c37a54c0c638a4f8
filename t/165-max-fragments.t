use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Frame;
use Limited;
use RawEnds;
use Run;
use Test::More;

# max_fragments: a message without end and without a size, in frames of 0 or 1 octet.

croaks_everywhere('max_fragments', 'must be a whole number from 0 to 4294967295', -1, 'few', 0.5, 'nan', 2**32, []);

my $TEXT = 'message exceeds max_fragments';
my $context = EV::Websockets::Context->new;
my $other   = bystander($context);

sub too_many {
    my ($name, $peer, $events) = @_;
    run_until(sub { $events->count('close') && $peer->close_read }, "$name: the end");
    is_deeply([ $peer->close_read ], [ 1009, $TEXT ], "$name: 1009 on the wire");
    is_deeply([ @{ $events->last_of('error') } ], [$TEXT], "$name: the text");
    is($events->last_of('close')->[0], 1009, "$name: 1009 in on_close");
    is_served($other, $name);
    return;
}

# The bytes of a message of so many fragments, whose last is one.
sub fragments {
    my ($peer, $count, $payload) = @_;
    my @frame = map { $peer->make($_ == 1 ? TEXT : CONT, $payload, fin => $_ == $count) } 1 .. $count;
    return join '', @frame;
}

for my $made (\&raw_client, \&raw_server) {
    my $role = $made == \&raw_client ? 'a client' : 'a server';
    for my $payload ('', 'x') {
        my $name = "$role, fragments of " . length $payload;
        my ($events, $peer) = $made->($context, max_fragments => 3);
        $peer->put(fragments($peer, 3, $payload) . $peer->make(TEXT, 'one') . fragments($peer, 3, $payload));
        run_until(sub { $events->count('message') == 3 }, "$name: as many as are allowed");
        is_deeply([ $events->messages ], [ $payload x 3, 'one', $payload x 3 ], "$name: whole");
        # Between them Pings may come, which are not counted.
        $peer->put($peer->make(TEXT, $payload, fin => 0) . $peer->make(PING, 'p') x 10);
        $peer->put($peer->make(CONT, $payload, fin => 0) . $peer->make(PING, 'q') . $peer->make(CONT, $payload, fin => 0));
        run_until(sub { $peer->frames_of(PONG) == 11 }, "$name: Pings are answered in between");
        $peer->put($peer->make(CONT, $payload));
        too_many($name, $peer, $events);
        is($events->count('message'), 3, "$name: no further message");
    }
}

# The default.
{
    my ($events, $peer) = raw_client($context);
    $peer->put(fragments($peer, 65536, ''));
    run_until(sub { $events->count('message') }, '65536 fragments are a message');
    $peer->put(fragments($peer, 65537, ''));
    too_many('65537 are too many', $peer, $events);
}

# Without end.
{
    my ($events, $peer) = raw_client($context);
    my $more = $peer->make(CONT, '', fin => 0) x 5000;
    $peer->put($peer->make(BINARY, 'x', fin => 0));
    my $before = rss_kib();
    $peer->put_from(sub { $more });
    too_many('a message without end', $peer, $events);
    SKIP: {
        skip 'no /proc', 1 if !defined $before;
        cmp_ok(rss_kib() - $before, '<', 8192, 'which took no memory');
    }
    $peer->hang_up;
}

# 0 turns it off, and what we send ourselves is not limited.
{
    my ($events, $peer) = raw_client($context, max_fragments => 0);
    $peer->put(fragments($peer, 70_000, 'x'));
    run_until(sub { $events->count('message') }, '0 is no limit');
    is(length(($events->messages)[0]), 70_000, 'whole');
}
{
    my ($events, $peer) = raw_client($context, max_fragments => 1);
    $events->conn->send_fragment('x', 0, 0) for 1 .. 3;
    $events->conn->send_fragment('x', 0, 1);
    run_until(sub { $peer->frames_of(CONT) == 3 }, 'our own fragments are not counted');
    $peer->send_frame(TEXT, 'x', fin => 0)->send_frame(CONT, 'y');
    too_many('1 allows none', $peer, $events);
}

finish();
