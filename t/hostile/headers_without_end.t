# A head that never ends: one line of 32 MiB, and a million lines. A classic of servers
# that collect until there is an empty line.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Hostile;
use RawPeer;
use Run;
use Test::More;

my $victim = victim();
my ($head) = RawPeer->request =~ /\A(.*\r\n)\r\n\z/s;
attack($victim, 'heads of 32 MiB', times => 30, warm => 10, cpu => 2, limit => 64, sub {
    my ($times) = @_;
    for my $n (1 .. $times) {
        for my $part ('x' x 64, "X: y\r\n", "\r\n y", ' ') {
            my $peer = $victim->peer->put($n % 2 ? "${head}X: y" : 'GET /');
            $victim->flood($peer, $part, 33_554_432 / length $part);
            wait_until(sub { defined $peer->head || $peer->eof }) or fail('answered');
            my $status = $peer->status || 0;
            fail("status $status") if $status !~ /\A(?:0|400|414|431)\z/;
            $peer->hang_up;
        }
    }
    $victim->meanwhile;
});

finish();
