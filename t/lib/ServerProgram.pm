package ServerProgram;

# A server in a process of its own, on a port of 127.0.0.1, for as long as the
# object lives: proxies, load balancers, databases.

use strict;
use warnings;
use Children;
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

# new(sub { my ($port) = @_; return @command }, $port): undef if it does not
# come up. Without a port, one that is free.
sub new {
    my ($class, $command, $port) = @_;
    # Another process may take the port between looking for it and using it.
    for (1 .. 5) {
        my $self = bless { port => $port || RawServer::unused_port(), owner => $$, output => File::Temp->new }, $class;
        $self->{pid} = $self->_start($command->($self->{port}));
        return $self if wait_until(sub { $self->_is_up || $self->_has_ended }) && $self->{pid};
    }
    return undef;
}

# configured(sub { my ($port) = @_; return $text }, sub { my ($file) = @_; return @command })
sub configured {
    my ($class, $text, $command) = @_;
    my $file = File::Temp->new;
    return $class->new(sub {
        my ($port) = @_;
        seek $file, 0, 0;
        truncate $file, 0;
        print {$file} $text->($port);
        $file->flush;
        return $command->($file->filename);
    });
}

sub tinyproxy {
    my ($class, @settings) = @_;
    return $class->configured(
        sub { return map { "$_\n" } "Port $_[0]", 'Listen 127.0.0.1', 'Timeout 60', 'MaxClients 20', @settings },
        sub { return (find('tinyproxy'), '-d', '-c', $_[0]) },
    );
}

sub microsocks {
    my ($class, @options) = @_;
    return $class->new(sub { return (find('microsocks'), '-i', '127.0.0.1', '-p', $_[0], @options) });
}

sub _start {
    my ($self, @command) = @_;
    my $pid = fork;
    die "fork: $!" if !defined $pid;
    if ($pid) {
        Children::keep($pid);
        return $pid;
    }
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
    Children::ended(delete $self->{pid});
    return 1;
}

sub port { return $_[0]{port} }

# What it has printed.
sub output {
    my ($self) = @_;
    open my $again, '<', $self->{output}->filename or die "open: $!";
    local $/;
    return scalar <$again>;
}

# Asks it to end, and waits for that. Its status, as in $?.
sub terminate {
    my ($self) = @_;
    my $pid = $self->{pid} or return;
    my $status;
    local $?;
    kill TERM => $pid;
    wait_until(sub { waitpid($pid, POSIX::WNOHANG()) == $pid and defined($status = $?) }) or return;
    Children::ended(delete $self->{pid});
    return $status;
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
