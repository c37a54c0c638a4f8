# Pings without end whose Pongs are read. A classic of loops that answer one connection
# until it is quiet: the others wait for ever.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Frame;
use Hostile;
use Run;
use Test::More;

my $victim = victim();
attack($victim, '300,000 Pings', times => 300_000, warm => 150_000, cpu => 3, sub {
    my ($times) = @_;
    my $peer = $victim->upgraded;
    my $pings = $peer->make(PING, 'p');
    ok($victim->flood($peer, $pings, $times / 2), 'half of them');
    $victim->meanwhile;
    ok($victim->flood($peer, $pings, $times / 2), 'and the others');
    my $pongs = 0;
    run_until(sub { $pongs += @{ $peer->frames }; $peer->{frames} = []; $pongs >= $times }, 'each has its Pong');
});

finish();
