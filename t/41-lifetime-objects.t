use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

use EV;
use EV::Websockets;
use Events;
use Frame;
use Pair;
use RawPeer;
use RawServer;
use Run;
use Scalar::Util qw(weaken);

# Who keeps what alive, and what an object answers when the thing behind it is gone.

# Every method of a connection whose context is gone, or that is closed.
sub is_safely_closed {
    my ($conn, $what) = @_;
    subtest "every method: $what" => sub {
        is $conn->state, 'closed', 'state';
        ok !$conn->is_connected, 'is_connected';
        ok !$conn->is_connecting, 'is_connecting';
        is $conn->send_queue_size, 0, 'send_queue_size';
        is $conn->peer_address, undef, 'peer_address';
        is $conn->stash->{mark}, 'kept', 'stash';
        for my $send (qw(send send_binary send_ping send_pong send_fragment)) {
            croaks_with { $conn->$send('x') } 'Connection is not open', $send;
        }
        for my $harmless (qw(close pause_recv resume_recv get_protocol)) {
            ok eval { $conn->$harmless; 1 }, "$harmless does nothing" or diag $@;
        }
        is $conn->state, 'closed', 'still closed';
    };
    return;
}

subtest 'connections after their context' => sub {
    my $pair = Pair->open;
    my ($client, $server) = ($pair->c, $pair->s);
    my $closing = Events->new;
    my $third = $pair->context->connect(
        url => 'ws://127.0.0.1:' . $pair->port . '/',
        $closing->handlers(on_connect => sub { $_[0]->close }),
    );
    run_until(sub { $closing->count('connect') }, 'a third one is closing');
    my $connecting = $pair->context->connect(url => 'ws://127.0.0.1:' . $pair->port . '/', $closing->handlers);
    $_->stash->{mark} = 'kept' for $client, $server, $third, $connecting;
    $client->send('queued');
    is $connecting->state, 'connecting', 'a fourth is connecting';
    $_->forget for $pair->client, $pair->server, $closing;
    delete $pair->{context};
    settle();
    is_safely_closed(@$_) for [$client, 'client'], [$server, 'server'], [$third, 'closing'],
        [$connecting, 'connecting'];
    is join(' ', map { $_->order } $pair->client, $pair->server, $closing), '  ', 'no callback was called';
};

subtest 'connections after their end' => sub {
    my $pair = Pair->open;
    my ($client, $server) = ($pair->c, $pair->s);
    $_->stash->{mark} = 'kept' for $client, $server;
    $pair->shut;
    is_safely_closed($client, 'client');
    is_safely_closed($server, 'server');
    is_deeply [$pair->context->connections], [], 'the context knows them no more';
};

# What the context still has to send when it goes, seen by a peer that only knows bytes.
subtest 'queued bytes of a destroyed context' => sub {
    my ($context, $conn) = EV::Websockets::Context->new;
    my $port = $context->listen(on_connect => sub { $conn = $_[0] });
    my $raw = RawPeer->connect($port);
    $raw->upgrade;
    run_until(sub { $conn && $raw->head }, 'a raw client is connected');
    $conn->send("message $_") for 1 .. 3;
    cmp_ok $conn->send_queue_size, '>', 0, 'something is queued';
    undef $context;
    run_until(sub { $raw->eof }, 'the connection ends');
    is_deeply [map { $_->{payload} } @{ $raw->frames }], [map { "message $_" } 1 .. 3],
        'what was queued arrived, and no Close behind it';
    is $raw->rest, '', 'nor part of a frame';
};

subtest 'a destroyed context does not wait for a peer that does not read' => sub {
    my ($context, $conn) = EV::Websockets::Context->new;
    my $port = $context->listen(on_connect => sub { $conn = $_[0] });
    my $raw = RawPeer->connect($port);
    $raw->upgrade;
    run_until(sub { $conn && $raw->head }, 'a raw client is connected');
    $raw->stop_reading;
    my $chunk = 'x' x 65536;
    $conn->send_binary($chunk) for 1 .. 512;
    settle();
    cmp_ok $conn->send_queue_size, '>', 0, 'the kernel took no more';
    undef $context;
    is $conn->send_queue_size, 0, 'the rest is gone with the context';
    $raw->start_reading;
    run_until(sub { $raw->eof }, 'the connection ends');
    my @frames = @{ $raw->frames };
    cmp_ok scalar @frames, '<', 512, 'the peer got only what fitted';
    is scalar(grep { $_->{payload} ne $chunk } @frames), 0, 'undamaged';
};

subtest 'a destroyed context stops listening' => sub {
    my $context = EV::Websockets::Context->new;
    my $port = $context->listen;
    undef $context;
    my $late = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port);
    ok !$late, 'nobody listens on its port any more';
    EV::run;
    pass 'and nothing keeps the loop alive';
};

