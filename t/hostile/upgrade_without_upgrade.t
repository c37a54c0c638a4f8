# Without Upgrade, without Connection, with others. ws for Node.js took Upgrade for granted
# once another module handed it the request, and died (websockets/ws#1838).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Hostile;
use RawPeer;
use Run;
use Test::More;

my $victim = victim();
my @cases = map { [ join(' ', sort keys %$_), '400|426|404', RawPeer->request(headers => $_) ] }
    { Upgrade => undef }, { Connection => undef }, { Upgrade => undef, Connection => undef }, { Upgrade => '' }, { Connection => '' },
    { Upgrade => 'websockets' }, { Upgrade => 'web socket' }, { Connection => 'keep-alive' }, { Connection => 'upgraded' },
    { Connection => 'close' }, { Upgrade => 'h2c' }, { Upgrade => 'TLS/1.0' }, { Connection => 'x' x 9000 }, { 'Sec-WebSocket-Key' => undef },
    { 'Sec-WebSocket-Key' => '' }, { 'Sec-WebSocket-Key' => 'x' x 9000 }, { 'Sec-WebSocket-Key' => '!' x 24 },
    { 'Sec-WebSocket-Key' => [ ('dGhlIHNhbXBsZSBub25jZQ==') x 2 ] };
attack($victim, 'upgrades that are none', times => 20, warm => 5, cpu => 2, sub {
    my ($times) = @_;
    $victim->answers((@cases) x $times);
    $victim->meanwhile;
});
is($victim->seen->{connect}, 1, 'nobody but the neighbour was connected');

finish();
