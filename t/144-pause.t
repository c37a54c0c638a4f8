use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Frame;
use Pair;
use Run;
use Test::More;

# pause_recv and resume_recv.

my $on_message;
my $pair = Pair->listen(listen => { on_message => sub { $on_message->(@_) if $on_message } });
my $server = $pair->server;

# Nothing new is read.
{
    my ($peer, $conn) = $pair->raw_peer;
    $conn->pause_recv;
    $conn->pause_recv;
    $peer->send_frame(TEXT, "message $_") for 1 .. 3;
    $peer->send_frame(PONG, 'x');
    settle();
    is($server->order, 'connect', 'paused: nothing is delivered');
    ok($conn->is_connected, 'still connected');
    $conn->send('the other direction');
    run_until(sub { $peer->frames_of(TEXT) }, 'sending works while paused');
    $conn->resume_recv;
    is($server->order, 'connect', 'no callback inside resume_recv');
    run_until(sub { $server->count('pong') }, 'resumed');
    is_deeply([ $server->messages ], [ map { "message $_" } 1 .. 3 ], 'everything is delivered, in order');
    $conn->resume_recv;
    $peer->send_frame(TEXT, 'message 4');
    run_until(sub { $server->count('message') == 4 }, 'and goes on');
}

# What was already read waits too.
{
    $on_message = sub { $_[0]->pause_recv };
    my ($peer, $conn) = $pair->raw_peer;
    $peer->put(join '', map { $peer->make(TEXT, "message $_") } 1 .. 4);
    for my $n (1 .. 4) {
        run_until(sub { $server->count('message') == $n }, "message $n, which pauses");
        settle();
        is($server->count('message'), $n, 'and no more until it is resumed');
        $conn->resume_recv;
    }
    is_deeply([ $server->messages ], [ map { "message $_" } 1 .. 4 ], 'in order');
    undef $on_message;
}

# Pause and resume inside one callback.
{
    $on_message = sub { $_[0]->pause_recv; $_[0]->resume_recv };
    my ($peer) = $pair->raw_peer;
    $peer->put(join '', map { $peer->make(TEXT, "message $_") } 1 .. 4);
    run_until(sub { $server->count('message') == 4 }, 'pause and resume at once changes nothing');
    undef $on_message;
}

# A Close and the end of the connection wait as messages do.
{
    my ($peer, $conn) = $pair->raw_peer;
    $conn->pause_recv;
    $peer->put($peer->make(TEXT, 'last words') . $peer->make(CLOSE, close_payload(4000, 'done')));
    $peer->finish_writing;
    settle();
    is($server->order, 'connect', 'a message, a Close and the FIN wait');
    $conn->resume_recv;
    run_until(sub { $server->count('close') }, 'resumed');
    is($server->order, 'connect message close', 'all of it, in order');
    is_deeply($server->last_of('close'), [ 4000, 'done' ], 'with the code');
}
{
    $on_message = sub { $_[0]->pause_recv };
    my ($peer, $conn) = $pair->raw_peer;
    $peer->put($peer->make(TEXT, 'first') . $peer->make(TEXT, 'second') . $peer->make(CLOSE, close_payload(4001)));
    $peer->finish_writing;
    run_until(sub { $server->count('message') }, 'paused by the first of all that came in one read');
    settle();
    is($server->order, 'connect message', 'the rest waits');
    $on_message = undef;
    $conn->resume_recv;
    run_until(sub { $server->count('close') }, 'resumed');
    is($server->order, 'connect message message close', 'and is delivered');
    is($server->last_of('close')->[0], 4001, 'with the code');
}

# close() while paused: the peer's answer is heard, messages are not.
{
    my ($peer, $conn) = $pair->raw_peer;
    $conn->pause_recv;
    $peer->send_frame(TEXT, 'unread');
    settle();
    $conn->close(4002);
    run_until(sub { $peer->close_read }, 'close() while paused sends the Close');
    $peer->send_close(4002);
    run_until(sub { $server->count('close') }, 'and ends');
    is($server->order, 'connect close', 'without the message');
    is($server->last_of('close')->[0], 4002, 'with the code of the answer');
}

# A paused connection holds the peer back instead of filling memory.
{
    my ($peer, $conn) = $pair->raw_peer;
    $conn->pause_recv;
    my $chunk = $peer->make(BINARY, 'x' x 65_000);
    my ($made, $limit) = (0, 1000);
    my $before = rss_kib();
    $peer->put_from(sub { $made++ < $limit ? $chunk : undef });
    settle() for 1 .. 3;
    cmp_ok($peer->written, '<', 40_000_000, 'a paused connection reads no 65 MB');
    SKIP: {
        skip 'no /proc', 1 if !defined $before;
        cmp_ok(rss_kib() - $before, '<', 30_000, 'nor does it keep them');
    }
    $conn->resume_recv;
    run_until(sub { $server->count('message') == $limit }, 'resumed: all of it comes');
}

# A paused connection does not make the loop spin.
{
    my ($peer, $conn) = $pair->raw_peer;
    $conn->pause_recv;
    $peer->send_frame(TEXT, 'unread')->finish_writing;
    settle();
    my $turns = 0;
    my $counter = EV::check(sub { $turns++ });
    settle();
    cmp_ok($turns, '<', 50, 'the loop sleeps while a paused connection has something to read');
    undef $counter;
    $conn->resume_recv;
    run_until(sub { $server->count('close') }, 'and ends in the end');
}

finish();
