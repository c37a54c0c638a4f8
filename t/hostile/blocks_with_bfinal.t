# Blocks with BFINAL, each of which ends the stream and begins another with the window so
# far. A classic of inflaters that copy 32 KiB for two octets.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Deflate;
use Frame;
use Hostile;
use Run;
use Test::More;

my $victim = victim(listen => { deflate => 1, max_message_size => 1_000_000 });
my $offer = { 'Sec-WebSocket-Extensions' => 'permessage-deflate' };
my ($window) = Deflate->new(takeover => 0)->fragments(join('', map { chr int rand 256 } 1 .. 40_000), '');
# Copied each time, that is 30 GB.
attack($victim, 'a million empty blocks', times => 10, warm => 2, limit => 4096, cpu => 5, sub {
    my ($times) = @_;
    for my $n (1 .. $times) {
        my $peer = $victim->upgraded(headers => $offer);
        $peer->put($peer->make(BINARY, $window . "\x03\x00" x 100_000, rsv => 4));
        $victim->meanwhile if $n == $times;
        ok($victim->has_read($peer) || $peer->close_read, 'read');
        $peer->hang_up;
    }
});

finish();
