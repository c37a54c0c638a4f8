# As many fragments as there is a limit for, and one more. ws for Node.js counted them,
# and let through what took 15 times the memory (websockets/ws#2331).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Frame;
use Hostile;
use Run;
use Test::More;

my $victim = victim(listen => { max_fragments => 1000 });
attack($victim, 'fragments beyond the limit', times => 100, limit => 64, cpu => 2, sub {
    my ($times) = @_;
    for my $n (1 .. $times) {
        my $octets = $n % 2 ? '' : 'x';
        $victim->fails_with(1009, sub { my ($peer) = @_; $peer->make(BINARY, $octets, fin => 0) . $peer->make(CONT, $octets, fin => 0) x 1000 }, 'one too many');
    }
    $victim->meanwhile;
    my $peer = $victim->upgraded;
    $peer->put($peer->make(BINARY, '', fin => 0) . $peer->make(CONT, '', fin => 0) x 998 . $peer->make(CONT, 'all'));
    run_until(sub { $peer->frames_of(TEXT) }, 'as many as may be are a message');
    $peer->hang_up;
});

finish();
