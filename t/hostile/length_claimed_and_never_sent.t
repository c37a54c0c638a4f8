# The head of a frame of a gigabyte, and no octet of it, 10,000 times. A classic of
# receivers that allocate what a head claims.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Frame;
use Hostile;
use Run;
use Test::More;

my $victim = victim();
attack($victim, '10,000 claims of a gigabyte', times => 100, warm => 10, cpu => 8, limit => 128, sub {
    my ($times) = @_;
    for my $n (1 .. $times) {
        my @peers = $victim->crowd(100, sub { $_[0]->upgrade->send_frame(BINARY, 'x', claim64 => [ 0, 0x40000000 ]) },
            sub { defined $_[0]->head }, 'a hundred claims') ;
        $victim->meanwhile if $n == $times;
        $_->hang_up(reset => 1) for @peers;
    }
});

finish();
