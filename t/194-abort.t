use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Certificates;
use EV;
use EV::Websockets;
use Events;
use File::Spec;
use File::Temp qw(tempdir);
use Frame;
use IO::Socket::INET;
use Pair;
use RawPeer;
use RawServer;
use Run;
use Test::More;

# abort: the end of a connection at once, in whatever state.

# Both ends of an aborted connection of the module: once each, with 1006.
sub both_hear {
    my ($pair, $name) = @_;
    run_until(sub { $pair->client->count('close') && $pair->server->count('close') }, "$name: both ends are closed");
    settle();
    for my $events ($pair->client, $pair->server) {
        is($events->count('close'), 1, "$name: once");
        is_deeply($events->last_of('close'), [ 1006, undef ], "$name: with 1006");
    }
}

# Connected: either side, by every kind of socket.
my $has_openssl = grep { -x File::Spec->catfile($_, 'openssl') } File::Spec->path;
my %kinds = (tcp => [], deflate => [ listen => { deflate => 1 } ]);
my $made;
if ($has_openssl) {
    $made = Certificates->new;
    $made->ca('ca');
    $made->issue('server', issuer => 'ca');
    $kinds{tls} = [ scheme => 'wss', context => { ssl_ca => $made->file('ca.pem') }, listen => { $made->listen_with('server') } ];
}
for my $kind (sort keys %kinds) {
    for my $side (qw(c s)) {
        my $pair = Pair->open(@{ $kinds{$kind} }, name => "$kind: connected");
        my $conn = $pair->$side;
        $conn->send_binary('x' x 10_000_000);
        $conn->abort;
        is($conn->state, 'closing', "$kind: closing until on_close");
        is($conn->send_queue_size, 0, "$kind: what was queued is thrown away");
        ok(!eval { $conn->send('more'); 1 }, "$kind: nothing more can be sent");
        is($pair->client->count('close') + $pair->server->count('close'), 0, "$kind: no callback inside of abort");
        $conn->abort;
        $conn->close;
        both_hear($pair, "$kind $side");
        is($conn->state, 'closed', "$kind: closed in the end");
        is($pair->client->count('message') + $pair->server->count('message'), 0, "$kind: nothing was sent");
        $conn->abort;
        EV::run(EV::RUN_NOWAIT);
        is($conn->state, 'closed', "$kind: abort of what is closed does nothing");
    }
}

# The TCP connection is reset: the peer's system is told, not asked.
{
    my $pair = Pair->listen;
    my ($peer, $conn) = $pair->raw_peer;
    $conn->abort;
    run_until(sub { $peer->eof }, 'sees the end');
    ok($peer->{reset}, 'which is a reset');
    ok(!$peer->close_read, 'without a Close frame');
    run_until(sub { $pair->server->count('close') }, 'on_close');
}

# Closing, by our call; and paused.
{
    my $pair = Pair->listen;
    my $peer = RawPeer->connect($pair->port)->upgrade;
    run_until(sub { $pair->server->count('connect') }, 'a raw peer that never answers');
    my $conn = $pair->server->conn;
    $conn->close(4000, 'please');
    run_until(sub { $peer->close_read }, 'close was called');
    $conn->abort;
    run_until(sub { $pair->server->count('close') && $peer->eof }, 'abort does not wait for the answer');
    is_deeply($pair->server->last_of('close'), [ 1006, undef ], 'with 1006');
    is($pair->server->order, 'connect close', 'once');

    my $other = Pair->open(name => 'one that will be paused');
    $other->s->pause_recv;
    $other->c->send('x' x 100_000);
    settle();
    $other->s->abort;
    both_hear($other, 'paused');
    is($other->server->count('message'), 0, 'paused: what waited is not delivered');
}

# What is aborted keeps the loop no longer.
{
    my $context = EV::Websockets::Context->new;
    my $events  = Events->new;
    $context->connect(url => 'ws://localhost:1/', $events->handlers)->abort;
    EV::run();
    is($events->order, 'error', 'the loop ends with on_error');
}

