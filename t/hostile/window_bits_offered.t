# Window bits outside of 8 to 15, and what is no number at all. A classic of servers that
# hand the number on to zlib, which fails when the first message comes, or dies.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Frame;
use Hostile;
use RawPeer;
use Run;
use Test::More;

my $victim = victim(listen => { deflate => 1 });
my @bad = map { "permessage-deflate; $_" } map { ("server_max_window_bits=$_", "client_max_window_bits=$_") }
    0, 1, 7, 16, 17, 99, 256, 999, '4294967304', '18446744073709551624', '-15', '+15', '015', '1e1', '8.5', '""', '" 15"', '"7"', "15\t15", '9' x 4000;
attack($victim, 'window bits', times => 10, warm => 2, cpu => 2, sub {
    my ($times) = @_;
    my %answers;
    for my $offer ((@bad) x $times) {
        my $peer = $victim->upgraded(headers => { 'Sec-WebSocket-Extensions' => $offer });
        $answers{ join ' ', $peer->status || 'none', $peer->header('Sec-WebSocket-Extensions') } = $offer;
        $peer->hang_up;
    }
    $victim->meanwhile;
    is_deeply([ grep { !/\A(?:101|400)\z/ } keys %answers ], [], 'declined, or refused');
});

finish();
