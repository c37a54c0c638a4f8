use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

use Attempt;
use Certificates;
use EV;
use EV::Websockets;
use IO::Socket::INET;
use Run;

# What is refused, and in which words.

my $made = Certificates->new;
$made->ca($_) for qw(ca other);
$made->issue('good',  issuer => 'ca');
$made->issue('named', issuer => 'ca', san => 'DNS:example.org,DNS:www.example.org');
$made->issue('old',   issuer => 'ca', days => -1);
$made->issue('young', issuer => 'ca', from => '20990101000000Z', to => '20991231000000Z');
$made->issue('self',  issuer => 'self', san => 'IP:127.0.0.1', extensions => "basicConstraints=critical,CA:TRUE\n");
$made->issue('alone', issuer => 'alone', extensions => "basicConstraints=critical,CA:FALSE\n");
$made->issue('self_old', issuer => 'self_old', days => -1, extensions => "basicConstraints=critical,CA:TRUE\n");

my $ca = $made->file('ca.pem');
my $context = EV::Websockets::Context->new;
my %port = map { $_ => $context->listen($made->listen_with($_)) } qw(good named old young self alone self_old);

subtest 'who is believed' => sub {
    my $at = sub { "wss://$_[0]:$port{$_[1]}/" };
    for my $host ('127.0.0.1', 'localhost') {
        is outcome($context, $at->($host, 'good'), ssl_ca => $ca), undef, "$host is in the certificate";
    }
    like outcome($context, $at->('[::1]', 'good'), ssl_ca => $ca), qr/certificate not valid for name "::1".*127\.0\.0\.1/,
        'an address that is not in it';
    like outcome($context, $at->('127.0.0.1', 'named'), ssl_ca => $ca),
        qr/\ATLS handshake with 127\.0\.0\.1: .*not valid for name.*example\.org/, 'a wrong name, with those it has';
    # It said DnsName("localhost") and IpAddress(127.0.0.1).
    unlike outcome($context, $at->('[::1]', 'good'), ssl_ca => $ca), qr/DnsName|IpAddress|[()]/, 'in plain words';
    is outcome($context, $at->('127.0.0.1', 'named'), ssl_ca => $ca, ssl_server_name => 'www.example.org'), undef,
        'ssl_server_name is the name that counts';
    like outcome($context, $at->('127.0.0.1', 'old'), ssl_ca => $ca), qr/certificate expired/, 'expired';
    like outcome($context, $at->('127.0.0.1', 'young'), ssl_ca => $ca), qr/certificate not valid yet/, 'too early';
    like outcome($context, $at->('127.0.0.1', 'good'), ssl_ca => $made->file('other.pem')), qr/unknown issuer/, 'another CA';
    like outcome($context, $at->('127.0.0.1', $_), ssl_ca => $ca), qr/unknown issuer/, "self-signed ($_)" for qw(self alone);
    is outcome($context, $at->('127.0.0.1', $_), ssl_ca => $made->file("$_.pem")), undef, "self-signed, and named as root ($_)"
        for qw(self alone);
    like outcome($context, $at->('localhost', 'self'), ssl_ca => $made->file('self.pem')), qr/not valid for name/,
        'whose name is checked all the same';
    like outcome($context, $at->('127.0.0.1', 'self_old'), ssl_ca => $made->file('self_old.pem')), qr/expired/, 'and whose dates';
    is outcome($context, $at->('127.0.0.1', $_), ssl_verify => 0), undef, "ssl_verify => 0 takes it ($_)"
        for qw(good named old self);
    like outcome($context, $at->('127.0.0.1', 'self'), ssl_verify => undef, ssl_ca => $ca), qr/unknown issuer/,
        'ssl_verify => undef does not turn it off';
};