# Connecting: one on_error and nothing else, from the loop.
my $silent = RawServer->new(answer => sub { });
my %before = (
    'nothing was done'    => sub { 1 },
    'the upgrade is sent' => sub { $silent->last_peer && $silent->last_peer->head },
);
for my $phase (sort keys %before) {
    my $context = EV::Websockets::Context->new;
    my $events  = Events->new;
    my $conn = $context->connect(url => 'ws://127.0.0.1:' . $silent->port, $events->handlers, connect_timeout => 3600);
    run_until($before{$phase}, $phase);
    $conn->abort;
    is($conn->state, 'closing', "$phase: closing until on_error");
    is($events->order, '', "$phase: no callback inside of abort");
    $conn->abort;
    run_until(sub { $events->count('error') }, "$phase: on_error");
    is($conn->state, 'closed', "$phase: closed");
    settle();
    is($events->order, 'error', "$phase: that is all");
    is_deeply($events->last_of('error'), ['aborted'], "$phase: it says what happened");
}
run_until(sub { $silent->last_peer->eof }, 'the server sees the end');

# A refused connection that was aborted as well has one on_error, whichever.
{
    my $context = EV::Websockets::Context->new;
    my $events  = Events->new;
    my $conn = $context->connect(url => 'ws://127.0.0.1:' . RawServer::unused_port(), $events->handlers);
    $conn->abort;
    run_until(sub { $events->count('error') }, 'refused and aborted');
    settle();
    is($events->order, 'error', 'one on_error');
    my $dir = tempdir('evwsXXXXXX', TMPDIR => 1, CLEANUP => 1);
    $conn = $context->connect(url => "ws+unix:$dir/nobody", $events->forget->handlers);
    is($conn->state, 'connecting', 'one that has failed already, before the loop could say so');
    $conn->abort;
    run_until(sub { $events->count('error') }, 'is aborted');
    like($events->last_of('error')->[0], qr/nobody: /, 'and on_error says why it had failed');
}

# While its name is looked up, while its addresses race, behind a proxy, in the midst of TLS.
{
    my %urls = (
        'a name'    => [ {}, 'ws://localhost:' . $silent->port . '/' ],
        'a proxy'   => [ { proxy => 'http://127.0.0.1:' . $silent->port }, 'ws://example.invalid/' ],
        'SOCKS'     => [ { proxy => 'socks5h://127.0.0.1:' . $silent->port }, 'ws://example.invalid/' ],
        'TLS'       => [ {}, 'wss://127.0.0.1:' . $silent->port . '/' ],
    );
    for my $name (sort keys %urls) {
        for my $wait (0, 1) {
            my ($options, $url) = @{ $urls{$name} };
            my $context = EV::Websockets::Context->new(%$options);
            my $events  = Events->new;
            my $conn = $context->connect(url => $url, $events->handlers);
            my $before = $silent->peers;
            run_until(sub { $silent->peers > $before }, "$name: it has reached the server") if $wait;
            $conn->abort;
            run_until(sub { $events->count('error') }, "$name: aborted");
            is_deeply($events->last_of('error'), ['aborted'], "$name: on_error says so");
            run_until(sub { $silent->last_peer->eof }, "$name: the server sees the end") if $wait;
            settle() if $wait;
            is($events->order, 'error', "$name: that is all");
        }
    }
}

# Adopted: before the request has come, and after the upgrade. The program has the handle still,
# and the peer sees the end all the same.
for my $phase ('no request', 'upgraded') {
    my $listening = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Listen => 1) or die "listen: $!";
    my $peer    = RawPeer->connect($listening->sockport);
    my $fh      = $listening->accept;
    my $context = EV::Websockets::Context->new;
    my $events  = Events->new;
    my $conn    = $context->adopt(fh => $fh, $events->handlers);
    if ($phase eq 'upgraded') {
        $peer->upgrade;
        run_until(sub { $events->count('connect') }, 'adopted: upgraded');
        $conn->send('x' x 1000);
    }
    $conn->abort;
    run_until(sub { $events->count($phase eq 'upgraded' ? 'close' : 'error') && $peer->eof }, "adopted: $phase: both ends hear");
    settle();
    is($events->order, $phase eq 'upgraded' ? 'connect close' : 'error', "adopted: $phase: once");
    is(scalar @{ $peer->frames }, 0, "adopted: $phase: nothing was sent");
}

