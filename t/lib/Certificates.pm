package Certificates;

# A CA and certificates of its own, made by openssl for one test file in a
# temporary folder. Nothing of them is kept.

use strict;
use warnings;
use File::Spec;
use File::Temp ();
use POSIX ();
use Test::More;

# Skips the whole file where there is no openssl.
sub new {
    my ($class) = @_;
    my $self = bless { folder => File::Temp->newdir, serial => 1 }, $class;
    plan(skip_all => 'the program openssl is not installed')
        if !eval { $self->openssl('version'); 1 };
    return $self;
}

sub file { return File::Spec->catfile("$_[0]{folder}", $_[1]) }

sub write {
    my ($self, $name, @content) = @_;
    open my $out, '>', $self->file($name) or die "$name: $!";
    print {$out} @content;
    close $out or die "$name: $!";
    return $self->file($name);
}

sub read {
    my ($self, $name) = @_;
    open my $in, '<', $self->file($name) or die "$name: $!";
    local $/;
    return scalar <$in>;
}

# Runs it in the folder, and dies with what it has said unless it succeeds.
sub openssl {
    my ($self, @arguments) = @_;
    my $log = $self->file('openssl.log');
    my $pid = fork;
    die "fork: $!" if !defined $pid;
    if (!$pid) {
        open STDIN,  '<', File::Spec->devnull;
        open STDOUT, '>', $log;
        open STDERR, '>&', \*STDOUT;
        chdir "$self->{folder}" or POSIX::_exit(126);
        { no warnings 'exec'; exec 'openssl', @arguments }
        POSIX::_exit(127);
    }
    waitpid $pid, 0;
    die "openssl @arguments: " . $self->read('openssl.log') if $?;
    return;
}

my %KEY = (
    ec      => [qw(genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256)],
    rsa     => [qw(genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048)],
    rsa1024 => [qw(genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024)],
    ed25519 => [qw(genpkey -algorithm ED25519)],
);

# NAME.key
sub key {
    my ($self, $name, $kind) = @_;
    $self->openssl(@{ $KEY{ $kind || 'ec' } }, '-out', "$name.key");
    return $self->file("$name.key");
}

# A CA, itself signed by `issuer` if there is one: NAME.pem, NAME.key.
sub ca {
    my ($self, $name, %o) = @_;
    return $self->issue($name, issuer => $name, extensions => "basicConstraints=critical,CA:TRUE\n", san => undef, %o);
}

# NAME.pem and NAME.key, signed by `issuer`. Options: san, kind (of the key),
# days, digest, extensions; from and to, as YYYYMMDDHHMMSSZ, in place of days.
sub issue {
    my ($self, $name, %o) = @_;
    %o = (san => 'IP:127.0.0.1,DNS:localhost', days => 30, extensions => '', %o);
    my $san = defined $o{san} ? "subjectAltName=$o{san}\n" : '';
    $self->write("$name.ext", $san, $o{extensions}, "subjectKeyIdentifier=hash\n");
    $self->key($name, $o{kind});
    $self->openssl(qw(req -new -subj), "/CN=$name", '-key', "$name.key", '-out', "$name.csr");
    return $self->_issue_between($name, %o) if $o{from};
    my @signer = $o{issuer} eq $name
        ? ('-signkey', "$name.key")
        : ('-CA', "$o{issuer}.pem", '-CAkey', "$o{issuer}.key");
    push @signer, "-$o{digest}" if $o{digest};
    $self->openssl(qw(x509 -req -in), "$name.csr", @signer, '-set_serial', ++$self->{serial},
        '-days', $o{days}, '-extfile', "$name.ext", '-out', "$name.pem");
    return;
}

# Only "openssl ca" knows both dates, and it wants a folder and a file of its own.
sub _issue_between {
    my ($self, $name, %o) = @_;
    $self->write('index.txt', '');
    $self->write('ca.cnf', "[ca]\ndefault_ca=here\n[here]\ndatabase=index.txt\nnew_certs_dir=.\npolicy=any\n"
        . "rand_serial=yes\ndefault_md=sha256\n[any]\ncommonName=supplied\n");
    $self->openssl(qw(ca -batch -notext -config ca.cnf -cert), "$o{issuer}.pem", '-keyfile', "$o{issuer}.key",
        '-startdate', $o{from}, '-enddate', $o{to}, '-extfile', "$name.ext", '-in', "$name.csr", '-out', "$name.pem");
    return;
}

# Makes a server's certificate which the clients of both sides trust from here
# on, and which a peer in a process of its own serves too. The options of listen.
sub for_both_roles {
    my ($self) = @_;
    $self->ca('ca');
    $self->issue('server', issuer => 'ca');
    $ENV{SSL_CERT_FILE} = $ENV{NODE_EXTRA_CA_CERTS} = $self->file('ca.pem');
    $ENV{EVWS_PEER_CERT} = $self->file('server.pem');
    $ENV{EVWS_PEER_KEY}  = $self->file('server.key');
    return $self->listen_with('server');
}

# A certificate as $conn->tls has it.
sub der {
    my ($self, $name) = @_;
    $self->openssl(qw(x509 -outform DER -in), "$name.pem", '-out', "$name.der");
    return $self->read("$name.der");
}

# The options of listen for a certificate.
sub listen_with {
    my ($self, $name) = @_;
    return (ssl_cert => $self->file("$name.pem"), ssl_key => $self->file("$name.key"));
}

1;
