# A bomb whose block behind the limit is no deflate data. A classic of inflaters whose
# error, of two, is reported as the wrong one, or whose state is used again for the next
# connection.
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
my ($block) = Deflate->new(takeover => 0)->fragments("\0" x 1048576, '');
my $offer = { 'Sec-WebSocket-Extensions' => 'permessage-deflate' };
attack($victim, 'bombs with corrupt blocks', times => 60, warm => 20, limit => 64, cpu => 2, sub {
    my ($times) = @_;
    for my $n (1 .. $times) {
        my $corrupt = $n % 3 ? "\xff" x 50 : "\x06\xff\xff";
        my $first = $n % 2 ? $block x 16 : '';
        my $code = $first eq '' ? 1007 : 1009;
        $victim->fails_with($code, sub { $_[0]->make(BINARY, $first . $corrupt, rsv => 4) }, 'what comes first', headers => $offer);
        # The next one that borrows an inflater.
        my $peer = $victim->upgraded(headers => $offer);
        $peer->put($peer->make(TEXT, Deflate->new->message("clean $n"), rsv => 4));
        wait_until(sub { $peer->frames_of(TEXT) || $peer->eof }) && $peer->frames_of(TEXT) or fail("clean $n");
        $peer->hang_up;
        $victim->meanwhile;
    }
});

finish();
