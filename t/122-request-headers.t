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

# The headers of the request, as the callbacks of a listener get them; and the
# 101 that it answers with.

my $pair = Pair->listen(listen => { headers => { 'x-sErver' => 'raw', 'X-Repeated' => [ 'a', 'b' ] } });
my $server = $pair->server;

sub upgraded {
    my ($name, %request) = @_;
    my $before = $server->count('connect');
    my $peer = RawPeer->connect($pair->port)->upgrade(%request);
    run_until(sub { $server->count('connect') > $before && defined $peer->head }, "$name: upgraded");
    return ($server->last_of('connect')->[0], $peer);
}

my ($headers, $peer) = upgraded('many headers',
    path    => '/caf%C3%A9%20x/%2e%2E/a+b?q=%20&r=1?2',
    headers => {
        'user-agent' => 'Raw/1.0', 'X-LOUD' => 'v', 'X-Twice' => [ 'one', 'two' ], 'x-tWice' => 'three',
        'Cookie' => [ 'a=1; b=2', 'c=3' ], 'X-Empty' => '', 'Origin' => 'http://example.com',
        'www-authenticate' => 'x', 'sec-websocket-protocol' => 'chat', 'X-Bytes' => "\xc3\xa9",
    },
);
is($headers->{'User-Agent'}, 'Raw/1.0', 'a name in canonical capitals');
is($headers->{'X-Loud'}, 'v', 'whatever the peer made of it');
is($headers->{'X-Twice'}, 'one, two, three', 'repeated: joined with ", "');
is($headers->{Cookie}, 'a=1; b=2; c=3', 'Cookie: joined with "; "');
is($headers->{'X-Empty'}, '', 'an empty value');
is($headers->{Origin}, 'http://example.com', 'Origin');
is($headers->{'WWW-Authenticate'}, 'x', 'WWW-Authenticate');
is($headers->{'Sec-WebSocket-Protocol'}, 'chat', 'Sec-WebSocket-Protocol');
is($headers->{'Sec-WebSocket-Version'}, '13', 'Sec-WebSocket-Version');
is($headers->{'Sec-WebSocket-Key'}, 'dGhlIHNhbXBsZSBub25jZQ==', 'Sec-WebSocket-Key');
is($headers->{Host}, '127.0.0.1', 'Host');
is($headers->{Upgrade}, 'websocket', 'Upgrade');
is($headers->{'X-Bytes'}, "\xc3\xa9", 'bytes are bytes');
is($headers->{Path}, "/caf\xc3\xa9 x/../a+b", 'Path is percent-decoded, without the query');
is($headers->{Query}, 'q=%20&r=1?2', 'Query is raw');
is($headers->{URI}, '/caf%C3%A9%20x/%2e%2E/a+b?q=%20&r=1?2', 'URI is as it was sent');
is_deeply([ grep { utf8::is_utf8($_) } values %$headers ], [], 'no UTF8 flag on any of them');

is($peer->start_line, 'HTTP/1.1 101 Switching Protocols', 'the status line');
is_deeply([ map { lc } $peer->header('Upgrade') ], ['websocket'], 'Upgrade in the 101');
is_deeply([ map { lc } $peer->header('Connection') ], ['upgrade'], 'Connection in the 101');
# The key and the answer of RFC 6455 section 1.3.
is_deeply([ $peer->header('Sec-WebSocket-Accept') ], ['s3pPLMBiTxaQ9kYGzzhZRbK+xOo='], 'Sec-WebSocket-Accept');
like($peer->head, qr/^x-sErver: raw\r$/m, "the listener's headers, spelled as given");
is_deeply([ $peer->header('X-Repeated') ], [qw(a b)], 'repeated for an array ref');
is_deeply([ $peer->header('Sec-WebSocket-Extensions') ], [], 'no extension that was not asked for');

($headers) = upgraded('no query', path => '/plain');
ok(!exists $headers->{Query}, 'no Query without one');
is($headers->{Path}, '/plain', 'Path');
is($headers->{URI}, '/plain', 'URI');
($headers) = upgraded('an empty query', path => '/?');
is($headers->{Path}, '/', 'Path with an empty query');

# What peers send is data: headers of those names, and escapes of all kinds.
($headers) = upgraded('false friends', path => '/real?r', headers => { Path => '/fake', URI => '/fake', Query => 'fake' });
is_deeply([ @$headers{qw(Path Query URI)} ], [ '/real', 'r', '/real?r' ], 'header fields do not replace them');
($headers) = upgraded('escapes', path => '/%zz%4/%00%0d%0a%');
is($headers->{Path}, "/%zz%4/\0\r\n%", 'what is no escape stays as it is');

# Requests that are a little unusual but right.
upgraded('tokens in any case', headers => { Upgrade => 'WebSocket', Connection => 'UPGRADE' });
upgraded('a list in Connection', headers => { Connection => 'keep-alive, Upgrade' });
upgraded('two Connection headers', headers => { Connection => [ 'keep-alive', 'Upgrade' ] });
upgraded('a list in Upgrade', headers => { Upgrade => 'h2c, websocket' });
upgraded('an extension nobody knows', headers => { 'Sec-WebSocket-Extensions' => 'x-unknown; a=1' });
(undef, $peer) = upgraded('an offer of deflate', headers => { 'Sec-WebSocket-Extensions' => 'permessage-deflate' });
is_deeply([ $peer->header('Sec-WebSocket-Extensions') ], [], 'which is not accepted unless told to');

# The callbacks of the connection that came last; others are closing still.
sub order_of_last {
    my $conn = $server->conn;
    return join ' ', map { $_->[0] } grep { $_->[1] == $conn } @{ $server->log };
}

# Frames in one segment with the request come after on_connect.
{
    my $eager = RawPeer->connect($pair->port);
    $eager->put($eager->request . $eager->make(1, 'at once') . $eager->make(2, 'and again'));
    run_until(sub { $server->count('message') == 2 }, 'messages together with the request');
    is(order_of_last(), 'connect message message', 'on_connect first');
    is_deeply([ $server->messages ], [ 'at once', 'and again' ], 'in order');
}

# A request in single bytes.
{
    $server->forget;
    my $slow = RawPeer->connect($pair->port);
    my @bytes = split //, $slow->request . $slow->make(1, 'slowly');
    my $drip = EV::timer(0, 0.001, sub { $slow->put(shift @bytes) if @bytes });
    run_until(sub { $server->count('message') }, 'a request and a frame, byte by byte');
    is(order_of_last(), 'connect message', 'are understood');
    is(($server->messages)[0], 'slowly', 'as they were meant');
}

finish();
