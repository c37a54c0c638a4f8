package ProxyServer;

# A proxy program of the system, on a port of 127.0.0.1, for as long as the
# object lives.

use strict;
use warnings;
use File::Spec;
use File::Temp;
use IO::Socket::INET;
use POSIX ();
use RawServer;
use Run;

# Where a program of that name is, if it is installed.
sub find {
    my ($program) = @_;
    my ($found) = grep { -x $_ } map { File::Spec->catfile($_, $program) } File::Spec->path, '/usr/sbin', '/usr/local/bin';
    return $found;
}

# new(sub { my ($port) = @_; return @command }): undef if it does not come up.
sub new {
    my ($class, $command) = @_;
    # Another process may take the port between looking for it and using it.
    for (1 .. 5) {
        my $self = bless { port => RawServer::unused_port(), owner => $$, output => File::Temp->new }, $class;
        $self->{pid} = $self->_start($command->($self->{port}));
        return $self if wait_until(sub { $self->_is_up || $self->_has_ended }) && $self->{pid};
    }
    return undef;
}

sub tinyproxy {
    my ($class, @settings) = @_;
    my $file = File::Temp->new;
    return $class->new(sub {
        my ($port) = @_;
        seek $file, 0, 0;
        truncate $file, 0;
        print {$file} map { "$_\n" } "Port $port", 'Listen 127.0.0.1', 'Timeout 60', 'MaxClients 20', @settings;
        $file->flush;
        return (find('tinyproxy'), '-d', '-c', $file->filename);
    });
}

sub microsocks {
    my ($class, @options) = @_;
    return $class->new(sub { return (find('microsocks'), '-i', '127.0.0.1', '-p', $_[0], @options) });
}

sub _start {
    my ($self, @command) = @_;
    my $pid = fork;
    die "fork: $!" if !defined $pid;
    return $pid if $pid;
    open STDIN,  '<',  File::Spec->devnull;
    open STDOUT, '>&', $self->{output};
    open STDERR, '>&', $self->{output};
    { no warnings 'exec'; exec { $command[0] } @command }
    POSIX::_exit(127);
}

sub _is_up { return IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $_[0]{port}) }

sub _has_ended {
    my ($self) = @_;
    return 0 if waitpid($self->{pid}, POSIX::WNOHANG()) == 0;
    delete $self->{pid};
    return 1;
}

sub port { return $_[0]{port} }

sub stop {
    my ($self) = @_;
    my $pid = delete $self->{pid} or return;
    local $?;
    kill KILL => $pid;
    waitpid $pid, 0;
}

sub DESTROY {
    my ($self) = @_;
    $self->stop if $self->{owner} == $$;
}

1;
