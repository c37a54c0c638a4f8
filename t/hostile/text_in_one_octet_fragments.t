# Text in fragments of one octet, each inside of a character. A classic of ends that check
# the whole text anew with each.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Frame;
use Hostile;
use Run;
use Test::More;

my $victim = victim(listen => { max_fragments => 0 });
attack($victim, '300,000 octets of UTF-8', times => 300_000, warm => 100_000, limit => 1024, cpu => 3, sub {
    my ($times) = @_;
    my $peer = $victim->upgraded;
    $peer->send_frame(TEXT, '', fin => 0);
    my $character = join '', map { $peer->make(CONT, $_, fin => 0) } "\xf0", "\x9f", "\x98", "\x80";
    ok($victim->flood($peer, $character, $times / 4), 'taken');
    $victim->meanwhile;
    $peer->send_frame(CONT, '');
    ok($victim->has_read($peer), 'and read');
    $peer->hang_up;
});

finish();
