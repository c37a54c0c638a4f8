use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Events;
use Frame;
use Pair;
use RawServer;
use Run;
use Test::More;

# max_message_size: enforced as soon as a frame header passes it.

my $TEXT = qr/message exceeds max_message_size/;
my $LIMIT = 1000;

my $pair = Pair->listen(listen => { max_message_size => $LIMIT, on_message => sub { $_[0]->send(length $_[1]) } });
my $server = $pair->server;
my $bystander = Events->new;
my $other = $pair->context->connect(url => 'ws://127.0.0.1:' . $pair->port, $bystander->handlers);
run_until(sub { $bystander->count('connect') && $server->count('connect') }, 'another connection');

sub too_big {
    my ($name, $peer, $events) = @_;
    run_until(sub { $peer->close_read || $peer->eof }, "$name: answered");
    is(($peer->close_read)[0], 1009, "$name: 1009 on the wire");
    $peer->finish_writing;
    run_until(sub { $events->count('close') && $peer->eof }, "$name: ended");
    like($events->last_of('error')->[0], $TEXT, "$name: the text");
    is($events->last_of('close')->[0], 1009, "$name: 1009 in on_close");
    like($events->order, qr/error close\z/, "$name: on_error, then on_close");
}

# What is allowed.
{
    my ($peer) = $pair->raw_peer;
    $peer->send_frame(BINARY, 'x' x $LIMIT);
    $peer->put($peer->make(TEXT, 'x' x 400, fin => 0) . $peer->make(PING, 'y' x 125) . $peer->make(CONT, 'x' x 600));
    $peer->send_frame(TEXT, 'x' x 999) for 1 .. 5;
    $peer->put($peer->make(TEXT, 'x' x $LIMIT, fin => 0) . $peer->make(CONT, ''));
    run_until(sub { $server->count('message') == 8 || $server->count('close') }, 'messages up to the limit');
    is_deeply([ map { length } $server->messages ], [ 1000, 1000, (999) x 5, 1000 ], 'are delivered; the limit is one of each message');
    $peer->hang_up;
    run_until(sub { $server->count('close') }, 'gone');
}

# What is not. None of the first two has sent a byte of payload.
my %bytes = (
    'the head of a frame of 1001 bytes' => sub { $_[0]->make(BINARY, '', claim => 1001) },
    'the head of a frame of 2^63-1 bytes' => sub { $_[0]->make(BINARY, '', claim64 => [ 0x7fffffff, 0xffffffff ]) },
    'the head of a second fragment' => sub { $_[0]->make(TEXT, 'x' x 600, fin => 0) . $_[0]->make(CONT, '', claim => 401) },
    'a continuation of 2^63-1 bytes' => sub {
        $_[0]->make(TEXT, 'x' x 600, fin => 0) . $_[0]->make(CONT, '', claim64 => [ 0x7fffffff, 0xffffffff ]) },
    'a whole frame of 1001 bytes' => sub { $_[0]->make(TEXT, 'x' x 1001) },
    'a frame of 5 MB' => sub { $_[0]->make(BINARY, 'x' x 5_000_000) },
    '1001 fragments of one byte' => sub { join '', $_[0]->make(TEXT, 'x', fin => 0), map { $_[0]->make(CONT, 'x', fin => 0) } 1 .. 1000 },
);
for my $name (sort keys %bytes) {
    my ($peer) = $pair->raw_peer;
    $peer->put($bytes{$name}->($peer));
    too_big($name, $peer, $server);
    is($server->count('message'), 0, "$name: no message");
    $other->send('still');
    my $before = $bystander->count('message');
    run_until(sub { $bystander->count('message') > $before }, "$name: the other connection goes on");
}
is($bystander->count('error') + $bystander->count('close'), 0, 'the other connection noticed nothing');

# The same at our client.
my $raw = RawServer->new;
for my $name (sort keys %bytes) {
    my $events = Events->new;
    $pair->context->connect(url => 'ws://127.0.0.1:' . $raw->port, max_message_size => $LIMIT, $events->handlers);
    run_until(sub { $events->count('connect') }, "client: $name: connected");
    my $peer = $raw->last_peer;
    $peer->send_frame(TEXT, 'x' x $LIMIT);
    run_until(sub { $events->count('message') }, "client: $name: what is allowed");
    $peer->put($bytes{$name}->($peer));
    too_big("client: $name", $peer, $events);
}

# What we send ourselves is not limited.
{
    my $events = Events->new;
    my $conn = $pair->context->connect(url => 'ws://127.0.0.1:' . $raw->port, max_message_size => 10, $events->handlers);
    run_until(sub { $events->count('connect') }, 'connected');
    $conn->send('x' x 100_000);
    run_until(sub { $raw->last_peer->frames_of(TEXT) }, 'a long message goes out');
}

# 0 is no limit.
{
    my $open = Pair->listen(listen => { max_message_size => 0 });
    my ($peer) = $open->raw_peer;
    $peer->send_frame(BINARY, 'x' x 20_000_000);
    run_until(sub { $open->server->count('message') }, '20 MB arrive');
    is(length(($open->server->messages)[0]), 20_000_000, 'whole');
}

# A frame that claims 2^63-1 bytes where there is no limit takes no more memory
# than what has arrived of it.
for my $claim ([ 0x7fffffff, 0xffffffff ], [ 0x00000100, 0 ], [ 0, 0xffffffff ]) {
    my $open = Pair->open(listen => { max_message_size => 0, on_message => sub { $_[0]->send('yes') } });
    my $server = $open->server;
    my ($peer) = $open->raw_peer;
    my $before = rss_kib();
    $peer->put($peer->make(BINARY, 'x' x 100_000, claim64 => $claim));
    $open->c->send('still there?');
    run_until(sub { $open->client->count('message') }, 'the other connection is served');
    settle();
    SKIP: {
        skip 'no /proc', 1 if !defined $before;
        cmp_ok(rss_kib() - $before, '<', 20_000, 'memory stays bounded');
    }
    is($server->count('message'), 0, 'no message of it');
    $peer->hang_up;
    run_until(sub { $server->count('close') }, 'the connection ends with the peer');
    like($server->last_of('close')->[0], qr/\A(?:1006|1009)\z/, 'as one that was cut off, or was too big');
}

finish();
