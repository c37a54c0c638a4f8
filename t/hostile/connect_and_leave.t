# 5000 connections that leave at once. A classic of servers that keep something for each
# until a timeout, or until the upgrade that does not come.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use EV;
use Hostile;
use RawPeer;
use Run;
use Test::More;

my $victim = victim();
attack($victim, 'connections that leave', times => 5000, warm => 2000, cpu => 6, limit => 64, sub {
    my ($times) = @_;
    for my $n (1 .. $times) {
        my $peer = $victim->peer;
        $peer->put('GET') if $n % 3 == 0;
        $peer->hang_up(reset => $n % 2);
        EV::run(EV::RUN_NOWAIT()) if $n % 50 == 0;
        $victim->meanwhile if $n % 2000 == 0;
    }
});

finish();
