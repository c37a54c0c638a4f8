# Lengths in more octets than they need, which RFC 6455 section 5.2 forbids. A classic
# of parsers that are lenient: a filter in between reads another frame than they do.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Frame;
use Hostile;
use Run;
use Test::More;

my $victim = victim();
attack($victim, 'lengths that are too long', times => 40, warm => 5, cpu => 2, sub {
    my ($times) = @_;
    for my $n (1 .. $times) {
        $victim->fails_with(1002, sub { $_[0]->make(TEXT, 'x' x 125, form => 16) }, '125 in 16 bits');
        $victim->fails_with(1002, sub { $_[0]->make(TEXT, '', form => 64) }, 'none in 64 bits');
        $victim->fails_with(1002, sub { $_[0]->make(BINARY, '', claim64 => [ 0, 65535 ]) }, '65535 in 64 bits');
        $victim->meanwhile if $n == 1;
    }
});

finish();
