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
use Interop qw(peer_node peer_python);
use Interop::Child;
use OpenSSLPeer;
use Run;

# Listeners that ask their clients for certificates.

my $made = Certificates->new;
$made->ca($_) for qw(ca other);
$made->issue('server', issuer => 'ca');
$made->issue('alice',  issuer => 'ca', san => undef);
$made->issue('old',    issuer => 'ca', san => undef, days => -1);
$made->issue('mallory', issuer => 'other', san => undef);
$made->issue('web', issuer => 'ca', extensions => "extendedKeyUsage=serverAuth\n");
$made->ca('middle', issuer => 'ca');
$made->issue('below', issuer => 'middle', san => undef);
$made->issue('self', issuer => 'self', san => undef, extensions => "basicConstraints=critical,CA:TRUE\n");
$made->write('chain.pem', $made->read('below.pem'), $made->read('middle.pem'));
$made->write('chain.key', $made->read('below.key'));
my $ca     = $made->file('ca.pem');
my %listen = $made->listen_with('server');

my $server  = Events->new;
my $context = EV::Websockets::Context->new(ssl_ca => $ca);
my %port    = map {
    $_ => $context->listen(%listen, ssl_verify_client => $_, ssl_client_ca => $ca, protocol => 'v2.interop', $server->handlers)
} 1, 'optional', 0;

sub identity { return defined $_[0] ? $made->listen_with($_[0]) : () }

# [whether it got in, the server's view of it], by a client that shows this certificate.
sub visit {
    my ($verify, $name, @more) = @_;
    $server->forget;
    my $tls;
    my $error = outcome(
        $context, "wss://localhost:$port{$verify}/", identity($name), @more,
        then => sub {
            run_until(sub { $server->count('connect') }, 'the server has it too');
            $tls = $server->conn->tls;
        },
    );
    run_until(sub { $server->count('close') }, 'and has seen the end') if !defined $error;
    return ($error, $tls);
}

subtest 'whom 1 lets in' => sub {
    my ($error, $tls) = visit(1, 'alice');
    is $error, undef, 'a certificate of the CA';
    ok $tls->{peer_certificate} eq $made->der('alice'), 'which $conn->tls has';
    is $tls->{verified}, 1, 'as verified';
    is +(visit(1, 'chain'))[0], undef, 'one by way of a CA in between, which the client sends';
    for (
        [undef,     qr/certificate required/, 'not one without'],
        ['below',   qr/unknown CA/,           'not one whose chain has a gap'],
        ['mallory', qr/unknown CA/,           'not one of another CA'],
        ['self',    qr/certificate unknown/,  'not one that signs itself'],
        ['old',     qr/certificate expired/,  'not one that is over'],
        ['web',     qr/alert/,               'not one for servers only'],
    ) {
        my ($name, $why, $what) = @$_;
        like +(visit(1, $name))[0], $why, $what;
        is $server->order, '', 'of which the server is not told';
    }
};

subtest "whom 'optional' lets in" => sub {
    my ($error, $tls) = visit('optional', 'alice');
    is $error, undef, 'a certificate of the CA';
    ok $tls->{peer_certificate} eq $made->der('alice'), 'which $conn->tls has';
    ($error, $tls) = visit('optional', undef);
    is $error, undef, 'also somebody without';
    is_deeply [@$tls{qw(peer_certificate verified)}], [undef, 0], 'which $conn->tls says';
    like +(visit('optional', 'mallory'))[0], qr/unknown CA/, 'but not a bad certificate';
    like +(visit('optional', 'old'))[0], qr/certificate expired/, 'nor one that is over';
};

subtest 'whom 0 lets in' => sub {
    for my $name ('alice', 'mallory', undef) {
        my ($error, $tls) = visit(0, $name);
        is $error, undef, 'everybody';
        is_deeply [@$tls{qw(peer_certificate verified)}], [undef, 0], 'and nobody is asked';
    }
};

subtest 'a certificate that is in ssl_client_ca itself' => sub {
    my $pinned = $context->listen(%listen, ssl_verify_client => 1, ssl_client_ca => $made->file('self.pem'));
    my $url = "wss://localhost:$pinned/";
    is outcome($context, $url, identity('self')), undef, 'is trusted';
    like outcome($context, $url, identity('alice')), qr/unknown CA/, 'and no other';
};

# A ticket tells the server who it was given to, without another look at the
# certificate. So it must say so, and must open no other door.
subtest 'sessions that are resumed' => sub {
    my %identity = identity('alice');
    my $fresh = EV::Websockets::Context->new(ssl_ca => $ca, %identity);
    my $at = sub {
        my ($port) = @_;
        $server->forget;
        my ($ours, $theirs);
        my $error = outcome($fresh, "wss://localhost:$port/", then => sub {
            my ($conn) = @_;
            run_until(sub { $server->count('connect') }, 'the server has it too');
            ($ours, $theirs) = ($conn->tls, $server->conn->tls);
            # Tickets come behind the handshake.
            $server->conn->send('x');
            settle();
        });
        return ($error, $ours, $theirs);
    };
    my ($error, $ours, $theirs) = $at->($port{1});
    is $ours->{resumed}, 0, 'the first time it is new';
    ($error, $ours, $theirs) = $at->($port{1});
    is_deeply [map { $_->{resumed} } $ours, $theirs], [1, 1], 'the second time it is resumed';
    ok $theirs->{peer_certificate} eq $made->der('alice'), 'and the server knows whose it is';
    is $theirs->{verified}, 1, 'as verified';
    my $narrow = $context->listen(%listen, ssl_verify_client => 1, ssl_client_ca => $made->file('other.pem'), $server->handlers);
    ($error, $ours, $theirs) = $at->($narrow);
    like $error, qr/unknown CA/, 'a listener with another CA does not take the ticket';
};

