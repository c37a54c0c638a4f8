use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

use Attempt;
use Certificates;
use EV;
use EV::Websockets;
use File::Temp qw(tempdir);
use OpenSSLPeer;
use Run;

# What a client makes of servers whose certificates are no good, as badssl.com
# has them; and where its roots come from.

my $made = Certificates->new;
$made->ca($_) for qw(ca other);
$made->ca('middle', issuer => 'ca');
$made->issue('good',  issuer => 'ca');
$made->issue('below', issuer => 'middle');
$made->issue('client_only', issuer => 'ca', extensions => "extendedKeyUsage=clientAuth\n");
$made->issue('no_names', issuer => 'ca', san => undef);
$made->issue('weak_key', issuer => 'ca', kind => 'rsa1024');
$made->ca('weak_ca', kind => 'rsa1024');
$made->issue('of_weak_ca', issuer => 'weak_ca');
$made->issue('sha1', issuer => 'ca', digest => 'sha1');
$made->issue('future', issuer => 'ca', from => '20900101000000Z', to => '20910101000000Z');
my $ca = $made->file('ca.pem');

# What a client with these options says to a server of openssl with that certificate.
sub verdict {
    my ($name, @options) = @_;
    my ($peer, $port) = OpenSSLPeer->server($made, $name, '-cipher', 'DEFAULT:@SECLEVEL=0');
    my $error = outcome(EV::Websockets::Context->new, "wss://127.0.0.1:$port/", @options);
    $peer->stop;
    return $error;
}

for (
    ['future',      'ca.pem', 'one that is not valid yet', qr/certificate not valid yet/],
    ['below',       'ca.pem', 'a chain with a gap',        qr/unknown issuer/],
    ['good',        'other.pem', 'one of an unknown CA',   qr/unknown issuer/],
    ['client_only', 'ca.pem', 'one for clients only',      qr/certificate does not allow .* server authentication/],
    ['no_names',    'ca.pem', 'a common name alone',       qr/certificate not valid for name "127\.0\.0\.1".*not valid for any names/],
    ['sha1',        'ca.pem', 'one signed with SHA-1',     qr/signed with an algorithm that is not accepted/],
    ['weak_key',    'ca.pem', 'a key of 1024 bits',        qr/bad signature .*2048 bits/],
    ['of_weak_ca',  'weak_ca.pem', 'a CA with such a key', qr/bad signature .*2048 bits/],
) {
    my ($name, $roots, $what, $why) = @$_;
    like verdict($name, ssl_ca => $made->file($roots)), qr/\ATLS handshake with 127\.0\.0\.1: invalid peer certificate: $why/,
        "$what is refused, in words";
}
is verdict('good', ssl_ca => $ca, connect_timeout => 1), 'connect timeout', 'a good one is not, but openssl is no WebSocket server';

croaks_like { EV::Websockets::Context->new->listen($made->listen_with('weak_key')) }
    qr/\AFailed to create vhost for listening: ssl_key '\S*weak_key\.key': /, 'listen does not take a weak key either';

subtest 'SSL_CERT_DIR and SSL_CERT_FILE' => sub {
    my $context = EV::Websockets::Context->new;
    my $url = 'wss://127.0.0.1:' . $context->listen($made->listen_with('good')) . '/';
    # As c_rehash would make it: files are found by the hash of their subject.
    my $folder = sub {
        my ($name) = @_;
        my $folder = tempdir(CLEANUP => 1);
        my $hash = qx(openssl x509 -noout -hash -in '@{[ $made->file("$name.pem") ]}');
        chomp $hash;
        open my $out, '>', "$folder/$hash.0" or die "$folder: $!";
        print {$out} $made->read("$name.pem");
        close $out;
        return $folder;
    };
    local @ENV{qw(SSL_CERT_FILE SSL_CERT_DIR)};
    delete @ENV{qw(SSL_CERT_FILE SSL_CERT_DIR)};
    $ENV{SSL_CERT_DIR} = $folder->('ca');
    is outcome(EV::Websockets::Context->new, $url), undef, 'a folder of roots';
    $ENV{SSL_CERT_DIR} = $folder->('other');
    like outcome(EV::Websockets::Context->new, $url), qr/unknown issuer/, 'and of others';
    $ENV{SSL_CERT_FILE} = $ca;
    is outcome(EV::Websockets::Context->new, $url), undef, 'a file beside it';
};

finish;
