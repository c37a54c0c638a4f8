# A message of fragments of one octet. ws for Node.js kept a buffer of a hundred octets for
# each (CVE-2026-48779): memory many times the size of the message.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Frame;
use Hostile;
use Run;
use Test::More;

my $victim = victim(listen => { max_message_size => 4_000_000, max_fragments => 0 });
attack($victim, 'a million fragments of one octet', times => 1_000_000, warm => 60_000, cpu => 3, limit => 2048, sub {
    my ($times) = @_;
    my $peer = $victim->upgraded;
    $peer->send_frame(BINARY, 'a', fin => 0);
    my $fragment = $peer->make(CONT, 'b', fin => 0);
    $victim->flood($peer, $fragment, $times - 1);
    ok($victim->has_read($peer), 'all of it was read');
    $victim->meanwhile;
    $peer->hang_up(reset => 1);
});

finish();
