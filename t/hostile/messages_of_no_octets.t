# A million messages of no octets. A classic of servers with a task, a thread or a log line
# for each message, whatever its size.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Frame;
use Hostile;
use Run;
use Test::More;

my $victim = victim();
attack($victim, 'empty messages', times => 500_000, warm => 200_000, cpu => 6, sub {
    my ($times) = @_;
    my $peer = $victim->upgraded;
    ok($victim->flood($peer, $peer->make(BINARY, ''), $times), 'taken');
    $victim->meanwhile;
    ok($victim->has_read($peer), 'and read');
    $peer->hang_up;
});

finish();
