# RSV1 of a frame where no extension was agreed on. A classic of receivers that inflate
# whatever has the bit: compression that was switched off is on.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Deflate;
use Frame;
use Hostile;
use Run;
use Test::More;

my $victim = victim(listen => { max_message_size => 65536 });
my ($block) = Deflate->new(takeover => 0)->fragments("\0" x 1048576, '');
attack($victim, 'compressed messages that nobody agreed on', times => 60, warm => 10, cpu => 2, sub {
    my ($times) = @_;
    for my $n (1 .. $times) {
        for my $offer ({}, { 'Sec-WebSocket-Extensions' => 'permessage-deflate' }, { 'Sec-WebSocket-Extensions' => 'x-webkit-deflate-frame' }) {
            $victim->fails_with(1002, sub { $_[0]->make($n % 2 ? TEXT : BINARY, $block, rsv => 4) }, 'RSV1', headers => $offer);
        }
        $victim->meanwhile if $n == $times;
    }
});

finish();