subtest 'nobody holds the connection' => sub {
    my $context = EV::Websockets::Context->new;
    my (@client, @server, $from);
    my $port = $context->listen(
        on_connect => sub { push @server, "$_[0]"; $from = $_[1]{'X-From'} },
        on_message => sub { push @server, "$_[0]"; $_[0]->send($_[1]) },
        on_close   => sub { push @server, "$_[0]" },
    );
    my $echoes = 0;
    my $name = '' . $context->connect(
        url        => "ws://127.0.0.1:$port/",
        headers    => { 'X-From' => 'nobody' },
        on_connect => sub { push @client, "$_[0]"; $_[0]->send('x') },
        on_message => sub {
            push @client, "$_[0]";
            ++$echoes < 100 ? $_[0]->send('x') : $_[0]->close;
        },
        on_close => sub { push @client, "$_[0]" },
    );
    like $name, qr/^EV::Websockets::Connection=/, 'connect returned a connection';
    run_until(sub { @client == 102 && @server == 102 }, 'it stays open until it is closed');
    is $from, 'nobody', 'and was the one';
    is_deeply [grep { $_ ne $name } @client], [], 'the client is always the same';
    is_deeply [grep { $_ ne $server[0] } @server], [], 'so is the server';
};

subtest 'weak references' => sub {
    my $pair = Pair->open;
    weaken(my $client = $pair->{c});
    weaken(my $server = $pair->{s});
    delete @$pair{qw(c s)};
    $_->forget, delete $_->{conn} for $pair->client, $pair->server;
    ok $client && $server, 'open connections are there without a strong reference';
    $client->send('still here');
    run_until(sub { $pair->server->count('message') }, 'and work');
    $client->close;
    run_until(sub { $pair->client->count('close') && $pair->server->count('close') }, 'closed');
    $_->forget for $pair->client, $pair->server;
    settle();
    is $client, undef, 'the client is freed with the last reference';
    is $server, undef, 'so is the server';
};

# Counts how many of its objects are left.
{
    package Canary;
    our $alive = 0;
    sub new     { $alive++; return bless [], shift }
    sub DESTROY { $alive-- }
}

subtest 'closures are let go' => sub {
    my @names = qw(connect message close error pong drain);
    my $closures = sub { my $canary = Canary->new; return map { ("on_$_" => sub { $canary }) } @names };

    my $context = EV::Websockets::Context->new;
    my $port = $context->listen($closures->(), on_handshake => do { my $canary = Canary->new; sub { defined $canary } });
    is $Canary::alive, 2, 'the listener holds its callbacks';
    my @open = map { $context->connect(url => "ws://127.0.0.1:$port/", $closures->()) } 1 .. 3;
    is $Canary::alive, 5, 'each client holds its own';

    my $over = 0;
    my $end = $context->connect(
        url => "ws://127.0.0.1:$port/", on_connect => sub { $_[0]->close }, on_close => sub { $over = 1 });
    run_until(sub { $over && 3 == grep { $_->is_connected } @open }, 'all are connected');
    $open[0]->close;
    run_until(sub { $open[0]->state eq 'closed' }, 'one is closed');
    shift @open;
    settle();
    is $Canary::alive, 4, 'its callbacks are gone with it';

    push @open, $context->connect(url => 'ws://127.0.0.1:' . RawServer::unused_port() . '/', $closures->());
    run_until(sub { $open[-1]->state eq 'closed' }, 'another cannot connect');
    pop @open;
    settle();
    is $Canary::alive, 4, 'nor are its callbacks kept';

    $open[0]->stash->{canary} = Canary->new;
    is $Canary::alive, 5, 'a stash holds what is put into it';
    undef $context;
    @open = ();
    is $Canary::alive, 0, 'with the context and the references everything is gone';
};

subtest 'a closure that holds its own connection is let go when it closes' => sub {
    my $context = EV::Websockets::Context->new;
    my $port = $context->listen;
    my $closed = 0;
    {
        my $canary = Canary->new;
        my $conn;
        $conn = $context->connect(
            url        => "ws://127.0.0.1:$port/",
            on_connect => sub { $conn->close; $canary },
            on_close   => sub { $closed++; undef $conn },
        );
    }
    is $Canary::alive, 1, 'it is there while the connection is';
    run_until(sub { $closed }, 'closed');
    settle();
    is $Canary::alive, 0, 'and gone after that';
};

subtest 'connections()' => sub {
    my $pair = Pair->open;
    is_deeply [sort map { "$_" } $pair->context->connections], [sort $pair->c . '', $pair->s . ''],
        'both roles, the same objects';
    my $connecting = $pair->context->connect(url => 'ws://127.0.0.1:' . $pair->port . '/');
    is scalar(() = $pair->context->connections), 2, 'none that is connecting';
    $pair->c->close;
    is $pair->c->state, 'closing', 'one that is closing';
    is scalar(() = $pair->context->connections), 2, 'belongs to them';
};

finish;
