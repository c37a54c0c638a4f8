# Chunks of one octet with long extensions, and trailers without end. Go's net/http read
# them without a limit, however small the body (CVE-2023-39326).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Hostile;
use RawPeer;
use Run;
use Test::More;

my $victim = victim(listen => { on_request => sub { [ 200, [], ['ok'] ] } });
my $head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
my %parts = ('an extension without end' => [ '1;x=', 'y' x 64 ], 'extensions' => [ '', '1;' . 'x=y;' x 50 . "\r\na\r\n" ], 'trailers' => [ "0\r\n", "X: y\r\n" ],
    'zeros' => [ '', '0' x 64 ], 'empty lines' => [ '', "\r\n" ], 'octets' => [ '', "1\r\na\r\n" ]);
attack($victim, 'bodies of 16 MB', times => 16_000_000, warm => 8_000_000, limit => 192, cpu => 3, sub {
    my ($times) = @_;
    for my $name (sort keys %parts) {
        my ($begin, $part) = @{ $parts{$name} };
        my $peer = $victim->peer->put($head . $begin);
        $victim->flood($peer, $part, $times / length $part);
        $victim->meanwhile;
        wait_until(sub { $peer->eof }) or fail("$name: refused");
        fail("$name: " . $peer->status) if ($peer->status || 413) !~ /\A(?:400|413|431)\z/;
        $peer->hang_up;
    }
});

finish();
