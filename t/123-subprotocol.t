use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Pair;
use RawPeer;
use RawServer;
use Run;
use Test::More;

# Subprotocols, asked for and answered.

my $context = EV::Websockets::Context->new;

# What a client asks for, on the wire.
{
    my $server = RawServer->new;
    my @cases = (
        [ 'chat', 'chat' ], [ 'v2,v1', 'v2,v1' ], [ 'v2, v1', 'v2,v1' ],
        [ ['chat'], 'chat' ], [ [ 'v2', 'v1' ], 'v2,v1' ],
    );
    for my $case (@cases) {
        my ($protocol, $expected) = @$case;
        my $shown = ref $protocol ? "[@$protocol]" : "'$protocol'";
        my $conn = $context->connect(url => 'ws://127.0.0.1:' . $server->port, protocol => $protocol);
        run_until(sub { $conn->is_connected }, "protocol => $shown: connected");
        (my $got = join ',', $server->last_peer->header('Sec-WebSocket-Protocol')) =~ s/\s//g;
        is($got, $expected, "protocol => $shown: on the wire");
        is($conn->get_protocol, undef, "protocol => $shown: the server took none");
    }
}

# What a listener answers.
{
    my @cases = (
        # allowed, asked, answered
        [ 'chat',           'chat',             'chat' ],
        [ 'chat',           'superchat, chat',  'chat' ],
        [ 'b,a',            'a, b',             'a' ],
        [ 'b, a',           'c,b,a',            'b' ],
        [ [ 'x', 'y' ],     'y, x',             'y' ],
        [ 'chat',           'other',            undef ],
        [ 'chat',           undef,              undef ],
        [ 'chat',           'chatter, cha',     undef ],
        [ undef,            'chat',             undef ],
        [ 'chat',           [ 'v1', 'chat' ],   'chat' ],
    );
    for my $case (@cases) {
        my ($allowed, $asked, $answered) = @$case;
        my $name = join ' / ', map { ref ? "[@$_]" : defined() ? $_ : 'none' } $allowed, $asked;
        my $pair = Pair->listen(listen => { defined $allowed ? (protocol => $allowed) : () });
        my $peer = RawPeer->connect($pair->port);
        $peer->upgrade(headers => { 'Sec-WebSocket-Protocol' => $asked });
        run_until(sub { defined $peer->head }, "$name: answered");
        is($peer->status, 101, "$name: with 101");
        is_deeply([ $peer->header('Sec-WebSocket-Protocol') ], [ defined $answered ? $answered : () ],
            "$name: the protocol in the answer");
        run_until(sub { $pair->server->count('connect') }, "$name: connected");
        is($pair->server->conn->get_protocol, $answered, "$name: get_protocol");
    }
}

# Both ends.
{
    my $pair = Pair->open(listen => { protocol => 'v1,v2' }, connect => { protocol => [ 'v3', 'v2', 'v1' ] });
    is($pair->c->get_protocol, 'v2', 'get_protocol of the client');
    is($pair->s->get_protocol, 'v2', 'get_protocol of the server');
    is($pair->client->last_of('connect')->[0]{'Sec-WebSocket-Protocol'}, 'v2', 'in the headers of the response');
    $pair->shut;
    my $none = Pair->open(listen => { protocol => 'v1' }, connect => { protocol => 'v9' });
    is($none->c->get_protocol, undef, 'none in common: connected without one');
    is($none->s->get_protocol, undef, 'at both ends');
}

# A server that names one the client did not ask for.
for my $case ([ 'chat', 'other' ], [ 'chat', 'chat, chat' ], [ undef, 'chat' ], [ 'v1,v2', 'v1, v2' ], [ 'chat', 'CHAT' ]) {
    my ($asked, $answered) = @$case;
    my $name = (defined $asked ? $asked : 'none') . " asked, '$answered' answered";
    my $server = RawServer->new(answer => sub { $_[0]->accept(fields => ["Sec-WebSocket-Protocol: $answered"]) });
    my $events = Events->new;
    my $conn = $context->connect(
        url => 'ws://127.0.0.1:' . $server->port,
        defined $asked ? (protocol => $asked) : (),
        $events->handlers,
    );
    run_until(sub { @{ $events->log } }, "$name: decided");
    is($events->order, 'error', "$name: the connection fails");
    like($events->last_of('error')->[0], qr/protocol/i, "$name: the text says why");
    is($conn->state, 'closed', "$name: closed");
}

finish();
