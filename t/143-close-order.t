use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Frame;
use Pair;
use RawPeer;
use RawServer;
use Run;
use Test::More;

# What comes before and after a close, and in which order.

my $on_message;
my $pair = Pair->listen(listen => { on_message => sub { $on_message->(@_) if $on_message } });
my $server = $pair->server;

# Messages, a Close and the FIN in one read.
{
    my ($peer) = $pair->raw_peer;
    $peer->put(join '', (map { $peer->make(TEXT, "message $_") } 1 .. 3), $peer->make(CLOSE, close_payload(4000, 'done')));
    $peer->finish_writing;
    run_until(sub { $server->count('close') }, 'messages, Close and FIN');
    is($server->order, 'connect message message message close', 'in that order');
    is_deeply([ $server->messages ], [ map { "message $_" } 1 .. 3 ], 'all of them');
    is_deeply($server->last_of('close'), [ 4000, 'done' ], 'the Close says why, not the FIN');
}

# The upgrade request with all of that.
{
    $server->follow_next;
    my $peer = RawPeer->connect($pair->port);
    $peer->put($peer->request . $peer->make(TEXT, 'one') . $peer->make(CLOSE, close_payload(4001)))->finish_writing;
    run_until(sub { $server->count('close') }, 'request, message, Close and FIN at once');
    is($server->order, 'connect message close', 'in that order');
    is($server->last_of('close')->[0], 4001, 'the code');
    run_until(sub { $peer->eof }, 'the connection ends');
    is($peer->status, 101, 'after the upgrade was answered');
    is(($peer->close_read)[0], 4001, 'and the Close');
}

# Messages and the FIN, or a reset after everything was read.
{
    my ($peer) = $pair->raw_peer;
    $peer->put($peer->make(TEXT, 'one') . $peer->make(BINARY, 'two'))->finish_writing;
    run_until(sub { $server->count('close') }, 'messages and FIN');
    is($server->order, 'connect message message close', 'in that order');
    is($server->last_of('close')->[0], 1006, 'with 1006');
}

# A message before an error, in one read.
{
    my ($peer) = $pair->raw_peer;
    $peer->put($peer->make(TEXT, 'good') . $peer->make(3, 'bad'));
    run_until(sub { $server->count('close') }, 'a message and a malformed frame');
    is($server->order, 'connect message error close', 'in that order');
    is($server->last_of('close')->[0], 1002, 'with 1002');
}

# Nothing after the peer's Close counts.
{
    my ($peer) = $pair->raw_peer;
    $peer->put($peer->make(CLOSE, close_payload(4000)) . $peer->make(TEXT, 'too late') . $peer->make(3, 'bad'));
    run_until(sub { $server->count('close') }, 'a message after the Close');
    settle();
    is($server->order, 'connect close', 'is not delivered, and no error');
    is($server->last_of('close')->[0], 4000, 'the code of the Close');
}

# After our own close() no on_message comes.
{
    $on_message = sub { $_[0]->close(4000) };
    my ($peer) = $pair->raw_peer;
    $peer->put(join '', map { $peer->make(TEXT, "message $_") } 1 .. 5);
    run_until(sub { $peer->close_read }, 'close() in the first on_message of five');
    $peer->send_frame(TEXT, 'one more');
    $peer->send_close(4000);
    run_until(sub { $server->count('close') }, 'closed');
    is_deeply([ $server->messages ], ['message 1'], 'only the first message was delivered');
    is($server->last_of('close')->[0], 4000, "the code of the peer's answer");
    undef $on_message;
}
{
    my ($peer) = $pair->raw_peer;
    $server->conn->close;
    $peer->send_frame(TEXT, "late $_") for 1 .. 3;
    run_until(sub { $peer->close_read }, 'close() from outside');
    $peer->send_frame(TEXT, 'later still', fin => 0);
    $peer->send_frame(PING, 'are you there');
    $peer->send_close(1000);
    run_until(sub { $server->count('close') }, 'closed');
    is($server->order, 'connect close', 'no message, no error');
}

