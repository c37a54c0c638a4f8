#!/usr/bin/env perl
# A server that knows its clients by their certificates: a CA signs one for each
# of them, nobody else gets in, and the name in it says who is there. openssl
# makes the certificates, and reads the names.
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
    my $output = `cd '$folder' && openssl $arguments 2>/dev/null`;
    die "openssl $arguments: failed\n" if $?;
    return $output;
}

# NAME.pem and NAME.key, signed by ISSUER.
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

# "alice" from a certificate in DER.
sub name_in {
    my ($der) = @_;
    open my $out, '>:raw', "$folder/shown.der" or die "shown.der: $!\n";
    print {$out} $der;
    close $out;
    my ($name) = openssl('x509 -inform DER -in shown.der -noout -subject -nameopt multiline') =~ /commonName\s*=\s*(.*)/;
    return $name;
}

certificate('ca', undef, "basicConstraints=critical,CA:TRUE\n");
certificate('server', 'ca', "subjectAltName=DNS:localhost,IP:127.0.0.1\n");
certificate($_, 'ca', "extendedKeyUsage=clientAuth\n") for qw(alice bob);
# A CA that anybody can make.
certificate('other', undef, "basicConstraints=critical,CA:TRUE\n");
certificate('mallory', 'other', "extendedKeyUsage=clientAuth\n");

my %may_enter = (alice => 1);

my $ctx  = EV::Websockets::Context->new(ssl_ca => "$folder/ca.pem");
my $port = $ctx->listen(
    host              => '127.0.0.1',
    limits            => 'public',
    ssl_cert          => "$folder/server.pem",
    ssl_key           => "$folder/server.key",
    ssl_verify_client => 1,
    ssl_client_ca     => "$folder/ca.pem",
    on_connect        => sub {
        my ($conn) = @_;
        # It was verified already. What is left is to say who may do what.
        my $name = $conn->stash->{name} = name_in($conn->tls->{peer_certificate});
        print "server: $name is here\n";
        $conn->close(1008, "$name may not enter") if !$may_enter{$name};
    },
    on_message => sub { my ($conn, $text) = @_; $conn->send("$text, " . $conn->stash->{name}) },
);

# Connects as somebody, and calls $next when that has come to its end.
sub attempt {
    my ($name, $next) = @_;
    my @identity = $name eq 'nobody' ? () : (ssl_cert => "$folder/$name.pem", ssl_key => "$folder/$name.key");
    $ctx->connect(
        url        => "wss://localhost:$port/",
        @identity,
        on_connect => sub { $_[0]->send('hello') },
        on_message => sub { print "$name: got '$_[1]'\n"; $_[0]->close },
        on_close   => sub { print "$name: closed with $_[1]", defined $_[2] ? " ($_[2])" : '', "\n"; $next->() },
        on_error   => sub { print "$name: not let in: $_[1]\n"; $next->() },
    );
}

my @attempts = qw(alice bob mallory nobody);

sub go_on {
    my $name = shift @attempts or return EV::break;
    attempt($name, \&go_on);
}
go_on();
EV::run;
