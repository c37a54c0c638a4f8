# A message of empty fragments that never ends. ws for Node.js did not count them towards
# its limit of fragments (websockets/ws#2329), and others keep a list of them.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Frame;
use Hostile;
use Run;
use Test::More;

my $victim = victim(listen => { max_fragments => 0 });
attack($victim, 'a million empty fragments', times => 1_000_000, warm => 500_000, cpu => 3, sub {
    my ($times) = @_;
    my $peer = $victim->upgraded;
    $peer->send_frame(BINARY, '', fin => 0);
    my $fragment = $peer->make(CONT, '', fin => 0);
    $victim->flood($peer, $fragment, $times / 2);
    $victim->meanwhile;
    $victim->flood($peer, $fragment, $times / 2);
    ok($victim->has_read($peer), 'all of it was read');
    $peer->hang_up(reset => 1);
});

finish();