subtest 'TLS 1.2 and 1.3, openssl as client' => sub {
    for my $version ('-tls1_2', '-tls1_3') {
        for my $name ('alice', 'mallory', undef) {
            $server->forget;
            my @identity = $name ? ('-cert', $made->file("$name.pem"), '-key', $made->file("$name.key")) : ();
            my $peer = OpenSSLPeer->client($made, $port{1}, $ca, $version, @identity);
            $peer->raw->upgrade;
            run_until(sub { $peer->raw->eof || $server->count('connect') }, "$version, " . ($name || 'nobody') . ': decided');
            if (($name || '') eq 'alice') {
                is $server->count('connect'), 1, 'let in' or next;
                my $tls = $server->conn->tls;
                is $tls->{version}, $version eq '-tls1_2' ? 'TLSv1.2' : 'TLSv1.3', 'by that version';
                ok $tls->{peer_certificate} eq $made->der('alice'), 'with its certificate';
                $peer->stop;
                run_until(sub { $server->count('close') }, 'gone');
            }
            else {
                is $server->count('connect'), 0, 'not let in';
                like $peer->said, qr/alert/, 'by an alert';
            }
        }
    }
};

for (['Python websockets', peer_python()], ['Node ws', peer_node()]) {
    my ($name, @peer) = @$_;
    subtest "$name as client" => sub {
        plan skip_all => 'it is not installed' if !@peer;
        local $ENV{SSL_CERT_FILE} = local $ENV{NODE_EXTRA_CA_CERTS} = $ca;
        local $ENV{EVWS_PEER_CERT} = $made->file('alice.pem');
        local $ENV{EVWS_PEER_KEY}  = $made->file('alice.key');
        $server->forget;
        my $client = Interop::Child->new(@peer, 'client', "wss://localhost:$port{1}/");
        run_until(sub { $server->count('connect') }, 'let in');
        ok $server->conn->tls->{peer_certificate} eq $made->der('alice'), 'with its certificate';
        $server->conn->close(4000, 'seen');
        is_deeply $client->closed, [4000, 'seen'], 'and a conversation';
    };
}

my $not_der = $made->write('not_der.pem', "-----BEGIN CERTIFICATE-----\nQUJDRA==\n-----END CERTIFICATE-----\n");
my $empty   = $made->write('empty.pem', '');
for (
    [[%listen, ssl_verify_client => 1], qr/listen: ssl_verify_client needs ssl_client_ca/],
    [[%listen, ssl_verify_client => 'optional'], qr/listen: ssl_verify_client needs ssl_client_ca/],
    [[%listen, ssl_client_ca => $ca], qr/listen: ssl_client_ca needs ssl_verify_client/],
    [[ssl_verify_client => 1, ssl_client_ca => $ca], qr/listen: ssl_verify_client is for TLS, which needs ssl_cert and ssl_key/],
    [[ssl_verify_client => 0, ssl_client_ca => $ca], qr/listen: ssl_client_ca is for TLS, which needs ssl_cert and ssl_key/],
    (map { [[%listen, ssl_client_ca => $ca, ssl_verify_client => $_->[0]],
        qr/listen: ssl_verify_client must be 0, 1 or 'optional' \(got '$_->[1]'\)/] }
        ['yes', 'yes'], ['', ''], [2, 2], [-1, -1], [0.5, '0\.5'], ['nan', 'nan'], [undef, 'undef'], [[], 'ARRAY.*'], ['Optional', 'Optional']),
    [[%listen, ssl_verify_client => 1, ssl_client_ca => undef], qr/listen: option 'ssl_client_ca' must be a defined string/],
    [[%listen, ssl_verify_client => 1, ssl_client_ca => []], qr/listen: ssl_client_ca must be a string \(got 'ARRAY/],
    [[%listen, ssl_verify_client => 1, ssl_client_ca => '/no/ca.pem'],
        qr{\Alisten: cannot read ssl_client_ca '/no/ca\.pem': No such file}],
    [[%listen, ssl_verify_client => 1, ssl_client_ca => $empty],
        qr{\Alisten: ssl_client_ca '.*empty\.pem': there is no PEM certificate}],
    [[%listen, ssl_verify_client => 1, ssl_client_ca => $not_der],
        qr{\Alisten: ssl_client_ca '.*not_der\.pem': }],
    [[%listen, ssl_verify_client => 1, ssl_client_ca => $made->file('alice.key')],
        qr{\Alisten: ssl_client_ca '.*alice\.key': there is no PEM certificate}],
) {
    my ($options, $why) = @$_;
    my %given = @$options;
    croaks_like { $context->listen(@$options) } qr/\A$why/, join ', ', map { "$_ " . (defined $given{$_} ? $given{$_} : 'undef') }
        grep { exists $given{$_} } qw(ssl_verify_client ssl_client_ca);
}
for my $no (0, '0', !!0) {
    my $port = $context->listen(%listen, ssl_verify_client => $no);
    is outcome($context, "wss://localhost:$port/"), undef, "'$no' is no";
}
for my $yes ('1', !!1) {
    my $port = $context->listen(%listen, ssl_verify_client => $yes, ssl_client_ca => $ca);
    like outcome($context, "wss://localhost:$port/"), qr/certificate required/, "'$yes' is yes";
}

finish;
