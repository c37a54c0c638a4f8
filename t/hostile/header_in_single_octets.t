# A header that comes octet by octet. tungstenite read the whole head anew at every part,
# minutes for a long one (CVE-2023-43669); a limit of 16 KiB bounds it, and does not make
# it linear.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Hostile;
use RawPeer;
use Run;
use Test::More;

my $victim = victim();
attack($victim, 'ten heads of 14 KiB', times => 10, warm => 5, cpu => 5, limit => 160, sub {
    my ($times) = @_;
    my @peers = map { $victim->peer } 1 .. $times;
    my $head = $peers[0]->request(headers => { 'X-Long' => 'x' x 14_000 });
    for my $at (0 .. length($head) - 1) {
        $_->put(substr $head, $at, 1) for @peers;
        $victim->meanwhile if $at % 100 == 0;
    }
    run_until(sub { @peers == grep { defined $_->head || $_->eof } @peers }, 'all are answered');
    is(scalar(grep { ($_->status || 0) == 101 } @peers), $times, 'and upgraded');
    $_->hang_up for @peers;
});

finish();