subtest 'roots of the system, and of the context' => sub {
    my $url = "wss://127.0.0.1:$port{good}/";
    {
        local $ENV{SSL_CERT_FILE} = $ca;
        is outcome(EV::Websockets::Context->new, $url), undef, 'SSL_CERT_FILE';
        my $fresh = EV::Websockets::Context->new(ssl_ca => $made->file('other.pem'));
        like outcome($fresh, $url), qr/unknown issuer/, 'ssl_ca of the context stands in their place';
        is outcome($fresh, $url, ssl_ca => $ca), undef, 'ssl_ca of connect in its';
    }
    local $ENV{SSL_CERT_FILE} = $made->file('other.pem');
    like outcome(EV::Websockets::Context->new, $url), qr/unknown issuer/, 'and nothing is remembered of other contexts';
    local $ENV{SSL_CERT_FILE} = $made->write('none.pem', '');
    local $ENV{SSL_CERT_DIR}  = undef;
    delete $ENV{SSL_CERT_DIR};
    my $fresh = EV::Websockets::Context->new;
    like outcome($fresh, $url), qr/127\.0\.0\.1: the system has no trusted root certificates: /, 'none at all';
    is outcome($fresh, $url, ssl_verify => 0), undef, 'which matters only to those who look';
};

$made->openssl(qw(pkey -in good.key -aes256 -passout pass:x -out locked.key));
$made->openssl(qw(ec -in good.key -aes256 -passout pass:x -out locked_sec1.key));
my $garbled = $made->write('garbled.pem', "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n");
my $cut     = $made->write('cut.pem', "-----BEGIN CERTIFICATE-----\nMIIB\n");
my $headless = $made->write('headless.pem', "-----BEGIN CERTIFICATE\nMIIB\n-----END CERTIFICATE-----\n");
my $not_der = $made->write('not_der.pem', "-----BEGIN CERTIFICATE-----\nQUJDRA==\n-----END CERTIFICATE-----\n");
my $bad_key = $made->write('bad.key', "-----BEGIN PRIVATE KEY-----\nQUJDRA==\n-----END PRIVATE KEY-----\n");
my $empty   = $made->write('empty.pem', '');
my ($cert, $key) = map { $made->file("good.$_") } qw(pem key);

my @unusable = (
    ['a missing certificate', [ssl_cert => '/no/such.pem', ssl_key => $key], qr{cannot read ssl_cert '/no/such\.pem': No such file}],
    ['a missing key',         [ssl_cert => $cert, ssl_key => '/no/such.key'], qr{cannot read ssl_key '/no/such\.key': No such file}],
    ['an empty name',         [ssl_cert => '', ssl_key => $key], qr{cannot read ssl_cert '': No such file}],
    ['a folder',              [ssl_cert => '/', ssl_key => $key], qr{cannot read ssl_cert '/': Is a directory}],
    ['an empty file',         [ssl_cert => $empty, ssl_key => $key], qr{ssl_cert '.*empty\.pem': there is no PEM certificate}],
    ['a key as certificate',  [ssl_cert => $key, ssl_key => $key], qr{ssl_cert '.*good\.key': there is no PEM certificate}],
    ['a certificate as key',  [ssl_cert => $cert, ssl_key => $cert], qr{ssl_key '.*good\.pem': there is no PEM private key}],
    ['no base64',             [ssl_cert => $garbled, ssl_key => $key], qr{ssl_cert '.*garbled\.pem': a PEM section is not base64}],
    ['a file that was cut',   [ssl_cert => $cut, ssl_key => $key], qr{ssl_cert '.*cut\.pem': a PEM section has no end}],
    ['half a first line',     [ssl_cert => $headless, ssl_key => $key], qr{ssl_cert '.*headless\.pem': a PEM section has a malformed first line}],
    ['no DER',                [ssl_cert => $not_der, ssl_key => $key], qr{ssl_cert '.*not_der\.pem': certificate number 1 is malformed}],
    ['no key in the section', [ssl_cert => $cert, ssl_key => $bad_key], qr{ssl_key '.*bad\.key': .*parse}],
    ["another one's key",     [ssl_cert => $cert, ssl_key => $made->file('other.key')], qr{ssl_key '.*other\.key': the key does not belong to the certificate in ssl_cert '.*good\.pem'}],
    ['a password (PKCS#8)',   [ssl_cert => $cert, ssl_key => $made->file('locked.key')], qr{ssl_key '.*locked\.key': the key is protected by a password}],
    ['a password (SEC1)',     [ssl_cert => $cert, ssl_key => $made->file('locked_sec1.key')], qr{ssl_key '.*locked_sec1\.key': the key is protected by a password}],
);

