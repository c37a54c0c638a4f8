# A ClientHello that claims to have 16 MB. Netty's SNI handler allocated them at once, for
# nine octets (CVE-2026-45416).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Certificates;
use Hostile;
use Run;
use Test::More;

my $made = Certificates->new;
$made->ca('ca');
$made->issue('server', issuer => 'ca');
my $victim = victim(listen => { $made->listen_with('server') });
my $first = "\x16\x03\x01\x40\x00\x01\xff\xff\xff\x03\x03" . 'r' x 32 . "\x20" . 's' x 16341;
attack($victim, '100 that claim, 100 that send', times => 100, limit => 100 * 40, cpu => 3, sub {
    my ($times) = @_;
    my @waiting = map { $victim->peer->put(substr $first, 0, 9 + 32 * ($_ % 2)) } 1 .. $times;
    for my $n (1 .. $times) {
        my $peer = $victim->peer->put($first);
        $victim->flood($peer, "\x16\x03\x03\x40\x00" . 'x' x 16384, 1024);
        $victim->meanwhile if $n == $times;
        wait_until(sub { $peer->eof }) or fail('refused');
        $peer->hang_up;
    }
    $_->hang_up for @waiting;
});

finish();
