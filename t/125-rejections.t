use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Pair;
use RawPeer;
use Run;
use Test::More;

# Requests that are no upgrade, and bytes that are no request: an HTTP status,
# the end of that connection, and nothing for anybody else.

my $pair = Pair->open(listen => { on_message => sub { $_[0]->send($_[1]) } });
my ($server, $client) = ($pair->server, $pair->client);

sub bystander_is_served {
    my ($name) = @_;
    my $before = $client->count('message');
    $pair->c->send($name);
    run_until(sub { $client->count('message') > $before }, "$name: the other connection is served");
}

sub refused {
    my ($name, $status, $bytes) = @_;
    my $connects = $server->count('connect');
    my $peer = RawPeer->connect($pair->port);
    $peer->put(ref $bytes ? $peer->request(%$bytes) : $bytes);
    run_until(sub { defined $peer->head && $peer->eof }, "$name: answered, and the connection ended");
    like($peer->status, $status, "$name: the status");
    is($server->count('connect'), $connects, "$name: no on_connect");
    bystander_is_served($name);
    return $peer;
}

my $plain = refused('a plain GET', qr/\A426\z/, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
is($plain->start_line, 'HTTP/1.1 426 Upgrade Required', 'the status line');
is_deeply([ $plain->header('Upgrade') ], ['websocket'], 'with Upgrade: websocket');
refused('another upgrade', qr/\A426\z/, { headers => { Upgrade => 'h2c' } });
refused('no Upgrade', qr/\A426\z/, { headers => { Upgrade => undef } });
refused('Connection without upgrade', qr/\A426\z/, { headers => { Connection => 'keep-alive' } });
refused('no Connection', qr/\A426\z/, { headers => { Connection => undef } });
refused('HEAD', qr/\A426\z/, "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n");
refused('a browser asking for HTML', qr/\A426\z/,
    "GET /index.html HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\nConnection: keep-alive\r\n\r\n");

for my $version ('8', '0', '14', '113', 'x') {
    my $peer = refused("version $version", qr/\A426\z/, { headers => { 'Sec-WebSocket-Version' => $version } });
    is_deeply([ $peer->header('Sec-WebSocket-Version') ], ['13'], "version $version: told which one is right");
}

refused('no key', qr/\A400\z/, { headers => { 'Sec-WebSocket-Key' => undef } });
refused('a short key', qr/\A400\z/, { headers => { 'Sec-WebSocket-Key' => 'c2hvcnQ=' } });
refused('a key that is no base64', qr/\A400\z/, { headers => { 'Sec-WebSocket-Key' => '!!!!!!!!!!!!!!!!!!!!!!==' } });
refused('an empty key', qr/\A400\z/, { headers => { 'Sec-WebSocket-Key' => '' } });
refused('POST', qr/\A(?:400|405|426)\z/, { method => 'POST' });
refused('HTTP/1.0', qr/\A(?:400|426|505)\z/, { version => 'HTTP/1.0' });
refused('no version at all', qr/\A(?:400|426)\z/, { headers => { 'Sec-WebSocket-Version' => undef } });

refused('garbage', qr/\A400\z/, "garbage\r\n\r\n");
refused('binary garbage', qr/\A400\z/, join '', map { chr(128 + $_ % 128) } 1 .. 300);
refused('a TLS ClientHello', qr/\A400\z/, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" . "\0" x 100);
refused('a header without a colon', qr/\A400\z/, "GET / HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n");
refused('a space in a header name', qr/\A400\z/, "GET / HTTP/1.1\r\nHost: x\r\nBad name: v\r\n\r\n");
refused('a NUL in a header value', qr/\A400\z/, "GET / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n");
refused('HTTP/9', qr/\A(?:400|505)\z/, "GET / HTTP/9.9\r\nHost: x\r\n\r\n");
refused('no target', qr/\A400\z/, "GET\r\n\r\n");

refused('1 MB of headers', qr/\A431\z/, { headers => { map { ("X-Filler-$_" => 'x' x 1000) } 1 .. 1000 } });
refused('one header of 1 MB', qr/\A431\z/, { headers => { 'X-Filler' => 'x' x 1_000_000 } });
refused('1 MB that never ends', qr/\A431\z/, "GET / HTTP/1.1\r\nHost: x\r\nX-Filler: " . 'x' x 1_000_000);
refused('10,000 small headers', qr/\A431\z/, "GET / HTTP/1.1\r\n" . "A: b\r\n" x 10_000 . "\r\n");
refused('a target of 1 MB', qr/\A(?:400|414|431)\z/, { path => '/' . 'x' x 1_000_000 });

# Half a request, then nothing more.
my $request = RawPeer::request({ key => "dGhlIHNhbXBsZSBub25jZQ==" });
for my $length (0, 1, 10, length($request) - 1) {
    my $peer = RawPeer->connect($pair->port)->put(substr $request, 0, $length);
    settle() if $length == 10;
    $peer->finish_writing;
    run_until(sub { $peer->eof }, "$length bytes and the end: the connection ends");
    my $reset = RawPeer->connect($pair->port)->put(substr $request, 0, $length);
    settle() if $length == 10;
    $reset->hang_up(reset => 1);
    bystander_is_served("$length bytes and a reset");
}

is($server->count('connect'), 1, 'the listener heard of one connection');
is($server->count('close'), 0, 'which is open');
is(scalar(my @all = $pair->context->connections), 2, 'and nothing else is left');

finish();
