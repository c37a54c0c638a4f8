# Messages without end behind the Close. A classic of receivers that deliver them, or keep
# them for a program that will not come back.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Frame;
use Hostile;
use Run;
use Test::More;

my $victim = victim(listen => { on_message => sub { $_[0]->close if $_[1] eq 'end' } });
attack($victim, '64 MiB behind our Close', times => 512, warm => 100, cpu => 2, limit => 64, sub {
    my ($times) = @_;
    my $peer = $victim->upgraded;
    $peer->send_frame(TEXT, 'end');
    run_until(sub { $peer->close_read }, 'our Close');
    ok($victim->flood($peer, $peer->make(BINARY, 'x' x 131_072), $times), 'which the peer does not heed');
    $victim->meanwhile;
    $peer->hang_up(reset => 1);
});
is($victim->seen->{message}, $victim->{trips} + 2, 'none of it was delivered');

finish();
