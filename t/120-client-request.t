use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use MIME::Base64 qw(decode_base64);
use RawServer;
use Run;
use Test::More;

# The upgrade request that connect sends, as a raw server reads it.

my $server  = RawServer->new;
my $context = EV::Websockets::Context->new;
my $base    = '127.0.0.1:' . $server->port;
my $served  = 0;

# Connects, and returns the peer that has read the request.
sub request_of {
    my (%options) = @_;
    my $conn = $context->connect(%options);
    $served++;
    run_until(sub { $server->peers == $served && defined $server->last_peer->head && $conn->is_connected },
        "connected with $options{url}");
    $conn->close;
    return $server->last_peer;
}

my $first = request_of(url => "ws://$base/path?query=1");
is($first->start_line, 'GET /path?query=1 HTTP/1.1', 'the request line');
is_deeply([ $first->header('Host') ], [$base], 'Host has the port, when it is not the default one');
is_deeply([ map { lc } $first->header('Upgrade') ], ['websocket'], 'Upgrade');
is_deeply([ map { lc } $first->header('Connection') ], ['upgrade'], 'Connection');
is_deeply([ $first->header('Sec-WebSocket-Version') ], ['13'], 'Sec-WebSocket-Version');
my @key = $first->header('Sec-WebSocket-Key');
is(scalar @key, 1, 'one Sec-WebSocket-Key');
is(length decode_base64($key[0]), 16, 'of 16 bytes');
is_deeply([ $first->header('Sec-WebSocket-Protocol') ], [], 'no subprotocol that was not asked for');
is_deeply([ $first->header('Authorization') ], [], 'no credentials out of nowhere');

my $second = request_of(url => "ws://$base/");
isnt(($second->header('Sec-WebSocket-Key'))[0], $key[0], 'another connection, another key');

my %targets = (
    "ws://$base"               => '/',
    "ws://$base/"              => '/',
    "WS://$base/x"             => '/x',
    "Ws://$base?q=1"           => '/?q=1',
    "ws://$base/a%20b/%C3%A9"  => '/a%20b/%C3%A9',
    "ws://$base/?a=b&c=d?e"    => '/?a=b&c=d?e',
    "ws://$base//x/../y"       => '//x/../y',
    "ws://$base/at\@sign:1"    => '/at@sign:1',
);
for my $url (sort keys %targets) {
    is(request_of(url => $url)->start_line, "GET $targets{$url} HTTP/1.1", "the target for $url");
}
is((request_of(url => 'ws://localhost:' . $server->port)->header('Host'))[0],
    'localhost:' . $server->port, 'Host has the name as it stands in the url');

SKIP: {
    my $default = RawServer->new(port => 80) or skip 'port 80 cannot be had here', 4;
    for my $url ('ws://127.0.0.1/', 'ws://127.0.0.1:80/') {
        my $before = $default->peers;
        my $conn = $context->connect(url => $url);
        run_until(sub { $default->peers > $before && defined $default->last_peer->head }, "connected with $url");
        is(($default->last_peer->header('Host'))[0], '127.0.0.1', 'Host has no port when it is the default one');
    }
}

SKIP: {
    my $six = eval { RawServer->new(host => '::1') } or skip 'no IPv6 loopback here', 2;
    my $conn = $context->connect(url => 'ws://[::1]:' . $six->port . '/');
    run_until(sub { $six->last_peer && defined $six->last_peer->head }, 'connected with [::1]');
    is(($six->last_peer->header('Host'))[0], '[::1]:' . $six->port, 'Host has brackets around IPv6');
}

# headers: spelled as the program spelled them, repeated for an array ref.
my $with = request_of(
    url     => "ws://$base/",
    headers => {
        'x-lOwEr'       => 'one',
        'Authorization' => 'Bearer abc',
        'X-Repeated'    => [ 'first', 'second', 'third' ],
        'X-None'        => [],
        'X-Empty'       => '',
        'X-Number'      => 7,
        'Cookie'        => 'a=1; b=2',
        'X-Bytes'       => "caf\xc3\xa9",
    },
);
like($with->head, qr/^x-lOwEr: one\r$/m, 'the name goes out as it was spelled');
is_deeply([ $with->header('Authorization') ], ['Bearer abc'], 'Authorization');
is_deeply([ $with->header('X-Repeated') ], [qw(first second third)], 'one line for each value, in order');
is_deeply([ $with->header('X-None') ], [], 'none for an empty list');
is_deeply([ $with->header('X-Empty') ], [''], 'an empty value');
is_deeply([ $with->header('X-Number') ], ['7'], 'a number');
is_deeply([ $with->header('Cookie') ], ['a=1; b=2'], 'Cookie');
is_deeply([ $with->header('X-Bytes') ], ["caf\xc3\xa9"], 'bytes beyond ASCII');

# Every frame of a client is masked, with a key that cannot be foreseen.
{
    my $conn = $context->connect(url => "ws://$base/");
    run_until(sub { $conn->is_connected }, 'connected');
    my $peer = $server->last_peer;
    $conn->send('same text') for 1 .. 20;
    $conn->send_ping('ping');
    $conn->close;
    run_until(sub { $peer->close_read }, 'frames arrive');
    is(scalar(grep { !$_->{masked} } @{ $peer->frames }), 0, 'every one of them is masked');
    is_deeply([ map { $_->{payload} } $peer->frames_of(1) ], [ ('same text') x 20 ], 'the payloads');
    my %keys = map { ($_->{key} => 1) } @{ $peer->frames };
    cmp_ok(scalar keys %keys, '>', 15, 'the masking keys differ');
}

finish();
