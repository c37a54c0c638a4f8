# A close_notify, and other alerts, in place of a ClientHello, in the middle of it and behind
# it. A classic of state machines that know alerts of established sessions alone.
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
my $notify = "\x15\x03\x03\x00\x02\x01\x00";
my $half = "\x16\x03\x01\x00\x40\x01\x00\x01\x00\x03\x03" . 'r' x 58;
my @bytes = ($notify, $notify x 100, substr($half, 0, 20) . $notify, $half . $notify, "\x15\x03\x03\x00\x02\x02\x28", "\x15\x03\x03\x00\x00", "\x15\x03\x03\x00\x01\x01",
    "\x14\x03\x03\x00\x01\x01" . $notify, "\x17\x03\x03\x00\x05hello", "\x15\x03\x03\x40\x01" . 'x' x 16385, "\x15\xff\xff\xff\xff");
attack($victim, 'alerts', times => 40, limit => 64, cpu => 3, sub {
    my ($times) = @_;
    for my $bytes ((@bytes) x $times) {
        my $peer = $victim->peer->put($bytes)->finish_writing;
        wait_until(sub { $peer->eof }) or fail('over');
        $peer->hang_up;
    }
    $victim->meanwhile;
});
is($victim->seen->{connect}, 1, 'nobody but the neighbour was connected');

finish();
