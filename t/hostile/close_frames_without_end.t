# Close frames without end. A classic of ends that answer each.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Frame;
use Hostile;
use Run;
use Test::More;

my $victim = victim();
attack($victim, 'a million Close frames', times => 1_000_000, warm => 300_000, limit => 64, cpu => 2, sub {
    my ($times) = @_;
    my $peer = $victim->upgraded;
    $victim->flood($peer, $peer->make(CLOSE, close_payload(1000)), $times);
    $victim->meanwhile;
    wait_until(sub { $peer->eof });
    is(scalar($peer->frames_of(CLOSE)), 1, 'one is the answer') if !$peer->{reset};
    $peer->hang_up;
});

finish();
