package Certificate;

# A certificate for 127.0.0.1 that openssl makes for one run, and what listen and connect are given of it.

use strict;
use warnings;
use File::Temp ();

my %KEY = (ecdsa => [qw(ec -pkeyopt ec_paramgen_curve:P-256)], rsa => ['rsa:2048']);

sub new {
    my ($class, $kind) = @_;
    $KEY{$kind} or die "a certificate's key is one of " . join(', ', sort keys %KEY) . ", not '$kind'\n";
    my $folder = File::Temp->newdir;
    my $self   = bless { folder => $folder, cert => "$folder/cert.pem", key => "$folder/key.pem" }, $class;
    my @make   = (
        qw(openssl req -x509 -nodes -days 2 -subj /CN=bench -addext subjectAltName=IP:127.0.0.1 -newkey),
        @{ $KEY{$kind} }, '-keyout', $self->{key}, '-out', $self->{cert},
    );
    system("@make >'$folder/log' 2>&1") == 0 or die "openssl cannot make a certificate: see @make\n";
    # For a program that goes on as another user.
    chmod 0755, "$folder";
    chmod 0644, $self->{key};
    return $self;
}

sub server { return (ssl_cert => $_[0]{cert}, ssl_key => $_[0]{key}) }
sub client { return (ssl_ca => $_[0]{cert}) }

1;
