# Pings whose Pongs are never read. A classic of servers that queue every Pong: the peer
# decides how long the queue is.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Frame;
use Hostile;
use Run;
use Test::More;

my $victim = victim();
attack($victim, 'Pings of 125 octets, unread', times => 400_000, warm => 150_000, cpu => 3, limit => 256, sub {
    my ($times) = @_;
    my $peer = $victim->upgraded->stop_reading;
    # 50 MiB of Pongs, if all were queued. What the sockets of both sides hold is the kernel's.
    my $taken = $victim->flood($peer, $peer->make(PING, 'p' x 125), $times);
    ok(!$taken, 'the peer is held back') if $times > 100_000;
    $victim->meanwhile;
    $peer->hang_up(reset => 1);
});

finish();
