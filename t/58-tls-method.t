use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

use Attempt;
use Certificates;
use EV;
use EV::Websockets;
use Events;
use OpenSSLPeer;
use Pair;
use Run;

# $conn->tls: what the two ends have agreed on. And ALPN, which is a part of it.

my $made = Certificates->new;
$made->ca('ca');
$made->issue('server', issuer => 'ca');
$made->openssl(qw(x509 -outform DER -in server.pem -out server.der));
my $ca     = $made->file('ca.pem');
my %listen = $made->listen_with('server');

subtest 'of both ends' => sub {
    my $seen = [];
    my $pair = Pair->open(
        scheme  => 'wss',
        context => { ssl_ca => $ca },
        connect => { ssl_server_name => 'localhost', on_connect => sub { push @$seen, $_[0]->tls } },
        listen  => { %listen, on_connect => sub { push @$seen, $_[0]->tls } },
    );
    is_deeply [map { $_->{version} } @$seen], [('TLSv1.3') x 2], 'it is there in on_connect';
    my ($ours, $theirs) = ($pair->c->tls, $pair->s->tls);
    is_deeply [sort keys %$ours], [sort qw(version cipher alpn server_name peer_certificate verified resumed)], 'what it has';
    is_deeply [sort keys %$theirs], [sort keys %$ours], 'at both ends';
    like $ours->{cipher}, qr/\ATLS_(?:AES_256_GCM_SHA384|AES_128_GCM_SHA256|CHACHA20_POLY1305_SHA256)\z/, 'cipher';
    is_deeply [map { "$_->{version} $_->{cipher} $_->{server_name} $_->{resumed}" } $theirs],
        [map { "$_->{version} $_->{cipher} $_->{server_name} $_->{resumed}" } $ours], 'both see the same';
    is $ours->{server_name}, 'localhost', 'the name';
    is_deeply [map { $_->{alpn} } $ours, $theirs], [undef, undef], 'no ALPN, as the client has offered none';
    ok $ours->{peer_certificate} eq $made->read('server.der'), "the server's certificate, as DER";
    is $ours->{verified}, 1, 'verified';
    is_deeply [@$theirs{qw(peer_certificate verified)}], [undef, 0], 'and the client has none';

    $ours->{version} = 'changed';
    isnt $pair->c->tls->{version}, 'changed', 'a new hash each time';
    my @closing;
    $pair->c->close;
    push @closing, $pair->c->tls;
    is ref $closing[0], 'HASH', 'while closing, too';
    run_until(sub { $pair->client->count('close') && $pair->server->count('close') }, 'closed');
    is_deeply [$pair->c->tls, $pair->s->tls], [undef, undef], 'not when it is closed';
};

subtest 'where there is none' => sub {
    my $pair = Pair->open;
    is_deeply [$pair->c->tls, $pair->s->tls], [undef, undef], 'a plain connection';
    my $conn = $pair->context->connect(url => 'ws://127.0.0.1:' . $pair->port);
    is_deeply [$conn->tls], [undef], 'one that is connecting';
    $pair->shut;
    undef $pair->{context};
    is_deeply [$pair->c->tls], [undef], 'one without its context';
};

subtest 'a server that was not verified' => sub {
    my $pair = Pair->open(scheme => 'wss', connect => { ssl_verify => 0 }, listen => {%listen});
    my $tls = $pair->c->tls;
    is $tls->{verified}, 0, 'says so';
    ok $tls->{peer_certificate} eq $made->read('server.der'), 'and what it has shown';
    is $tls->{server_name}, '127.0.0.1', 'the address that was connected to';
    is $pair->s->tls->{server_name}, undef, 'which TLS does not send';
};

