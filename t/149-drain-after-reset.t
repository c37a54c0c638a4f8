use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Pair;
use RawPeer;
use Run;
use Test::More;

# The peer of a paused connection has gone: what is sent is thrown away, and on_drain said
# that it was sent, at once and for ever, to a program that went on sending.

my $fills = 0;
my $fill = sub { $fills++; $_[0]->send_binary('x' x 65536) while $_[0]->send_queue_size < 256 * 1024 };
my $pair = Pair->listen(listen => {
    on_connect => sub { $_[0]->pause_recv; $fill->($_[0]) },
    on_drain   => $fill,
});
my $peer = RawPeer->connect($pair->port)->upgrade;
run_until(sub { $peer->head && $fills > 1 }, 'streaming');
$peer->hang_up(reset => 1);
settle();

my $before = $fills;
my $conn = $pair->server->conn;
my $over = 0;
EV::now_update();
my $timer = EV::timer(0.5, 0, sub { $over = 1 });
run_until(sub { $over }, 'time passes');
is($fills - $before, 0, 'no on_drain after a reset');
is($conn->state, 'connected', 'the end waits, as all that arrives does');

$conn->resume_recv;
run_until(sub { $pair->server->count('close') }, 'until it may be told');
is($pair->server->last_of('close')->[0], 1006, 'the connection was lost');
finish();
