# A message of a few kilobytes that inflates to 256 MiB. Python's websockets and Tornado
# limited what arrives and not what it becomes (CVE-2018-1000518, tornado#2391); so did
# undici, as a client (CVE-2026-1526).
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
# A message of megabytes of zeros, a thousandth of them long.
my ($block) = Deflate->new(takeover => 0)->fragments("\0" x 1048576, '');
my $bomb = $block x 256 . Deflate->new->message('end');
attack($victim, 'bombs of 256 MiB', times => 20, warm => 5, limit => 64, cpu => 2, sub {
    my ($times) = @_;
    for my $n (1 .. $times) {
        $victim->fails_with(1009, sub { $_[0]->make(BINARY, $bomb, rsv => 4) }, 'a bomb', headers => { 'Sec-WebSocket-Extensions' => 'permessage-deflate' });
        $victim->meanwhile;
    }
});

finish();
