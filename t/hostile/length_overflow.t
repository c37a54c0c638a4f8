# Lengths at which sums overflow. gorilla/websocket added them to what it had read, past
# its limit (CVE-2020-27813); libre added 4 for the mask, and wrote past its buffer.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Frame;
use Hostile;
use Run;
use Test::More;

my @lengths = ([ 0x40000000, 0 ], [ 0x7fffffff, 0xffffffff ], [ 0x7fffffff, 0xfffffff0 ], [ 0x80000000, 0 ],
    [ 0xffffffff, 0xffffffff ], [ 0xffffffff, 0xfffffffc ], [ 0xffffffff, 0xfffffff2 ], [ 1, 0 ], [ 0, 0xffffffff ], [ 0, 0xfffffffc ]);
my $victim = victim(listen => { max_message_size => 65536 });
attack($victim, 'lengths of 2^32 to 2^64-1', times => 20, warm => 4, cpu => 3, limit => 64, sub {
    my ($times) = @_;
    my %codes;
    for my $length ((@lengths) x ($times / 4)) {
        for my $fragments (0, 1, 3) {
            my $peer = $victim->upgraded;
            $peer->send_frame(BINARY, 'x', fin => 0) if $fragments;
            $peer->send_frame(CONT, 'x' x 100, fin => 0) for 2 .. $fragments;
            $peer->put($peer->make($fragments ? CONT : BINARY, 'x' x 50, claim64 => $length));
            wait_until(sub { $peer->close_read || $peer->eof });
            $codes{ ($peer->close_read)[0] || 'none' }++;
            $peer->hang_up;
        }
    }
    $victim->meanwhile;
    is_deeply([ grep { !/\A(?:1002|1009)\z/ } keys %codes ], [], 'each is refused by its head');
});

finish();
