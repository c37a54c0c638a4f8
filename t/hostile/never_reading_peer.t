# A peer that never reads what the program sends. ws-rs had no limit for what waits to be
# sent, and was ended by the system (RUSTSEC-2020-0043).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Frame;
use Hostile;
use Run;
use Test::More;

my $victim = victim(listen => { max_send_queue => 131_072, on_message => sub {
    my ($conn, $message) = @_;
    return if $message ne 'more';
    for (1 .. 2000) { eval { $conn->send('x' x 16384) } or last }
} });
attack($victim, '32 MiB for each of 20 peers', times => 20, warm => 20, limit => 20 * 160, cpu => 3, sub {
    my ($times) = @_;
    my @peers = map { $victim->upgraded } 1 .. $times;
    $_->stop_reading->send_frame(TEXT, 'more') for @peers;
    $victim->meanwhile for 1 .. 5;
    $_->hang_up(reset => 1) for @peers;
});
is($victim->seen->{'last_error'}, 'send queue is full', 'the program is told');

finish();