# What was queued before close() is sent, in order, then the Close, then the end.
{
    $on_message = sub {
        my ($conn) = @_;
        $conn->send("answer $_") for 1 .. 3;
        $conn->send_ping('last');
        $conn->close(4005, 'that was all');
        croaks_with { $conn->send('no more') } 'Connection is not open', 'send after close';
    };
    my ($peer) = $pair->raw_peer;
    $peer->send_frame(TEXT, 'go');
    run_until(sub { $peer->close_read }, 'sends and close in on_message');
    is_deeply([ map { $_->{payload} } $peer->frames_of(TEXT) ], [ map { "answer $_" } 1 .. 3 ], 'the queue first');
    is_deeply([ map { $_->{opcode} } @{ $peer->frames } ], [ TEXT, TEXT, TEXT, PING, CLOSE ], 'then the Close');
    $peer->send_close(4005);
    run_until(sub { $peer->eof && $server->count('close') }, 'the server ends the connection');
    undef $on_message;
}

# A long queue, a peer that reads late.
{
    my ($peer) = $pair->raw_peer;
    $peer->stop_reading;
    $server->conn->send_binary(chr($_ + 64) x 1_000_000) for 1 .. 10;
    $server->conn->close(4006);
    settle();
    is($server->count('close'), 0, '10 MB queued and close(): not closed yet');
    is($server->conn->state, 'closing', 'closing');
    $peer->start_reading;
    run_until(sub { $peer->close_read }, 'the Close comes after the queue');
    is(scalar $peer->frames_of(BINARY), 10, 'of which nothing is missing');
    $peer->send_close(4006);
    run_until(sub { $server->count('close') }, 'closed');
}

# close() inside on_connect, at both roles.
{
    my $closing = Pair->listen(listen => { on_connect => sub { $_[0]->send('hello'); $_[0]->close(4007) } });
    my $events = Events->new;
    $closing->context->connect(url => 'ws://127.0.0.1:' . $closing->port, $events->handlers);
    run_until(sub { $events->count('close') && $closing->server->count('close') }, 'close in on_connect of a server');
    is($events->order, 'connect message close', 'the client sees everything');
    is($events->last_of('close')->[0], 4007, 'and the code');
    my $other = Events->new;
    my $plain = Pair->listen;
    $plain->context->connect(url => 'ws://127.0.0.1:' . $plain->port, $other->handlers(on_connect => sub { $_[0]->close(4008) }));
    run_until(sub { $other->count('close') && $plain->server->count('close') }, 'close in on_connect of a client');
    is($plain->server->last_of('close')->[0], 4008, 'the server has the code');
    is($plain->server->order, 'connect close', 'and both callbacks');
}

# A server that keeps the TCP connection open (it is its part to end it) does
# not keep our client: on_close comes, and our end is closed.
for my $case ([ 'a Close', CLOSE, close_payload(4011), 4011 ], [ 'a malformed frame', 3, 'x', 1002 ]) {
    my ($name, $opcode, $payload, $code) = @$case;
    my $raw = RawServer->new;
    my $events = Events->new;
    my $conn = $pair->context->connect(url => 'ws://127.0.0.1:' . $raw->port, $events->handlers);
    run_until(sub { $events->count('connect') }, 'our client at a raw server');
    $raw->last_peer->send_frame($opcode, $payload);
    run_until(sub { $events->count('close') }, "$name from a server that does not hang up: on_close");
    is($events->last_of('close')->[0], $code, 'with the code');
    run_until(sub { $raw->last_peer->eof }, 'and our end is closed in the end');
}

# close() inside on_close changes nothing.
{
    my $pair = Pair->open(listen => { on_close => sub { $_[0]->close(4000); eval { $_[0]->send('x') }; $_[0]->resume_recv } });
    $pair->c->close(4009);
    run_until(sub { $pair->server->count('close') && $pair->client->count('close') }, 'methods in on_close');
    settle();
    is($pair->server->count('close'), 1, 'one on_close');
}

# Messages that were sent before a close cross it: a message received before
# the peer's Close is always delivered, also when it comes with many others.
{
    my $pair = Pair->open;
    $pair->c->send("m$_") for 1 .. 5000;
    $pair->c->close(4010);
    run_until(sub { $pair->server->count('close') }, '5000 messages and a close');
    is($pair->server->count('message'), 5000, 'all are delivered');
    is($pair->server->order, 'connect' . ' message' x 5000 . ' close', 'before the on_close');
}

finish();
