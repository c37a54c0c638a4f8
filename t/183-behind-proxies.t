use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use Adopt;
use Certificates;
use EV;
use EV::Websockets;
use Events;
use File::Temp ();
use IO::Socket::UNIX;
use OpenSSLPeer;
use RawPeer;
use Run;
use Socket qw(inet_aton inet_pton AF_INET6);
use Test::More;

# Who a client is behind proxies: by the head of the PROXY protocol, and by the
# headers that proxies add. Whoever is not trusted cannot say it.

my $context = EV::Websockets::Context->new;
my (@told, @seen);
my %on = (
    on_connect => sub { my ($c) = @_; push @seen, [ $c->peer_address, $c->peer_port ] },
    on_reject  => sub { push @told, [@_] },
);
my @trusted = (trusted_proxies => [ '127.0.0.1', '10.0.0.0/8', 'unix' ]);
my $good = RawPeer->request;

sub v2 {
    my ($command, $family, $rest) = @_;
    return pack 'a12 C C n/a', "\r\n\r\n\0\r\nQUIT\n", $command, $family, $rest;
}
my $v4 = inet_aton('192.0.2.7') . inet_aton('192.0.2.1') . pack 'nn', 40000, 443;
my $v6 = inet_pton(AF_INET6, '2001:db8::7') . inet_pton(AF_INET6, '::1') . pack 'nn', 40001, 443;

# A client that sends these bytes is this address and port.
sub is_known {
    my ($name, $port, $bytes, $address, $peer_port, %o) = @_;
    @seen = ();
    my $peer = $o{peer} || RawPeer->connect($port);
    my @parts = ref $bytes ? @$bytes : $bytes;
    while (@parts) {
        $peer->put(shift @parts);
        settle() if @parts;
    }
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    run_until(sub { @seen || $peer->eof }, "$name: let in");
    is_deeply \@seen, [ [ $address, $peer_port ] ], "$name: who it is" or diag $peer->head;
    return $peer;
}

sub is_dropped {
    my ($name, $port, $bytes, $why, %o) = @_;
    (@told, @seen) = ();
    my $peer = $o{peer} || RawPeer->connect($port);
    $peer->put($bytes);
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    run_until(sub { @told && $peer->eof }, "$name: told, and ended");
    ref $why ? like($told[0][0], $why, "$name: why") : is($told[0][0], $why, "$name: why");
    is_deeply \@seen, [], "$name: no connection";
    return $peer;
}

# ---- the head ----

