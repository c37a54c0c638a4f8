# Octets without sense, before the upgrade and behind it, the same in each run. What a
# scanner of the internet sends all day.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Hostile;
use RawPeer;
use Run;
use Test::More;

my $victim = victim(listen => { deflate => 1, max_message_size => 65536 });
my $state = 1;
my $random = sub { my ($length) = @_; join '', map { $state = ($state * 1103515245 + 12345) & 0x7fffffff; chr($state >> 16 & 0xff) } 1 .. $length };
my @noise = map { $random->(10 + $_ * 7) } 1 .. 100;
my %offer = (headers => { 'Sec-WebSocket-Extensions' => 'permessage-deflate' });
attack($victim, 'noise', times => 10, warm => 5, limit => 192, cpu => 4, sub {
    my ($times) = @_;
    for my $bytes ((@noise) x $times) {
        for my $before ('', 'GET / HTTP/1.1', RawPeer->request, RawPeer->request(%offer), RawPeer->request(%offer) . "\xc1\xfe\x01\x00") {
            my $peer = $victim->peer->put($before . $bytes)->finish_writing;
            wait_until(sub { $peer->eof }) or fail('over');
            $peer->hang_up;
        }
    }
    $victim->meanwhile;
});

finish();
