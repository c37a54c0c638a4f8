use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Events;
use Frame;
use Malformed;
use RawServer;
use Run;
use Test::More;

# Everything malformed, from a raw server to our client; another client of the
# same context notices nothing.

my $raw = RawServer->new;
my $context = EV::Websockets::Context->new;
my $url = 'ws://127.0.0.1:' . $raw->port;

my $other = Events->new;
my $other_conn = $context->connect(url => $url, $other->handlers);
run_until(sub { $other->count('connect') }, 'the other connection');
my $other_peer = $raw->last_peer;

for my $case (Malformed::cases(bless { role => 'server' }, 'RawPeer')) {
    my ($name, $code, @frames) = @$case;
    my $events = Events->new;
    my $conn = $context->connect(url => $url, $events->handlers);
    run_until(sub { $events->count('connect') }, "$name: connected");
    my $peer = $raw->last_peer;
    $peer->put(join '', @frames);
    # It is the server's part to end the TCP connection (section 7.1.1).
    run_until(sub { $peer->close_read || $peer->eof }, "$name: answered");
    is(($peer->close_read)[0], $code, "$name: $code on the wire");
    $peer->finish_writing;
    run_until(sub { $events->count('close') && $peer->eof }, "$name: on_close, and the connection ended");

    like($events->order, qr/\Aconnect (?:message )?error close\z/, "$name: on_error, then on_close");
    like($events->last_of('error')->[0], qr/\S/, "$name: with a text");
    is($events->last_of('close')->[0], $code, "$name: $code in on_close");
    is($conn->state, 'closed', "$name: closed");

    my $before = $other->count('message');
    $other_peer->send_frame(TEXT, $name);
    run_until(sub { $other->count('message') > $before }, "$name: the other connection goes on");
}
is($other->order, 'connect' . ' message' x $other->count('message'), 'and never noticed anything');

# A frame that is cut off by the end of the connection is no protocol error.
for my $length (1, 3, 6) {
    my $events = Events->new;
    $context->connect(url => $url, $events->handlers);
    run_until(sub { $events->count('connect') }, 'connected');
    $raw->last_peer->put(substr $raw->last_peer->make(TEXT, 'hello'), 0, $length)->finish_writing;
    run_until(sub { $events->count('close') }, "$length bytes of a frame, then the end");
    is($events->last_of('close')->[0], 1006, 'is 1006');
}

finish();
