# Messages to an echo server whose answers are never read. A classic: the queue of what is
# sent grows as fast as the peer likes.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Frame;
use Hostile;
use Run;
use Test::More;

my $victim = victim(listen => { max_send_queue => 65_536 });
attack($victim, '40 MB of echoes', times => 40_000, warm => 40_000, limit => 256, cpu => 3, sub {
    my ($times) = @_;
    my $peer = $victim->upgraded->stop_reading;
    $victim->flood($peer, $peer->make(BINARY, 'x' x 1000), $times);
    $victim->meanwhile;
    $peer->hang_up(reset => 1);
});

finish();
