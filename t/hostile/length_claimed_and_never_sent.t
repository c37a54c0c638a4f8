# The head of a frame of a gigabyte, and one octet of it, 10,000 times. A classic of receivers
# that allocate what a head claims.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Frame;
use Hostile;
use Run;
use Test::More;

my $victim = victim();
attack($victim, '10,000 claims of a gigabyte', times => 25, warm => 5, cpu => 8, limit => 400 * 8, sub {
    my ($times) = @_;
    for my $n (1 .. $times) {
        my @peers = $victim->crowd(400, sub { $_[0]->upgrade->send_frame(BINARY, 'x', claim64 => [ 0, 0x40000000 ]) },
            sub { defined $_[0]->head }, '400 claims');
        $victim->meanwhile for 1 .. ($n == $times ? 3 : 0);
        my $closed = $victim->seen->{close} || 0;
        $_->hang_up(reset => 1) for @peers;
        wait_until(sub { $victim->seen->{close} == $closed + 400 }) or fail('all are gone');
    }
});

finish();
