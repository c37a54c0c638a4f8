# Versions of drafts, and of no draft. A classic of servers that went on accepting 7, 8 and
# 0 for years, with frames of another kind; and of proxies that saw a tunnel where the
# server had answered 426.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Hostile;
use RawPeer;
use Run;
use Test::More;

my $victim = victim();
my @cases = map { [ "version $_", '400|426', RawPeer->request(headers => { 'Sec-WebSocket-Version' => $_ }) ] }
    0, 4, 6, 7, 8, 12, 14, 99, 255, 269, '13 13', '13, 8', '013', '+13', '13.0', '0x0d', '', 'x', '1' x 9000, 'thirteen';
attack($victim, 'versions', times => 20, warm => 5, cpu => 2, sub {
    my ($times) = @_;
    $victim->answers((@cases, [ 'none', '400|426', RawPeer->request(headers => { 'Sec-WebSocket-Version' => undef }) ],
        [ 'two', '400|426', RawPeer->request(headers => { 'Sec-WebSocket-Version' => [ 13, 8 ] }) ]) x $times);
    $victim->meanwhile;
});
is($victim->seen->{connect}, 1, 'nobody but the neighbour was connected');

finish();
