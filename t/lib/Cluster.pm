package Cluster;

# A redis-server of our own, and processes (t/peers/backplane.pl) that a Backplane connects through it.

use strict;
use warnings;
use Children;
use Cwd qw(abs_path);
use EV;
use File::Temp;
use FindBin;
use IO::Handle;
use IO::Socket::UNIX;
use POSIX ();
use Run;
use ServerProgram;

# Clients of Redis that are here: ours, and those that are installed.
sub clients {
    return ('OwnRedis', grep { my $name = $_; (my $file = "$name.pm") =~ s{::}{/}g; eval { require $file } } 'AnyEvent::Redis', 'EV::Redis');
}

sub new {
    my ($class, @redis_options) = @_;
    my $self = bless { dir => File::Temp->newdir, options => \@redis_options, owner => $$, nodes => {} }, $class;
    $self->{socket} = "$self->{dir}/redis.sock";
    $self->start_redis or return undef;
    return $self;
}

sub dir { return "$_[0]{dir}" }

sub socket { return $_[0]{socket} }

sub url { return "redis+unix:$_[0]{socket}" }

sub start_redis {
    my ($self) = @_;
    unlink $self->{socket};
    $self->{redis} = _fork(sub {
        open STDOUT, '>>', "$self->{dir}/redis.log" or die "redis.log: $!";
        return (ServerProgram::find('redis-server'), '--port', 0, '--unixsocket', $self->{socket}, '--dir', $self->dir, '--save', '',
            @{ $self->{options} });
    });
    return wait_until(sub { IO::Socket::UNIX->new(Peer => $self->{socket}) });
}

sub kill_redis {
    my ($self) = @_;
    Children::end(delete $self->{redis}, 'KILL', 10);
    return;
}

sub signal_redis {
    my ($self, $signal) = @_;
    kill $signal => $self->{redis};
    return;
}

sub _fork {
    my ($command, @handles) = @_;
    my $pid = fork;
    die "fork: $!" if !defined $pid;
    if (!$pid) {
        my @words = $command->();
        { no warnings 'exec'; exec { $words[0] } @words }
        POSIX::_exit(127);
    }
    Children::keep($pid);
    return $pid;
}

# A process of this name. Its options are those of a Backplane.
sub start {
    my ($self, $name, $client, @options) = @_;
    pipe my $in,   my $to  or die "pipe: $!";
    pipe my $from, my $out or die "pipe: $!";
    my $node = $self->{nodes}{$name} = { to => $to, lines => [], buffer => '' };
    $node->{pid} = _fork(sub {
        open STDIN,  '<&', $in;
        open STDOUT, '>&', $out;
        return ($^X, (map { '-I' . abs_path($_) } grep { !ref && -d } @INC), "$FindBin::Bin/peers/backplane.pl",
            $self->url, $client, @options);
    });
    $to->autoflush(1);
    $node->{watcher} = EV::io($from, EV::READ, sub {
        my ($watcher) = @_;
        if (!sysread $from, $node->{buffer}, 65536, length $node->{buffer}) {
            push @{ $node->{lines} }, "ended\n";
            return $watcher->stop;
        }
        push @{ $node->{lines} }, $1 while $node->{buffer} =~ s/\A(.*)\n//;
    });
    return;
}

sub kill {
    my ($self, $name) = @_;
    Children::end($self->{nodes}{$name}{pid}, 'KILL', 10);
    return;
}

# Has a process do something.
sub have {
    my ($self, $name, @words) = @_;
    print { $self->{nodes}{$name}{to} } "@words\n";
    return;
}

# The fields of the first line of this kind that was not taken yet; undef if there is none.
sub take {
    my ($self, $name, $kind) = @_;
    my $lines = $self->{nodes}{$name}{lines};
    for my $i (0 .. $#$lines) {
        my ($what, @rest) = split /\t/, $lines->[$i], -1;
        next if $what ne $kind;
        splice @$lines, $i, 1;
        return \@rest;
    }
    return undef;
}

# The same, and waits for it.
sub await {
    my ($self, $name, $kind) = @_;
    my $found;
    wait_until(sub { $found = $self->take($name, $kind) });
    return $found;
}

# How many messages a process has got by now.
sub count {
    my ($self, $name, $topic) = @_;
    $self->have($name, 'count', $topic);
    my $answer = $self->await($name, 'count') or return -1;
    return $answer->[0];
}

# What it has got, in order.
sub got {
    my ($self, $name, $topic) = @_;
    my $file = $self->dir . "/$name.got";
    $self->have($name, 'write', $topic, $file);
    $self->await($name, 'written') or return [];
    open my $in, '<:raw', $file or die "$file: $!";
    chomp(my @lines = <$in>);
    return \@lines;
}

# Until nothing comes any more.
sub wait_for_quiet {
    my ($self, $topic, @names) = @_;
    my ($before, $same) = ('', 0);
    while ($same < 3) {
        my $now = join ',', map { $self->count($_, $topic) } @names;
        $same = $now eq $before ? $same + 1 : 0;
        $before = $now;
        last if $now =~ /-1/;
        settle();
    }
    return;
}

sub DESTROY {
    my ($self) = @_;
    return if $self->{owner} != $$ || Children::is_global_destruction();
    delete $_->{watcher} for values %{ $self->{nodes} };
    Children::end($_, 'KILL', 10) for grep { $_ } $self->{redis}, map { $_->{pid} } values %{ $self->{nodes} };
    return;
}

1;
