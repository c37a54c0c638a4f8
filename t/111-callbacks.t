use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Pair;
use RawServer;
use Run;
use Test::More;

# Which callback comes when, with which arguments, and for which $conn.

# No callback runs inside connect, and connect returns at once.
{
    my $listening = Pair->listen;
    my $calls = 0;
    my @any = map { $_ => sub { $calls++ } } qw(on_connect on_error on_close);
    my @conns = map { $listening->context->connect(url => $_, @any) }
        'ws://127.0.0.1:' . $listening->port . '/', 'ws://127.0.0.1:' . RawServer::unused_port() . '/';
    is($calls, 0, 'no callback inside connect');
    is($_->state, 'connecting', 'state is "connecting"') for @conns;
    run_until(sub { $calls >= 2 }, 'they come when the loop runs');
}

# A whole life, seen from both ends.
my $pair = Pair->open(path => '/life');
my ($server, $client) = ($pair->server, $pair->client);
is(ref $client->last_of('connect')->[0], 'HASH', 'on_connect of the client has the headers');
is($client->last_of('connect')->[0]{Upgrade}, 'websocket', 'those of the response');
is($server->last_of('connect')->[0]{Path}, '/life', 'on_connect of the server has those of the request');
is(scalar @{ $client->last_of('connect') }, 1, 'and nothing else');

$pair->c->send('to the server');
$pair->s->send_binary('to the client');
$pair->c->send_ping('ping payload');
run_until(sub { $server->count('message') && $client->count('message') && $client->count('pong') }, 'data flows both ways');
is_deeply($server->last_of('message'), [ 'to the server', 0, 1 ], 'on_message(bytes, is_binary 0, is_final 1)');
is_deeply($client->last_of('message'), [ 'to the client', 1, 1 ], 'on_message(bytes, is_binary 1, is_final 1)');
is_deeply($client->last_of('pong'), ['ping payload'], 'on_pong(payload)');
run_until(sub { $server->count('drain') && $client->count('drain') }, 'on_drain at both ends');
is_deeply($client->last_of('drain'), [], 'on_drain($conn) alone');

$pair->c->close(4001, 'a reason');
run_until(sub { $server->count('close') && $client->count('close') }, 'closed');
is_deeply($server->last_of('close'), [ 4001, 'a reason' ], 'on_close(code, reason)');
is($client->last_of('close')->[0], 4001, 'the code that the peer answered with');
is(scalar @{ $client->last_of('close') }, 2, 'two arguments after $conn');
is($client->order, 'connect message pong close', 'the order at the client');
is($server->order, 'connect message close', 'the order at the server');
is($client->log->[0][1], $pair->c, 'what connect returned is what on_connect got');
for my $side ($server, $client) {
    my %conns = map { ("$_->[1]" => 1) } @{ $side->log };
    is(scalar keys %conns, 1, 'one and the same $conn in every callback');
}
isa_ok($pair->s, 'EV::Websockets::Connection', 'the $conn of the server');
settle();
is($client->count('close') . $server->count('close'), '11', 'on_close comes once');

# The same, while the program keeps no reference in between.
{
    my (%seen, $closed);
    my $listening = Pair->listen(listen => { on_message => sub { $_[0]->send($_[1]) } });
    my $note = sub { $seen{"$_[0]"}{ $_[-1] }++ };
    my $made = "" . $listening->context->connect(
        url        => 'ws://127.0.0.1:' . $listening->port,
        on_connect => sub { $note->($_[0], 'connect'); $_[0]->send('x') },
        on_message => sub { $note->($_[0], 'message'); $_[0]->send_ping },
        on_pong    => sub { $note->($_[0], 'pong'); $_[0]->close },
        on_close   => sub { $note->($_[0], 'close'); $closed = 1 },
    );
    run_until(sub { $closed }, 'a connection without a reference lives until it is closed');
    is_deeply(\%seen, { $made => { connect => 1, message => 1, pong => 1, close => 1 } },
        '"$conn" is one hash key from connect to on_close');
}

# A connection that was never made: one on_error, nothing else.
{
    my $events = Events->new;
    my $context = EV::Websockets::Context->new;
    my $conn = $context->connect(url => 'ws://127.0.0.1:' . RawServer::unused_port(), $events->handlers);
    run_until(sub { $events->count('error') }, 'on_error');
    settle();
    is($events->order, 'error', 'is the only callback');
    is($events->log->[0][1], $conn, 'with the same $conn');
    is(scalar @{ $events->last_of('error') }, 1, 'and one more argument');
    is($conn->state, 'closed', 'state is "closed"');
}

# Only some of the callbacks given.
{
    my $events = Events->new;
    my $quiet = EV::Websockets::Context->new;
    my $port = $quiet->listen;
    my $conn = $quiet->connect(url => "ws://127.0.0.1:$port", $events->handlers);
    run_until(sub { $events->count('connect') }, 'connected to a listener without callbacks');
    $conn->send('is not heard');
    $conn->send_ping('still answered');
    run_until(sub { $events->count('pong') }, 'which answers pings');
    $conn->close(3333);
    run_until(sub { $events->count('close') }, 'and Close frames');
    is($events->last_of('close')->[0], 3333, 'with the code');
}

finish();
