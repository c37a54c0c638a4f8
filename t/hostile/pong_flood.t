# Pongs that nobody asked for, a million of them. A classic of ends that keep what they
# get until they find the Ping that it answers.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Frame;
use Hostile;
use Run;
use Test::More;

my $victim = victim();
attack($victim, 'a million Pongs', times => 1_000_000, warm => 500_000, cpu => 3, sub {
    my ($times) = @_;
    my $peer = $victim->upgraded;
    my $pong = $peer->make(PONG, 'unasked!');
    ok($victim->flood($peer, $pong, $times / 2), 'the first half is taken');
    $victim->meanwhile;
    ok($victim->flood($peer, $pong, $times / 2), 'and the other half');
    $peer->send_frame(TEXT, 'still here');
    run_until(sub { $peer->frames_of(TEXT) }, 'which is no reason to end the connection');
});
is($victim->seen->{error}, undef, 'no error');

finish();
