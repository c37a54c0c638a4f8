# Warnings without end during the handshake. OpenSSL took each, and the processor with it
# (CVE-2016-8610, "SSL Death Alert").
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
my %records = ('warnings' => "\x15\x03\x03\x00\x02\x01\x5a", 'empty handshake records' => "\x16\x03\x03\x00\x00", 
    'change_cipher_spec' => "\x14\x03\x03\x00\x01\x01", 'empty alerts' => "\x15\x03\x03\x00\x00");
attack($victim, '4 times half a million records', times => 500_000, warm => 100_000, limit => 64, cpu => 3, sub {
    my ($times) = @_;
    for my $name (sort keys %records) {
        my $peer = $victim->peer;
        $victim->flood($peer, $records{$name}, $times);
        $victim->meanwhile;
        wait_until(sub { $peer->eof }) or fail("$name: refused");
        $peer->hang_up;
    }
});

finish();
