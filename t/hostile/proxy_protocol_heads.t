# Heads of the PROXY protocol that never end, that claim what does not come, and that have lengths within lengths. A
# classic of servers behind a proxy: they trust the proxy's own bytes, and whoever reaches the port writes them.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use EV;
use Hostile;
use RawPeer;
use Run;
use Socket qw(inet_aton);
use Test::More;

my $signature = "\r\n\r\n\0\r\nQUIT\n";
my $addresses = inet_aton('192.0.2.7') . inet_aton('192.0.2.1') . pack 'nn', 40000, 443;
my $request   = RawPeer->request;

sub v2 {
    my ($rest, %o) = @_;
    return $signature . pack('C C n', defined $o{command} ? $o{command} : 0x21, defined $o{family} ? $o{family} : 0x11,
        defined $o{length} ? $o{length} : length $rest) . $rest;
}
sub tlv { my ($type, $length, $value) = @_; return pack('C n', $type, $length) . $value }

# None of these becomes a connection; the peer waits, or is told nothing.
my @malformed = (
    'PROXY ', "PROXY \r\n", "PROXY TCP4\r\n", "PROXY TCP4 1.2.3.4\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n",
    "PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n", "PROXY TCP4 010.0.0.1 1.2.3.4 1 2\r\n", "PROXY TCP4 ::1 ::1 1 2\r\n", "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
    "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n", "PROXY TCP4\0 1.2.3.4 1.2.3.4 1 2\r\n", 'PROXY TCP4 ' . '1' x 5000, "PROXY UNKNOWN " . 'x' x 200 . "\r\n",
    'PROXY ' x 10_000, "proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n", "\r\n\r\n\0\r\nQUIT", substr($signature, 0, 11) . "\r" . 'x' x 100,
    v2($addresses, command => 0x11), v2($addresses, command => 0x22), v2($addresses, command => 0xff), v2($addresses, family => 0x13),
    v2($addresses, family => 0x41), v2('', length => 0), v2('x' x 11), v2($addresses . tlv(4, 0xffff, '')), v2($addresses . tlv(4, 10, 'x' x 9)),
    v2($addresses . tlv(4, 2, 'xx') . "\x04"), v2($addresses . tlv(0x20, 3, 'x' x 3) . tlv(0x20, 100, '')), v2($addresses . 'x' x 60_000), v2($addresses, length => 0xffff),
);
my $victim = victim(apart => 1, listen => { proxy_protocol => 1, handshake_timeout => 60 });

# Whether a peer that says this gets its upgrade.
sub is_let_in {
    my ($bytes) = @_;
    my $peer = $victim->peer->put($bytes . $request);
    $peer->finish_writing;
    wait_until(sub { defined $peer->head || $peer->eof }) or fail('neither answered nor ended');
    my $is_in = ($peer->status || 0) == 101;
    $peer->hang_up;
    return $is_in;
}
ok(is_let_in(v2($addresses)), 'a head that is right');
ok(is_let_in("PROXY TCP4 192.0.2.7 192.0.2.1 40000 443\r\n"), 'one of version 1');
ok(!is_let_in(''), 'none');

attack($victim, 'malformed heads', times => 10, warm => 2, limit => 512, cpu => 3, sub {
    my ($times) = @_;
    my %in;
    for my $n ((0 .. $#malformed) x $times) { $in{$n}++ if is_let_in($malformed[$n]) }
    is(join(' ', sort keys %in), '', 'none of them is let in');
    $victim->meanwhile;
});

# 500 at a time, whose heads come octet by octet and have no end.
attack($victim, 'heads without end', times => 300, warm => 50, limit => 500 * 8, cpu => 8, sub {
    my ($times) = @_;
    my $long = v2($addresses . tlv(4, 4000, 'x' x 3900), length => 4015);
    my @peers = map { $victim->peer } 1 .. 500;
    for my $at (0 .. $times - 1) {
        $_->put($at < 200 || $at % 2 ? substr $long, $at, 1 : '') for @peers;
    }
    $victim->meanwhile;
    is(scalar(grep { $_->eof || defined $_->head } @peers), 0, 'they wait, and so do we');
    $_->hang_up(reset => 1) for @peers;
});

finish();
