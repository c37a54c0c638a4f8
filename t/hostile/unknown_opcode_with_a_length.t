# An opcode that is none, of a frame of many gigabytes. A classic of parsers that look at
# the opcode when the payload is there: they wait for it, and keep it.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Frame;
use Hostile;
use Run;
use Test::More;

my $victim = victim();
attack($victim, 'opcodes 3 to 7 and 11 to 15', times => 10, warm => 2, cpu => 2, sub {
    my ($times) = @_;
    for my $opcode ((3 .. 7, 11 .. 15) x $times) {
        $victim->fails_with(1002, sub { $_[0]->make($opcode, 'x' x 100, claim64 => [ 0x3fffffff, 0 ]) }, "opcode $opcode");
    }
    $victim->meanwhile;
});

finish();