for (@unusable) {
    my ($name, $options, $why) = @$_;
    croaks_like { $context->listen(@$options) } qr/\AFailed to create vhost for listening: $why/, "listen: $name";
    croaks_like { $context->connect(url => "wss://127.0.0.1:$port{good}/", ssl_ca => $ca, @$options) } qr/\Aconnect: $why/, "connect: $name";
}
croaks_like { $context->listen($made->listen_with('good'), ssl_ca => '/no/ca') }
    qr{\AFailed to create vhost for listening: cannot read ssl_ca '/no/ca': No such file}, 'listen: ssl_ca';

my $wss = "wss://127.0.0.1:$port{good}/";
for (
    [[ssl_ca => '/no/ca'], qr{cannot read ssl_ca '/no/ca': No such file}],
    [[ssl_ca => $not_der], qr{ssl_ca '.*not_der\.pem': }],
    [[ssl_cert => $cert], qr{ssl_cert and ssl_key must both be set \(only ssl_cert was given\)}],
    [[ssl_key => $key], qr{ssl_cert and ssl_key must both be set \(only ssl_key was given\)}],
    [[ssl_server_name => 'a b'], qr{'a b' is neither a host name nor an address}],
    [[ssl_server_name => ''], qr{'' is neither a host name nor an address}],
    [[ssl_alpn => ['']], qr{a name in ssl_alpn must have 1 to 255 bytes}],
    [[ssl_alpn => 'x' x 256], qr{a name in ssl_alpn must have 1 to 255 bytes}],
    [[ssl_alpn => [undef]], qr{ssl_alpn number 1 must be a string}],
    [[ssl_ca => []], qr{ssl_ca must be a string \(got 'ARRAY}],
) {
    my ($options, $why) = @$_;
    croaks_like { $context->connect(url => $wss, ssl_ca => $ca, @$options) } qr/\Aconnect: $why/, "connect: @{[map { defined ? substr $_, 0, 20 : 'undef' } @$options]}";
}
my $with_identity = EV::Websockets::Context->new(ssl_cert => '/no/such.pem', ssl_key => $key);
croaks_like { $with_identity->connect(url => $wss) } qr{\Aconnect: cannot read ssl_cert '/no/such\.pem'}, "the context's file, at the first wss://";

subtest 'TLS and its absence' => sub {
    my $plain = $context->listen;
    like outcome($context, "wss://127.0.0.1:$plain/", ssl_ca => $ca), qr/the peer does not speak TLS/, 'TLS to a plain port';
    like outcome($context, "ws://127.0.0.1:$port{good}/"), qr/400/, 'plain to a TLS port';

    my $http = sub {
        my ($what) = @_;
        my $peer = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port{good}") or die "connect: $@";
        $peer->blocking(0);
        $peer->syswrite($what);
        my $got = '';
        run_until(sub { my $count = sysread $peer, $got, 4096, length $got; defined $count && !$count || !defined $count && !$!{EAGAIN} },
            'the server ends it');
        return $got;
    };
    like $http->("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), qr{\AHTTP/1\.1 400 }, 'plain HTTP is answered with 400';
    unlike $http->("\0\1\2\3\4\5\6\7\10garbage"), qr/HTTP/, 'garbage is not';
    is outcome($context, $wss, ssl_ca => $ca), undef, 'and the listener goes on';

    my $silent = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1');
    my $accepting = EV::io(fileno $silent, EV::READ(), sub { my $peer = $silent->accept; sysread $peer, my $hello, 1; close $peer });
    like outcome($context, 'wss://127.0.0.1:' . $silent->sockport, ssl_ca => $ca), qr/TLS handshake with 127\.0\.0\.1: /,
        'a server that hangs up in the handshake';
    my $mute = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1');
    is outcome($context, 'wss://127.0.0.1:' . $mute->sockport, ssl_ca => $ca, connect_timeout => 0.2), 'connect timeout',
        'connect_timeout covers the handshake';
};

finish;
