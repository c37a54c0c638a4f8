# A message that never ends, of frames that are each below the limit. Netty's decoder
# limited frames, and what joined them had no limit (CVE-2014-0193).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Frame;
use Hostile;
use Run;
use Test::More;

my $victim = victim(listen => { max_message_size => 262_144 });
attack($victim, 'unfinished messages of 64 MiB', times => 1024, warm => 8, cpu => 2, limit => 512, sub {
    my ($times) = @_;
    my $peer = $victim->upgraded;
    $peer->send_frame(BINARY, 'x' x 65536, fin => 0);
    $victim->flood($peer, $peer->make(CONT, 'x' x 65536, fin => 0), $times);
    $victim->meanwhile;
    run_until(sub { $peer->close_read || $peer->eof }, 'it ends');
    is(($peer->close_read)[0], 1009, 'with 1009');
    $peer->hang_up;
});

finish();
