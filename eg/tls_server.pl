#!/usr/bin/env perl
# A wss:// server as it is in earnest: a CA, an intermediate CA, a certificate for
# the server, and a client that trusts the CA. openssl makes all of them.
#
#   perl eg/tls_server.pl                      a client of its own, and the end
#   perl eg/tls_server.pl CHAIN.pem KEY.pem    serves with your files until Ctrl-C, and
#                                              reads them again when it gets a SIGHUP
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../blib/lib", "$FindBin::Bin/../blib/arch";
use EV;
use EV::Websockets;
use File::Temp;

my $folder = File::Temp->newdir;

sub openssl {
    my ($arguments) = @_;
    system("cd '$folder' && openssl $arguments >/dev/null 2>&1") == 0
        or die "openssl $arguments: failed\n";
}

# Signs NAME.pem with ISSUER's key. A certificate that names hosts is a server's.
sub certificate {
    my ($name, $issuer, $extensions) = @_;
    open my $out, '>', "$folder/$name.ext" or die "$name.ext: $!\n";
    print {$out} $extensions;
    close $out;
    openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out $name.key");
    openssl("req -new -subj '/CN=$name' -key $name.key -out $name.csr");
    openssl("x509 -req -in $name.csr -days 1 -extfile $name.ext -out $name.pem"
        . ($issuer ? " -CA $issuer.pem -CAkey $issuer.key -CAcreateserial" : " -signkey $name.key"));
}

my ($cert, $key) = @ARGV;
my @further;
if (!$cert) {
    certificate('root', undef, "basicConstraints=critical,CA:TRUE\n");
    certificate('intermediate', 'root', "basicConstraints=critical,CA:TRUE\n");
    certificate('server', 'intermediate', "subjectAltName=DNS:localhost,IP:127.0.0.1\n");
    ($cert, $key) = ("$folder/server.pem", "$folder/server.key");
    # The client knows the root only, so it must be sent what lies between. Where
    # that stands in the file of the certificate already, ssl_ca is not needed.
    @further = (ssl_ca => "$folder/intermediate.pem");
}

my $ctx  = EV::Websockets::Context->new;
my $port = $ctx->listen(
    host             => '127.0.0.1',
    limits           => 'public',
    ssl_cert         => $cert,
    ssl_key          => $key,
    @further,
    max_message_size => 64 * 1024,
    on_connect       => sub { print "server: a client came from ", $_[0]->peer_address, "\n" },
    on_message       => sub { $_[2] ? $_[0]->send_binary($_[1]) : $_[0]->send($_[1]) },
);
print "server: listening on wss://localhost:$port/\n";

# For certificates that are renewed while the server runs.
my $renewed = @ARGV && EV::signal('HUP', sub {
    if (eval { $ctx->reload_tls($port); 1 }) { print "server: has read its files again\n" }
    else                                     { warn "server: keeps what it has: $@" }
});

if (!@ARGV) {
    $ctx->connect(
        url        => "wss://localhost:$port/",
        ssl_ca     => "$folder/root.pem",
        on_connect => sub { print "client: the server is who it says\n"; $_[0]->send('hello') },
        on_message => sub { print "client: got '$_[1]' back\n"; $_[0]->close(1000, 'done') },
        on_close   => sub { print "client: closed with code $_[1]\n"; EV::break },
        on_error   => sub { print "client: failed: $_[1]\n"; EV::break },
    );
}
EV::run;
