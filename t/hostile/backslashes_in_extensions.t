# 15 KiB of escapes in a string that does not end. The parsers of websocket-extensions for
# Node.js and for Ruby took quadratic time to refuse it (CVE-2020-7662, CVE-2020-7663).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Hostile;
use RawPeer;
use Run;
use Test::More;

my $victim = victim(listen => { deflate => 1 });
my @headers = map { my $pair = $_; map { $_ . $pair x 7500 } 'a; b="', 'permessage-deflate; x="', 'permessage-deflate; server_max_window_bits="' }
    '\\c', '\\"', '\\\\', '""', '; ', ', ';
attack($victim, '360 headers of 15 KiB', times => 20, warm => 5, cpu => 2, limit => 64, sub {
    my ($times) = @_;
    for my $header ((@headers) x $times) {
        my $peer = $victim->upgraded(headers => { 'Sec-WebSocket-Extensions' => $header });
        $peer->status && $peer->status =~ /\A(?:101|400|431)\z/ or fail('answered');
        $peer->hang_up;
    }
    $victim->meanwhile;
});

finish();
