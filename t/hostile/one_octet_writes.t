# A frame that comes octet by octet. A classic of parsers that begin at the frame's first
# octet, or move what they have, each time: 100,000 octets become five thousand million.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use EV;
use Frame;
use Hostile;
use Run;
use Test::More;

my $victim = victim();
attack($victim, 'a message in writes of one octet', times => 100_000, warm => 5000, cpu => 6, limit => 512, sub {
    my ($times) = @_;
    my $peer = $victim->upgraded;
    my $frame = $peer->make(BINARY, 'x' x ($times - 20)) . $peer->make(TEXT, 'done');
    for my $at (0 .. length($frame) - 1) {
        $peer->put(substr $frame, $at, 1);
        $victim->meanwhile if $at == $times / 2;
    }
    run_until(sub { $peer->frames_of(TEXT) }, 'it arrives');
});
is($victim->seen->{error}, undef, 'no error');

finish();
