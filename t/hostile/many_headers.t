# 0 to 10,000 headers. ws for Node.js crashed where their number was above the one that
# Node.js passes on, which left out Upgrade (CVE-2024-37890).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Hostile;
use RawPeer;
use Run;
use Test::More;

my $victim = victim();
my @numbers = (0 .. 5, 50, 90 .. 105, 127, 128, 129, 255, 256, 257, 999, 2000, 4095, 10_000);
my %request = map { my $n = $_; ($n => [
    RawPeer->request(headers => { map { (sprintf('X-%d', $_) => 'x') } 1 .. $n }),
    join('', "GET / HTTP/1.1\r\n", "X: y\r\n" x $n, "Host: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        . "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"),
]) } @numbers;
attack($victim, '0 to 10,000 headers', times => 10, warm => 5, cpu => 2, limit => 64, sub {
    my ($times) = @_;
    my @cases = map { my $n = $_; map { [ "$n headers", $n > 1000 ? 431 : $n < 90 ? 101 : '101|431', $_ ] } @{ $request{$n} } } @numbers;
    $victim->answers((@cases) x $times);
    $victim->meanwhile;
});

finish();
