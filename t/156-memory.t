use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;

# A program that has a limit of memory, as in a container: what does not fit is
# a croak or a closed connection. Rust aborted the process instead, with
# "memory allocation of 67108872 bytes failed".

BEGIN {
    plan(skip_all => 'the limit is one of Linux') if $^O ne 'linux';
    plan(skip_all => 'this build needs more than the limit') if ($ENV{LD_PRELOAD} || '') =~ /asan|valgrind|vgpreload/;
    if (!$^C && !$ENV{EVWS_TEST_LIMITED}) {
        $ENV{EVWS_TEST_LIMITED} = 1;
        $ENV{MALLOC_ARENA_MAX} = 1;
        exec 'sh', '-c', 'ulimit -v 250000 && exec "$0" "$@"', $^X, (map { "-I$_" } grep { !ref } @INC), $0;
        die "exec: $!";
    }
}

use EV;
use EV::Websockets;
use Deflate;
use Events;
use Frame;
use IO::Socket::INET;
use RawPeer;
use Run;

my $MiB = 1024 * 1024;

# What a client reads from the socket, counted and thrown away but for the end.
{
    package Counter;

    sub new {
        my ($class, $port, @headers) = @_;
        my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) or die "connect: $!";
        print $socket join "\r\n", 'GET / HTTP/1.1', "Host: 127.0.0.1:$port", 'Upgrade: websocket', 'Connection: Upgrade',
            'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==', @headers, '', '';
        $socket->flush;
        return bless { socket => $socket, count => 0, end => '' }, $class;
    }

    # From now on it reads.
    sub read {
        my ($self) = @_;
        $self->{socket}->blocking(0);
        $self->{reader} = EV::io($self->{socket}, EV::READ(), sub {
            my $got = sysread($self->{socket}, my $bytes, 65_536) or return $self->{eof} = delete $self->{reader};
            $self->{count} += $got;
            $self->{end} = substr $self->{end} . $bytes, -64;
        });
        return;
    }
}

# Sends the same until there is no memory for it; returns how often it was sent.
sub fill {
    my ($send, $croak) = @_;
    $croak ||= 'Out of memory: nothing was sent, and the connection is as it was';
    for my $sent (0 .. 1000) {
        next if eval { $send->(); 1 };
        like($@, qr/^$croak at /, "a croak, after $sent");
        return $sent;
    }
    return fail('there was no end of memory');
}

for my $kind (qw(message fragments compressed)) {
    my $events = Events->new;
    my $context = EV::Websockets::Context->new;
    my %deflate = (server_no_context_takeover => 0, client_no_context_takeover => 0);
    my $port = $context->listen($events->handlers, host => '127.0.0.1', deflate => \%deflate);
    my $peer = Counter->new($port, $kind eq 'compressed' ? 'Sec-WebSocket-Extensions: permessage-deflate' : ());
    run_until(sub { $events->count('connect') }, "$kind: connected");
    my $conn = $events->conn;
    # Nothing that could be compressed.
    my $payload = join('', map { chr int rand 256 } 1 .. 65_536) x 256;
    my $size = length $payload;
    my $sent = fill(sub { $kind eq 'fragments' ? $conn->send_fragment($payload, 1, 0) : $conn->send_binary($payload) });
    cmp_ok($sent, '>', 1, "$kind: some fitted");
    my $waiting = $conn->send_queue_size;
    cmp_ok($waiting / $size, '>=', $sent, "$kind: all of them wait");
    cmp_ok($waiting / $size, '<', $sent + 0.5, "$kind: and nothing else");
    $kind eq 'fragments' ? $conn->send_fragment('after', 1, 1) : $conn->send('after');
    is($events->order, 'connect', "$kind: the connection lives");
    undef $payload;
    $peer->read;
    run_until(sub { $peer->{end} =~ /\x05after\z/ }, "$kind: what was sent afterwards arrives");
    my $rest = $peer->{count} - $waiting;
    cmp_ok($rest, '>', 100, "$kind: all was sent before it");
    cmp_ok($rest, '<', 1000, "$kind: and no more");
    $conn->abort;
}

# Published, which nobody has queued yet, and broadcast.
{
    my $events = Events->new;
    my $context = EV::Websockets::Context->new;
    my $port = $context->listen($events->handlers, host => '127.0.0.1');
    my $peer = Counter->new($port);
    run_until(sub { $events->count('connect') }, 'published: connected');
    my $conn = $events->conn;
    $conn->subscribe('t');
    my $payload = 'p' x (16 * $MiB);
    my $sent = fill(sub { $context->publish('t', $payload) }, 'publish: out of memory: nothing was sent');
    cmp_ok($sent, '>', 1, 'published: some fitted');
    is(fill(sub { $context->broadcast($payload, [$conn]) }, 'broadcast: out of memory: nothing was sent'), 0, 'broadcast: no more fits');
    is(fill(sub { $context->prepare($payload) }, 'prepare: out of memory: nothing was sent'), 0, 'prepare: nor here');
    undef $payload;
    $context->publish('t', 'after');
    $peer->read;
    run_until(sub { $peer->{end} =~ /\x05after\z/ }, 'published: what fitted arrives');
    cmp_ok($peer->{count}, '>', $sent * 16 * $MiB, 'published: all of it');
    is($events->order, 'connect', 'published: the connection lives');
    $conn->abort;
}

# A message without an end.
for my $compressed (0, 1) {
    my $name = $compressed ? 'inflated' : 'received';
    my $events = Events->new;
    my $context = EV::Websockets::Context->new;
    my $port = $context->listen($events->handlers, host => '127.0.0.1', deflate => 1);
    my $peer = RawPeer->connect($port)->upgrade($compressed ? (headers => { 'Sec-WebSocket-Extensions' => ['permessage-deflate'] }) : ());
    run_until(sub { $events->count('connect') }, "$name: connected");
    # A mebibyte of zeros.
    my $part = $compressed ? (Deflate->new(takeover => 0)->fragments("\0" x $MiB, ''))[0] : "\0" x $MiB;
    my $first = 1;
    my $pump = EV::idle(sub {
        return if $peer->unwritten > 4 * $MiB;
        $peer->put($peer->make($first ? BINARY : CONT, $part, rsv => $first && $compressed ? 4 : 0, fin => 0));
        $first = 0;
    });
    run_until(sub { $events->count('error') && $peer->close_read }, "$name: the connection fails");
    undef $pump;
    is($events->last_of('error')->[0], 'message does not fit into memory', "$name: says why");
    is(($peer->close_read)[0], 1009, "$name: and tells the peer");
    undef $peer;
    # The listener goes on.
    $events->follow_next;
    my $next = RawPeer->connect($port)->upgrade;
    $next->put($next->make(TEXT, 'hello'));
    run_until(sub { $events->count('message') }, "$name: the next connection is as good as ever");
    is(($events->messages)[0], 'hello', "$name: and its message arrives");
}

done_testing;
