# 15 KiB of spaces in Sec-WebSocket-Protocol. ws for Node.js split it with a pattern that
# took quadratic time (CVE-2021-32640).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Hostile;
use RawPeer;
use Run;
use Test::More;

my $victim = victim(listen => { protocol => 'chat' });
my @headers = map { my $blank = $_; ('b' . $blank x 15000 . 'x', $blank x 15000, 'a,' . $blank x 14000 . ',chat', join('', ('a' . $blank) x 7000)) } ' ', "\t", ',', ' ,';
# 320 or 4,800 of them, malloc takes one step of memory more, or none, as the blocks happen to lie.
attack($victim, '320 headers of 15 KiB', times => 20, warm => 5, cpu => 2, limit => 132, sub {
    my ($times) = @_;
    for my $header ((map { substr $_, 0, 15_000 } @headers) x $times) {
        my $peer = $victim->upgraded(headers => { 'Sec-WebSocket-Protocol' => $header });
        $peer->status && $peer->status =~ /\A(?:101|400|431)\z/ or fail('answered');
        $peer->hang_up;
    }
    $victim->meanwhile;
});

finish();
