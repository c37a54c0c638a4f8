package OpenSSLPeer;

# The program openssl as one end of a TLS connection: s_client or s_server, with
# a RawPeer on its standard input and output, so that the test makes the frames.

use strict;
use warnings;
use Children;
use IO::Socket::INET;
use POSIX ();
use RawPeer;
use RawServer;
use Run;
use Socket;

my $count = 0;

# $made are the Certificates, whose folder takes what openssl says of itself;
# $role is that of the RawPeer.
sub new {
    my ($class, $made, $role, @arguments) = @_;
    socketpair my $ours, my $theirs, AF_UNIX, SOCK_STREAM, PF_UNSPEC or die "socketpair: $!";
    my $said = $made->file('peer.' . ++$count);
    my $pid = fork;
    die "fork: $!" if !defined $pid;
    if (!$pid) {
        open STDIN,  '<&', $theirs;
        open STDOUT, '>&', $theirs;
        open STDERR, '>', $said;
        { no warnings 'exec'; exec 'openssl', @arguments }
        POSIX::_exit(127);
    }
    close $theirs;
    Children::keep($pid);
    return bless { pid => $pid, owner => $$, said => $said, raw => RawPeer->new($ours, role => $role) }, $class;
}

# A client that believes $ca and no other.
sub client {
    my ($class, $made, $port, $ca, @more) = @_;
    return $class->new($made, 'client', qw(s_client -quiet -verify_quiet -verify_return_error -connect), "127.0.0.1:$port",
        '-CAfile', $ca, @more);
}

# A server on a free port; returns ($peer, $port).
sub server {
    my ($class, $made, $name, @more) = @_;
    my $port = RawServer::unused_port();
    my $peer = $class->new($made, 'server', qw(s_server -quiet -verify_quiet -accept), "127.0.0.1:$port",
        '-cert', $made->file("$name.pem"), '-key', $made->file("$name.key"), @more);
    # It says nothing when it is ready: a connection is tried until one is accepted.
    run_until(sub { IO::Socket::INET->new("127.0.0.1:$port") || waitpid($peer->{pid}, POSIX::WNOHANG()) },
        'openssl s_server is there');
    return ($peer, $port);
}

sub raw { return $_[0]{raw} }

sub said {
    my ($self) = @_;
    open my $in, '<', $self->{said} or die "$self->{said}: $!";
    local $/;
    return scalar <$in>;
}

sub stop {
    my ($self) = @_;
    my $pid = delete $self->{pid} or return;
    Children::end($pid, 'KILL', 10);
    return;
}

sub DESTROY {
    my ($self) = @_;
    $self->stop if $self->{owner} == $$ && !Children::is_global_destruction();
}

1;
