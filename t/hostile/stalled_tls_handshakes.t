# 500 handshakes of which half a ClientHello comes. A classic of servers that do them one
# after another, or on a pool of threads that all wait.
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
my $half = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" . 'r' x 32;
attack($victim, '500 stalled handshakes', times => 500, limit => 500 * 12, cpu => 3, sub {
    my ($times) = @_;
    my @stalled = map { my $peer = $victim->peer; $peer->put(substr $half, 0, $_ % length $half); $peer } 1 .. $times;
    $victim->meanwhile for 1 .. 20;
    is(scalar(grep { $_->eof } @stalled), 0, 'all of them wait');
    $_->hang_up for @stalled;
});

finish();