# From inside of callbacks.
for my $name (qw(connect message pong drain)) {
    my $acted;
    my $pair = Pair->listen(listen => { "on_$name" => sub { $acted++ or $_[0]->abort } });
    my $peer = RawPeer->connect($pair->port)->upgrade;
    run_until(sub { $peer->head }, "on_$name: a peer");
    if ($name eq 'drain') {
        run_until(sub { $pair->server->count('connect') }, 'on_drain: connected');
        $pair->server->conn->send('x');
    }
    $peer->put($peer->make(TEXT, 'one') . $peer->make(TEXT, 'two') . $peer->make(PONG, 'p') . $peer->make(TEXT, 'three'))
        if $name ne 'drain';
    run_until(sub { $pair->server->count('close') }, "on_$name: on_close");
    my %heard = (
        connect => 'connect close', message => 'connect message close',
        pong    => 'connect message message pong close', drain => 'connect close',
    );
    is($pair->server->order, $heard{$name}, "on_$name: nothing that came behind it is delivered");
    is($pair->server->last_of('close')->[0], 1006, "on_$name: 1006");
    run_until(sub { $peer->eof }, "on_$name: the peer sees the end");
}
{
    my $pair = Pair->listen(listen => {
        max_message_size => 10, on_error => sub { $_[0]->abort }, on_close => sub { $_[0]->abort } });
    my $peer = RawPeer->connect($pair->port)->upgrade;
    run_until(sub { $peer->head }, 'on_error: a peer');
    $peer->send_frame(TEXT, 'x' x 11);
    run_until(sub { $pair->server->count('close') && $peer->eof }, 'on_error: both ends hear');
    is($pair->server->order, 'connect error close', 'on_error and on_close: once each');
    is($pair->server->last_of('close')->[0], 1009, 'the code of what had happened before');
}

# A connection that another one's callback aborts, with the bytes of both read.
{
    my %conn;
    my $events = Events->new;
    my $context = EV::Websockets::Context->new;
    my $port = $context->listen($events->handlers(
        on_connect => sub { $conn{ $_[1]{Path} } = $_[0] },
        on_message => sub { $conn{ $_[1] }->abort },
    ));
    my @peers = map { RawPeer->connect($port)->upgrade(path => $_) } qw(/a /b);
    run_until(sub { keys %conn == 2 }, 'two');
    $peers[0]->send_frame(TEXT, '/b');
    $peers[1]->send_frame(TEXT, '/a');
    run_until(sub { $events->count('close') }, 'one aborts the other');
    settle();
    is($events->count('close'), 1, 'the other one is gone before it can do the same');
    is($events->count('message'), 1, 'its message was not delivered');
}

# What is gone: the object's own DESTROY, the context.
{
    my $pair = Pair->open(name => 'one more');
    my $events = $pair->client;
    my $conn = $pair->c;
    $conn->abort;
    delete $pair->{context};
    is($conn->state, 'closed', 'the context is destroyed before on_close');
    $conn->abort;
    settle();
    is($events->order, 'connect', 'which does not come then');
    my $other = Pair->open(name => 'the last');
    $other->s->DESTROY;
    $other->s->abort;
    is($other->s->state, 'destroyed', 'a destroyed object');
    run_until(sub { $other->client->count('close') }, 'closes as it would have');
    is($other->client->last_of('close')->[0], 1000, 'in order');
}
croaks_like { EV::Websockets::Connection::abort({}) } qr/abort: the invocant is not/, 'no connection';

finish();
