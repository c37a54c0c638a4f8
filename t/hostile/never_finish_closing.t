# Peers that never answer a Close, never end TCP, or send on and on. A classic of servers
# that wait for the other end, whose connections pile up.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use EV;
use Frame;
use Hostile;
use Run;
use Test::More;

my $victim = victim(listen => { close_timeout => 0.5, on_message => sub { $_[0]->close(1000) if $_[1] eq 'end' } });
attack($victim, '300 peers', times => 300, limit => 300 * 4, cpu => 3, sub {
    my ($times) = @_;
    my $closed = $victim->seen->{close} || 0;
    my @peers = $victim->crowd($times, sub { $_[0]->upgrade->send_frame(TEXT, 'end') }, sub { $_[0]->close_read }, 'each has our Close');
    my $n = 0;
    for my $peer (@peers) {
        $peer->send_close(1000) if $n % 3 == 1;
        $peer->send_frame(BINARY, 'x' x 1000, claim => 1e6) if $n % 3 == 2;
        $n++;
    }
    $victim->meanwhile for 1 .. 5;
    run_until(sub { $victim->seen->{close} == $closed + $times }, 'each is closed for the program');
    run_until(sub { @peers == grep { $_->eof } @peers }, 'and over');
});
$victim->is_at_rest;

finish();
