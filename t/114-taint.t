#!perl -T
use strict;
use warnings;

use FindBin;
use lib map { m{\A(.*)\z}s ? "$1/lib" : () } $FindBin::Bin;
use Test::More;

# Under -T what a peer has sent is tainted, as is what is read from one of perl's
# own sockets. The bug: message payloads could go into system or a file's name.

use Scalar::Util qw(tainted);
use EV;
use EV::Websockets;
use Pair;
use RawPeer;
use Run;

plan skip_all => 'this perl has no taint mode' if !tainted($^X) && !${^TAINT};

my $pair = Pair->open(
    path   => '/room?key=1',
    listen => {
        protocol     => 'chat',
        on_handshake => sub {
            my ($headers, $handshake) = @_;
            ok tainted($headers->{$_}), "on_handshake: $_" for qw(Path Query Host);
            ok tainted($_), 'protocols' for $handshake->protocols;
            return 1;
        },
    },
    connect => { protocol => 'chat', headers => { 'X-Name' => 'value' } },
);

subtest 'headers' => sub {
    my ($request) = @{ $pair->server->last_of('connect') };
    ok tainted($request->{$_}), "the request's $_" for qw(Path Query URI Host X-Name);
    my ($response) = @{ $pair->client->last_of('connect') };
    ok tainted($response->{$_}), "the response's $_" for qw(Upgrade Sec-WebSocket-Protocol);
};

# The second of two messages of a size comes in a scalar that is used again, the large
# one in memory that was read into.
subtest 'payloads' => sub {
    my $large = 'x' x 300_000;
    for my $text ('', 'short', 'again', 'y' x 5000, $large) {
        my $seen = $pair->server->count('message');
        $pair->c->send($text);
        run_until(sub { $pair->server->count('message') > $seen }, length($text) . ' bytes');
        my ($payload, $is_binary) = @{ $pair->server->last_of('message') };
        ok $payload eq $text, '... arrive';
        ok tainted($payload), '... tainted';
        ok !tainted($is_binary), '... and the flag is not';
    }
    # Tainted data is data like any other.
    my ($tainted) = @{ $pair->server->last_of('message') };
    $pair->s->send($tainted);
    run_until(sub { $pair->client->count('message') }, 'an echo of it');
    ok $pair->client->last_of('message')->[0] eq $large, '... is the same';
    my $name = substr $tainted, 0, 9;
    ok !eval { open my $out, '>', "/nonexistent/$name"; 1 }, 'perl refuses it where it should';
    like $@, qr/Insecure dependency/, '... in its words';
};

subtest 'pongs, reasons and errors' => sub {
    $pair->c->send_ping('ping');
    run_until(sub { $pair->client->count('pong') }, 'a pong');
    ok tainted($pair->client->last_of('pong')->[0]), '... tainted';
    $pair->c->close(4000, 'because');
    run_until(sub { $pair->server->count('close') && $pair->client->count('close') }, 'a close');
    my ($code, $reason) = @{ $pair->server->last_of('close') };
    is $code, 4000, 'its code';
    ok tainted($reason), 'its reason is tainted';

    my $port = $pair->context->listen(host => '127.0.0.1', on_handshake => sub { 0 });
    my $text;
    my $refused = $pair->context->connect(url => "ws://127.0.0.1:$port/", on_error => sub { $text = $_[1] });
    run_until(sub { $text }, 'a refusal');
    like $text, qr/403/, '... has words of the peer';
    ok tainted($text), '... and is tainted';
};

subtest 'requests' => sub {
    my $request;
    my $port = $pair->context->listen(host => '127.0.0.1', on_request => sub { $request = $_[0]; return [ 200, [], ['ok'] ] });
    my $peer = RawPeer->connect($port);
    $peer->put("POST /path?a=b HTTP/1.1\r\nHost: here\r\nX-Name: value\r\nContent-Length: 4\r\n\r\nbody");
    run_until(sub { $request }, 'a request');
    ok tainted($request->{$_}), $_ for qw(method uri path query body);
    ok tainted($request->{headers}{'X-Name'}), 'a header';
    ok !tainted($request->{$_}), "not $_, which is ours" for qw(scheme peer_address);
};

finish();
