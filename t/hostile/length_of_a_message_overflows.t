# Fragments whose lengths add up to more than 2^64, without a limit of the message: the
# sum wraps round. Tomcat looped for ever at a length of that kind (CVE-2020-13935).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Frame;
use Hostile;
use Run;
use Test::More;

my $victim = victim();
attack($victim, 'sums beyond 2^64', times => 100, warm => 20, cpu => 2, limit => 64, sub {
    my ($times) = @_;
    for my $n (1 .. $times) {
        my $peer = $victim->upgraded;
        $peer->send_frame(BINARY, 'x' x 200, fin => 0);
        $peer->put($peer->make(CONT, 'y' x 100, claim64 => [ 0x7fffffff, 0xffffffff ], fin => 0));
        $victim->meanwhile if $n == $times / 2;
        wait_until(sub { $peer->close_read || $peer->eof }) if $n % 2;
        is(($peer->close_read)[0], 1009, 'refused by its head') if $n == 1;
        $peer->hang_up;
    }
});

finish();
