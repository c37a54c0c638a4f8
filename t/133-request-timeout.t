use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

use Certificates;
use EV;
use EV::Websockets;
use Events;
use OpenSSLPeer;
use RawPeer;
use Run;

# Whoever connects and does not finish a request is not waited for for ever: the
# answer is 408, also over TLS, where it once was a bare end of the connection.

my $made = Certificates->new;
$made->ca('ca');
$made->issue('server', issuer => 'ca');

my $server  = Events->new;
my $context = EV::Websockets::Context->new;
# Long enough for openssl's handshake.
my %listen  = ($server->handlers, handshake_timeout => is_slowed() ? 15 : 3);
my $plain   = $context->listen(%listen);
my $secure  = $context->listen(%listen, $made->listen_with('server'));
my $half    = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: webso";

my %peer = (
    'a client that says nothing' => RawPeer->connect($plain),
    'half a request'             => RawPeer->connect($plain)->put($half),
);
my %tls = (
    'nothing within TLS'        => OpenSSLPeer->client($made, $secure, $made->file('ca.pem')),
    'half a request within TLS' => OpenSSLPeer->client($made, $secure, $made->file('ca.pem'), '-tls1_2'),
);
$tls{'half a request within TLS'}->raw->put($half);
$peer{$_} = $tls{$_}->raw for keys %tls;
my %mute = (
    'a TLS port that hears nothing'  => RawPeer->connect($secure),
    'a TLS handshake that stops'     => RawPeer->connect($secure)->put("\x16\x03\x01\x01\x00\x01"),
);

run_unticked(sub { !grep { !$_->eof } values %peer, values %mute }, 'all have been told');
for my $name (sort keys %peer) {
    my $peer = $peer{$name};
    is $peer->status, 408, "$name: 408" or diag map { "$_\n" } grep { defined } $peer->head, $peer->rest;
    is_deeply [$peer->header('Connection')], ['close'], "$name: and the end";
}
is $mute{$_}->rest . ($mute{$_}->head || ''), '', "$_: the end alone" for sort keys %mute;
is $server->order, '', 'nobody was a connection';

# Of a connection that was kept after an answer, every byte of a body began the time anew: one byte
# in a while kept it for as long as the body was announced to be.
{
    my $asked = 0;
    my $port  = $context->listen($server->handlers, handshake_timeout => 0.5, on_request => sub { $asked++; [ 200, [], ['ok'] ] });
    my $peer  = RawPeer->connect($port)->put("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    run_until(sub { defined $peer->head }, 'a request is answered');
    $peer->put("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n");
    my $sent  = 0;
    my $drips = EV::timer(0.1, 0.1, sub { $peer->put('x'); $sent++ });
    run_until(sub { $peer->eof || $sent == 100 }, 'a body byte by byte behind it');
    like $peer->rest, qr/HTTP\/1\.1 408 /, '... has its time, and no more';
    is $asked, 1, '... and is no request';
}

my $pair = RawPeer->connect($plain);
$pair->upgrade;
run_until(sub { defined $pair->status }, 'the listeners go on');
is $pair->status, 101, 'with whoever comes next';

finish;
