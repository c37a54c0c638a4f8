use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Frame;
use Pair;
use RawPeer;
use Run;
use Test::More;

# The queue runs empty and a part of a large message arrives in the same turn of the loop:
# on_drain came between reading that part and counting it, and a close in it ended in a panic.

my $HUGE = 1 << 30;
my $closed_in_drain = 0;
my $pair = Pair->listen(listen => {
    on_connect => sub { $_[0]->send_binary('x' x (8 << 20)) },
    on_drain   => sub { $_[0]->close(4000, 'sent'); $closed_in_drain++ },
});

# The peer does not read for now: its socket is read below, by hand.
my $peer = RawPeer->connect($pair->port)->upgrade;
run_until(sub { $peer->head && $pair->server->count('connect') }, 'connected');
$peer->{reader}->stop;
$peer->put($peer->make(BINARY, 'y' x 1000, claim64 => [ 0, $HUGE ]));
my $server = $pair->server->conn;
cmp_ok($server->send_queue_size, '>', 0, 'the queue is full');

my $part = 'y' x 20_000;
my $deadline = EV::time() + 60;
until ($closed_in_drain || EV::time() > $deadline) {
    # Room to write and bytes to read, before the loop looks.
    while (sysread $peer->{fh}, my $bytes, 1 << 20) { }
    syswrite $peer->{fh}, $part;
    EV::run(EV::RUN_NOWAIT());
}
is($closed_in_drain, 1, 'closed in on_drain');
is($server->state, 'closing', 'and nothing else happened');

$peer->hang_up;
run_until(sub { $pair->server->count('close') }, 'on_close');
is($pair->server->count('message'), 0, 'no message');
finish();