my $required = $context->listen(host => '127.0.0.1', proxy_protocol => 1, %on);
is_known('a line', $required, "PROXY TCP4 192.0.2.7 192.0.2.1 40000 443\r\n$good", '192.0.2.7', 40000);
is_known('a line of IPv6', $required, "PROXY TCP6 2001:db8::7 ::1 40001 443\r\n$good", '2001:db8::7', 40001);
is_known('version 2', $required, v2(0x21, 0x11, $v4) . $good, '192.0.2.7', 40000);
is_known('version 2, IPv6', $required, v2(0x21, 0x21, $v6) . $good, '2001:db8::7', 40001);
is_known('with more behind the address', $required, v2(0x21, 0x11, "$v4\x04\0\x02..\x01\0\0") . $good, '192.0.2.7', 40000);
is_known('from a Unix socket', $required, v2(0x21, 0x31, '/' x 216) . $good, undef, undef);
is_known('octet by octet', $required, [ split(//, v2(0x21, 0x11, $v4)), $good ], '192.0.2.7', 40000);
for my $local ("PROXY UNKNOWN\r\n", v2(0x20, 0, ''), v2(0x20, 0x11, $v4), v2(0x21, 0, '')) {
    my $peer = RawPeer->connect($required);
    my $own = $peer->{fh}->sockport;
    is_known('the proxy itself', $required, "$local$good", '127.0.0.1', $own, peer => $peer);
}

my $none = is_dropped('no head', $required, $good, 'PROXY: there is no head');
is $none->head, undef, 'and no answer';
is $told[0][1], '127.0.0.1', 'with the address of whoever it was';
is_dropped('a malformed line', $required, "PROXY TCP4 010.0.0.1 192.0.2.1 40000 443\r\n$good", 'PROXY: the line is malformed');
is_dropped('a line without end', $required, 'PROXY TCP4 ' . '1' x 200, 'PROXY: the line is malformed');
is_dropped('an unknown command', $required, v2(0x22, 0x11, $v4) . $good, 'PROXY: the command is unknown');
is_dropped('an unknown version', $required, v2(0x11, 0x11, $v4) . $good, 'PROXY: the version is unknown');
is_dropped('datagrams', $required, v2(0x21, 0x12, $v4) . $good, 'PROXY: the address family is none of a stream');
is_dropped('too short', $required, v2(0x21, 0x11, substr $v4, 1) . $good, 'PROXY: the length does not fit the addresses');
is_dropped('lengths that do not add up', $required, v2(0x21, 0x11, "$v4\x04\0\x09") . $good,
    'PROXY: what follows the addresses is malformed');
is_dropped('a head of 64 KiB', $required, v2(0x21, 0x11, 'x' x 65535), 'PROXY: the head is too long');
my $hasty = $context->listen(host => '127.0.0.1', proxy_protocol => 1, handshake_timeout => 0.3, %on);
is_dropped('a head that does not come', $hasty, 'PROXY TCP4', 'timeout');
is_dropped('a request that does not come behind it', $hasty, "PROXY TCP4 192.0.2.7 192.0.2.1 1 2\r\n", qr/\A408 /);
is $told[0][1], '192.0.2.7', 'told of the client, not of the proxy';

my $optional = $context->listen(host => '127.0.0.1', proxy_protocol => 'optional', %on);
is_known('with a head', $optional, v2(0x21, 0x11, $v4) . $good, '192.0.2.7', 40000);
my $direct = RawPeer->connect($optional);
is_known('without one', $optional, $good, '127.0.0.1', $direct->{fh}->sockport, peer => $direct);
my $without = $context->listen(host => '127.0.0.1', %on);
is_dropped('where there is no such option', $without, "PROXY TCP4 192.0.2.7 192.0.2.1 1 2\r\n$good", qr/\A400 /);

# ---- only from proxies that are trusted ----

my $strangers = $context->listen(host => '127.0.0.1', proxy_protocol => 1, trusted_proxies => ['10.0.0.0/8'], %on);
is_dropped('a head of a stranger', $strangers, v2(0x21, 0x11, $v4) . $good, 'PROXY: the client is no trusted proxy');
my $either = $context->listen(host => '127.0.0.1', proxy_protocol => 'optional', trusted_proxies => ['10.0.0.0/8'], %on);
is_dropped('a head of a stranger, where there need be none', $either, v2(0x21, 0x11, $v4) . $good,
    'PROXY: the client is no trusted proxy');
$direct = RawPeer->connect($either);
is_known('a stranger without one', $either, $good, '127.0.0.1', $direct->{fh}->sockport, peer => $direct);

# ---- headers ----

my $server = $context->listen(host => '127.0.0.1', @trusted, %on, on_handshake => sub {
    my ($headers, $handshake) = @_;
    push @seen, [ $handshake->peer_address, $handshake->peer_port ];
    return 1;
}, on_connect => undef, on_request => sub {
    my ($request) = @_;
    push @seen, [ @$request{qw(peer_address peer_port)} ];
    return [ 200, [], [] ];
});
sub by {
    my ($name, $headers, @expected) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is_known($name, $server, RawPeer->request(headers => $headers), @expected);
}
by('X-Forwarded-For', { 'X-Forwarded-For' => '192.0.2.7' }, '192.0.2.7', undef);
by('the rightmost that is not trusted', { 'X-Forwarded-For' => [ '6.6.6.6, 192.0.2.7', '10.1.1.1,unix:' ] }, '192.0.2.7', undef);
by('Forwarded', { 'forwarded' => 'for=6.6.6.6, For="192.0.2.7:4000";proto=https' }, '192.0.2.7', 4000);
by('Forwarded, IPv6', { 'Forwarded' => 'for="[2001:db8::7]:4000"' }, '2001:db8::7', 4000);
by('a hidden client', { 'Forwarded' => 'for=_hidden' }, undef, undef);
by('an unknown client', { 'X-Forwarded-For' => 'unknown' }, undef, undef);
by('both', { 'X-Forwarded-For' => '192.0.2.7', 'Forwarded' => 'for=192.0.2.7' }, '192.0.2.7', undef);
by('what is further left is nobody\'s', { 'X-Forwarded-For' => '010.0.0.1, <, 192.0.2.7' }, '192.0.2.7', undef);
my %malformed = (
    'octal'        => { 'X-Forwarded-For' => '010.0.0.1' },
    'no address'   => { 'X-Forwarded-For' => '192.0.2.7, localhost' },
    'a quotation mark' => { 'Forwarded' => 'for="192.0.2.7' },
    'contradiction'    => { 'X-Forwarded-For' => '192.0.2.7', 'Forwarded' => 'for=192.0.2.8' },
);
for my $name (sort keys %malformed) {
    my $peer = is_dropped($name, $server, RawPeer->request(headers => $malformed{$name}), qr/\A400 Bad Request: \w/);
    is $peer->status, 400, "$name: 400";
}
my $peer = is_known('a request', $server, "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n", '192.0.2.7', undef);
is_known('another on the same connection', $server, "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 192.0.2.8\r\n\r\n",
    '192.0.2.8', undef, peer => $peer);
is_known('one that is the proxy\'s own', $server, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", '127.0.0.1', $peer->{fh}->sockport,
    peer => $peer);
# Between two requests the connection is nobody's but the proxy's: what goes wrong then is not
# told of the last client, nor does it count for its address.
my $kept_alive = $context->listen(host => '127.0.0.1', @trusted, %on, max_connections_per_address => 1,
    on_request => sub { push @seen, [ @{ $_[0] }{qw(peer_address peer_port)} ]; [ 200, [], [] ] });
my $get = "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n";
$peer = is_known('a request of a client', $kept_alive, $get, '192.0.2.7', undef);
is_known('another of his by another connection', $kept_alive, $get, '192.0.2.7', undef);
is_dropped('garbage behind the first', $kept_alive, "garbage\r\n\r\n", qr/\A400 /, peer => $peer);
is $told[0][1], '127.0.0.1', 'is told of the proxy';

my $wary = $context->listen(host => '127.0.0.1', trusted_proxies => ['10.0.0.0/8'], %on);
$direct = RawPeer->connect($wary);
is_known('a stranger\'s header', $wary, RawPeer->request(headers => { 'X-Forwarded-For' => '192.0.2.7' }),
    '127.0.0.1', $direct->{fh}->sockport, peer => $direct);
$direct = RawPeer->connect($without);
is_known('a header, and nobody trusted', $without, RawPeer->request(headers => { 'X-Forwarded-For' => '192.0.2.7' }),
    '127.0.0.1', $direct->{fh}->sockport, peer => $direct);

my $folder = File::Temp->newdir;
$context->listen(path => "$folder/s", @trusted, %on);
sub by_unix { RawPeer->new(IO::Socket::UNIX->new(Peer => "$folder/s"), role => 'client') }
is_known('by a Unix socket', 0, RawPeer->request(headers => { 'X-Forwarded-For' => '192.0.2.7' }), '192.0.2.7', undef,
    peer => by_unix());
is_known('a local client', 0, $good, undef, undef, peer => by_unix());

# Both: what the first proxy says is in the head, what others have said in the headers.
my $chain = $context->listen(host => '127.0.0.1', proxy_protocol => 1, @trusted, %on);
is_known('a proxy behind a proxy', $chain, "PROXY TCP4 10.2.2.2 10.0.0.1 1 2\r\n"
    . RawPeer->request(headers => { 'X-Forwarded-For' => '192.0.2.7' }), '192.0.2.7', undef);
is_known('a client who says that he is one', $chain, "PROXY TCP4 192.0.2.8 10.0.0.1 1 2\r\n"
    . RawPeer->request(headers => { 'X-Forwarded-For' => '192.0.2.7' }), '192.0.2.8', 1);

# Who passes on somebody without a name (UNKNOWN, AF_UNSPEC), or asks for itself (LOCAL), was believed about the headers of
# the request, which nobody but the client had written: it could be whoever it said.
for my $nameless ("PROXY UNKNOWN\r\n", "PROXY UNKNOWN 10.2.2.2 10.0.0.1 1 2\r\n", v2(0x21, 0, ''), v2(0x20, 0, ''), v2(0x20, 0x11, $v4)) {
    for my $said ({ 'X-Forwarded-For' => '192.0.2.7' }, { 'Forwarded' => 'for=192.0.2.7' }, { 'X-Forwarded-For' => '<' }) {
        my $peer = RawPeer->connect($chain);
        my $own = $peer->{fh}->sockport;
        is_known('a client without a name', $chain, $nameless . RawPeer->request(headers => $said), '127.0.0.1', $own, peer => $peer);
    }
}

# ---- limits count clients, not proxies ----

my $limited = $context->listen(host => '127.0.0.1', proxy_protocol => 1, @trusted, max_connections_per_address => 1, %on);
my @kept = is_known('one of an address', $limited, "PROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\n$good", '192.0.2.7', 1);
push @kept, is_known('one of another', $limited, "PROXY TCP4 192.0.2.8 10.0.0.1 1 2\r\n$good", '192.0.2.8', 1);
$peer = is_dropped('a second', $limited, "PROXY TCP4 192.0.2.7 10.0.0.1 3 4\r\n$good",
    '503 Service Unavailable: There are too many connections from this address.');
is $told[0][1], '192.0.2.7', 'told of the client';
my $by_header = $context->listen(host => '127.0.0.1', @trusted, max_connections_per_address => 1, %on);
push @kept, is_known('one by its header', $by_header, RawPeer->request(headers => { 'X-Forwarded-For' => '192.0.2.7' }),
    '192.0.2.7', undef);
push @kept, is_known('another', $by_header, RawPeer->request(headers => { 'X-Forwarded-For' => '192.0.2.8' }),
    '192.0.2.8', undef);
is_dropped('a second by its header', $by_header, RawPeer->request(headers => { 'X-Forwarded-For' => '192.0.2.7' }), qr/\A503 /);
$kept[-2]->hang_up;
run_until(sub {
    $peer = RawPeer->connect($by_header) if $peer->eof;
    $peer->put(RawPeer->request(headers => { 'X-Forwarded-For' => '192.0.2.7' })) if !$peer->written;
    return ($peer->status || 0) == 101;
}, 'until the first is gone');

# ---- TLS behind the head ----

my $made = Certificates->new;
$made->ca('ca');
$made->issue('server', issuer => 'ca');
my $secure = $context->listen(host => '127.0.0.1', proxy_protocol => 1, $made->listen_with('server'), %on);
is_dropped('HTTP where TLS belongs', $secure, v2(0x21, 0x11, $v4) . $good, 'TLS: the client speaks plain HTTP');
is $told[0][1], '192.0.2.7', 'told of the client';
is_dropped('TLS without a head', $secure, "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", 'PROXY: there is no head');

# ---- adopted sockets ----

my ($near, $far) = tcp_pair();
@seen = ();
$context->adopt(fh => $near, @trusted, initial_data => RawPeer->request(headers => { 'X-Forwarded-For' => '192.0.2.7' }),
    on_connect => $on{on_connect});
run_until(sub { @seen }, 'an adopted socket');
is_deeply \@seen, [ [ '192.0.2.7', undef ] ], 'by the header of a proxy';

# ---- croaks ----

croaks_like { $context->listen(trusted_proxies => ['010.0.0.1']) }
    qr/\Alisten: trusted_proxies: '010\.0\.0\.1' is no address, no network and not 'unix'/, 'an octal address';
croaks_like { $context->listen(trusted_proxies => ['10.0.0.1/8']) }
    qr/\Alisten: trusted_proxies: '10\.0\.0\.1\/8' has bits beyond its prefix/, 'bits beyond the prefix';
croaks_like { $context->listen(trusted_proxies => '10.0.0.1') } qr/\Alisten: trusted_proxies must be an array reference/, 'no array';
croaks_like { $context->listen(trusted_proxies => undef) } qr/\Alisten: trusted_proxies must be an array reference/, 'undef';
croaks_like { $context->listen(trusted_proxies => [ [] ]) } qr/\Alisten: trusted_proxies number 1 must be a string/, 'no string';
croaks_like { $context->listen(proxy_protocol => $_) } qr/\Alisten: proxy_protocol must be 0, 1 or 'optional' \(got '/,
    'proxy_protocol => ' . $_ for 2, 'v1', 'yes', [];
croaks_like { $context->adopt(fh => $far, upgraded => 1, @trusted) }
    qr/\Aadopt: trusted_proxies is for an upgrade/, 'an upgrade that is over';

finish();