subtest 'before the upgrade' => sub {
    $made->issue('alice', issuer => 'ca', san => undef);
    my (@asked, @requested, $later);
    my $pair = Pair->listen(listen => {
        %listen,
        ssl_verify_client => 'optional',
        ssl_client_ca     => $ca,
        on_handshake      => sub {
            my ($headers, $handshake) = @_;
            push @asked, $handshake->tls;
            $later = $handshake;
            return $asked[-1]{verified};
        },
        on_request => sub { push @requested, $_[0]{tls}; return [200, [], ['hello']] },
    });
    my $context = EV::Websockets::Context->new(ssl_ca => $ca);
    my $url = 'wss://localhost:' . $pair->port . '/';
    is outcome($context, $url, $made->listen_with('alice'), then => sub { is_deeply $asked[0], $pair->server->conn->tls, 'on_handshake knows what on_connect will' if run_until(sub { $pair->server->count('connect') }, 'connected') }),
        undef, 'a client with a certificate';
    ok $asked[0]{peer_certificate} eq $made->der('alice'), 'the certificate';
    like outcome($context, $url), qr/403/, 'on_handshake can refuse who has none';
    is_deeply [@{ $asked[1] }{qw(peer_certificate verified server_name)}], [undef, 0, 'localhost'], 'as it knows that';
    is $later->tls, undef, 'nothing when it is over';

    my $peer = OpenSSLPeer->client($made, $pair->port, $ca, '-cert', $made->file('alice.pem'), '-key', $made->file('alice.key'));
    $peer->raw->put("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    run_until(sub { $peer->raw->eof }, 'a request that is no upgrade');
    is $peer->raw->status, 200, 'is answered';
    ok $requested[0]{peer_certificate} eq $made->der('alice'), 'by on_request, which knows the certificate';

    my $plain = Pair->listen(listen => {
        on_handshake => sub { push @asked, $_[1]->tls; 1 },
        on_request   => sub { push @requested, $_[0]{tls}; return [200, [], []] },
    });
    outcome($context, 'ws://127.0.0.1:' . $plain->port);
    is $asked[-1], undef, 'undef without TLS';
};

subtest 'openssl at the other end' => sub {
    for my $version ('-tls1_2', '-tls1_3') {
        my $pair = Pair->listen(listen => {%listen});
        my $peer = OpenSSLPeer->client($made, $pair->port, $ca, $version, '-servername', 'localhost', '-alpn', 'h2,http/1.1');
        $peer->raw->upgrade;
        run_until(sub { $pair->server->count('connect') }, "$version: connected") or next;
        my $tls = $pair->server->conn->tls;
        is $tls->{version}, $version eq '-tls1_2' ? 'TLSv1.2' : 'TLSv1.3', 'version';
        like $tls->{cipher}, $version eq '-tls1_2' ? qr/\ATLS_ECDHE_ECDSA_WITH_/ : qr/\ATLS_[A-Z0-9]+_/, 'cipher';
        is $tls->{alpn}, 'http/1.1', 'ALPN';
        is $tls->{server_name}, 'localhost', 'name';
    }
    for my $suite (qw(TLS_CHACHA20_POLY1305_SHA256 TLS_AES_128_GCM_SHA256 TLS_AES_256_GCM_SHA384)) {
        my $pair = Pair->listen(listen => {%listen});
        my $peer = OpenSSLPeer->client($made, $pair->port, $ca, '-ciphersuites', $suite);
        $peer->raw->upgrade;
        run_until(sub { $pair->server->count('connect') }, "$suite: connected") or next;
        is $pair->server->conn->tls->{cipher}, $suite, 'is named as the standard does';
    }
};

# [error, ALPN of the client, ALPN of the server]
sub negotiated {
    my ($listen, $offer) = @_;
    my $server  = Events->new;
    my $context = EV::Websockets::Context->new(ssl_ca => $ca);
    my $port    = $context->listen(%listen, @$listen, $server->handlers);
    my @seen;
    my $error = outcome($context, "wss://localhost:$port/", ssl_alpn => $offer, then => sub {
        run_until(sub { $server->count('connect') }, 'the server has it too');
        @seen = map { $_->tls->{alpn} } $_[0], $server->conn;
    });
    return [$error, @seen];
}

subtest 'ALPN' => sub {
    for (
        [[], [qw(h2 http/1.1)], 'http/1.1', 'a listener takes http/1.1, as browsers offer it'],
        [[], [], undef, 'or nothing'],
        [[ssl_alpn => 'a, b'], [qw(b a)], 'a', "with ssl_alpn the listener's order counts"],
        [[ssl_alpn => [qw(a b)]], [qw(x b)], 'b', 'what both know'],
        [[ssl_alpn => 'a'], [], undef, 'or nothing'],
        # The bug: names were taken for text, and what is not UTF-8 became replacement characters.
        [[ssl_alpn => "\xe9"], ["\xe9"], "\xe9", 'names are octets'],
        [[ssl_alpn => ''], [qw(h2)], undef, 'an empty ssl_alpn: the offer is left without an answer'],
        [[ssl_alpn => []], [qw(h2)], undef, 'the same as a list'],
    ) {
        my ($listen, $offer, $expected, $what) = @$_;
        is_deeply negotiated($listen, $offer), [undef, $expected, $expected], $what;
    }
    for ([[], ['h2'], 'a listener'], [[ssl_alpn => 'a'], ['http/1.1'], 'one with ssl_alpn']) {
        my ($listen, $offer, $what) = @$_;
        like negotiated($listen, $offer)->[0], qr/no application protocol/, "$what refuses those who offer only others";
    }
    my $context = EV::Websockets::Context->new;
    croaks_like { $context->listen(%listen, ssl_alpn => ['']) }
        qr/\Alisten: a name in ssl_alpn must have 1 to 255 bytes/, 'an empty name';
    croaks_like { $context->listen(%listen, ssl_alpn => 'x' x 256) }
        qr/\Alisten: a name in ssl_alpn must have 1 to 255 bytes/, 'a long one';
    croaks_with { $context->listen(%listen, ssl_alpn => undef) } "listen: option 'ssl_alpn' must be a defined string", 'undef';
    croaks_with { $context->listen(ssl_alpn => 'a') } 'listen: ssl_alpn is for TLS, which needs ssl_cert and ssl_key', 'without TLS';
};

finish;
