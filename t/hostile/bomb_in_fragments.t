# The same in fragments: a classic of limits that are compared with each frame.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Deflate;
use Frame;
use Hostile;
use Run;
use Test::More;

my $victim = victim(listen => { deflate => 1, max_message_size => 65536 });
my ($block) = Deflate->new(takeover => 0)->fragments("\0" x 32768, '');
attack($victim, '2000 fragments that are 32 KiB each', times => 20, warm => 5, limit => 64, cpu => 2, sub {
    my ($times) = @_;
    my $offer = { 'Sec-WebSocket-Extensions' => 'permessage-deflate' };
    for my $n (1 .. $times) {
        $victim->fails_with(1009, sub {
            my ($peer) = @_;
            return $peer->make(BINARY, $block, rsv => 4, fin => 0) . $peer->make(CONT, $block, fin => 0) x 2000;
        }, 'a bomb in fragments', headers => $offer);
        $victim->meanwhile;
    }
});

finish();
