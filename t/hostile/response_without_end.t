# A server whose head never ends. A classic of clients that collect until there is an empty
# line: it is the servers that are hostile.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Hostile;
use RawServer;
use Run;
use Test::More;

my $victim = victim(connect => { connect_timeout => 60 });
my @begin = ("HTTP/1.1 101 Switching Protocols\r\nX: ", "HTTP/1.1 101 Switching Protocols\r\n", 'HTTP/1.1 101 ', '');
my $server = RawServer->new(answer => sub { });
attack($victim, 'heads of 32 MiB', times => 24, warm => 8, cpu => 2, limit => 160, sub {
    my ($times) = @_;
    for my $n (1 .. $times) {
        my $before = $victim->seen->{error} || 0;
        my $peer = $victim->asks($server);
        $peer->put($begin[ $n % 4 ]);
        $victim->flood($peer, $n % 2 ? "X: y\r\n" : 'x' x 64, 5_000_000 / ($n % 2 ? 1 : 10));
        wait_until(sub { ($victim->seen->{error} || 0) > $before }) or fail('an error');
    }
    $victim->meanwhile;
});

finish();
