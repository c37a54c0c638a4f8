# 100 Continue, and 103, without end, before the 101 that never comes. A classic of clients
# that skip what is interim in a loop, or by recursion.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Hostile;
use RawServer;
use Run;
use Test::More;

my $victim = victim(connect => { connect_timeout => 60 });
my $server = RawServer->new(answer => sub { });
attack($victim, '200,000 interim responses', times => 12, warm => 4, cpu => 3, limit => 160, sub {
    my ($times) = @_;
    for my $n (1 .. $times) {
        my $before = $victim->seen->{error} || 0;
        my $peer = $victim->asks($server);
        my $all = $victim->flood($peer, $n % 2 ? "HTTP/1.1 100 Continue\r\n\r\n" : "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", 200_000);
        $victim->meanwhile if $n == $times;
        $peer->hang_up(reset => 1);
        wait_until(sub { ($victim->seen->{error} || 0) > $before }) or fail('an error');
    }
});

finish();
