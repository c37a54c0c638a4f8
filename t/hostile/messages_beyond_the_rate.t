# Floods at a listener with rates: small messages, bytes, and fragments that make no message. A classic of limiters that go
# on reading what they do not deliver, and keep it: who sends too fast decides how much memory there is.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use EV;
use Frame;
use Hostile;
use RawPeer;
use Run;
use Test::More;

# 20 MB each, of which a rate lets some thousand octets through.
my %floods = (
    'messages of one octet' => [ BINARY, 'x', 2_500_000 ],
    'messages of 16 KiB'    => [ BINARY, 'x' x 16_384, 1200 ],
    'Pings'                 => [ PING, 'x' x 100, 180_000 ],
    'fragments'             => [ CONT, 'x' x 100, 180_000 ],
);
my $victim = victim(apart => 1, listen => { max_message_rate => [ 1, 50 ], max_byte_rate => [ 1024, 8192 ] });
for my $name (sort keys %floods) {
    my ($opcode, $payload, $times) = @{ $floods{$name} };
    attack($victim, $name, times => 1, limit => 512, cpu => 3, sub {
        my $peer = $victim->peer->upgrade;
        wait_until(sub { defined $peer->head });
        $peer->send_frame(BINARY, 'first', fin => 0) if $opcode == CONT;
        my $block = $opcode == CONT ? $peer->make(CONT, $payload, fin => 0) : $peer->make($opcode, $payload);
        my $has_taken = $victim->flood($peer, $block, $times);
        ok(!$has_taken, "$name: the peer is held back");
        $victim->meanwhile;
        $peer->hang_up(reset => 1);
    });
}

finish();
