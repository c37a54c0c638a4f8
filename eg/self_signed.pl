#!/usr/bin/env perl
# wss:// with a certificate that signs itself: what a client says to it, and how
# it is made to trust this one and no other. openssl makes the certificate.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../blib/lib", "$FindBin::Bin/../blib/arch";
use EV;
use EV::Websockets;
use File::Temp;

my $folder = File::Temp->newdir;
my ($cert, $key) = ("$folder/cert.pem", "$folder/key.pem");
system("openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost"
    . " -addext subjectAltName=DNS:localhost,IP:127.0.0.1"
    . " -keyout '$key' -out '$cert' 2>/dev/null") == 0
    or die "openssl cannot make a certificate\n";

my $ctx  = EV::Websockets::Context->new;
my $port = $ctx->listen(
    host       => ['127.0.0.1', '::1'],
    limits     => 'public',
    ssl_cert   => $cert,
    ssl_key    => $key,
    on_message => sub { $_[0]->send("echo of $_[1]") },
);

# Connects, says something, and calls $next when that has come to its end.
sub attempt {
    my ($how, $host, $options, $next) = @_;
    $ctx->connect(
        url        => "wss://$host:$port/",
        %$options,
        on_connect => sub { $_[0]->send('hello') },
        on_message => sub { print "$how: $_[1]\n"; $_[0]->close },
        on_error   => sub { print "$how: refused: $_[1]\n"; $next->() },
        on_close   => sub { $next->() },
    );
}

my @attempts = (
    # A client believes only those whom a root of the system has signed.
    ['the roots of the system', 'localhost', {}],
    # Naming the certificate itself is enough, and nothing else is trusted then.
    ['this certificate', 'localhost', { ssl_ca => $cert }],
    # Its dates and names count all the same: [::1] is not one of them.
    ['another name', '[::1]', { ssl_ca => $cert }],
    # Whoever turns verification off talks to anybody. For tests only.
    ['no verification', '[::1]', { ssl_verify => 0 }],
);

sub go_on {
    my $next = shift @attempts or return EV::break;
    attempt(@$next, \&go_on);
}
go_on();
EV::run;
