#!/usr/bin/env perl
# A chat room across several server processes, on one machine or on many: what
# a client says goes to Redis, and from there to every process, which tells its
# own clients. Needs AnyEvent::Redis (in Debian: libanyevent-redis-perl).
#
#   perl cluster_chat.pl --redis 127.0.0.1:6379 --port 8081
#   perl cluster_chat.pl --redis /run/redis/redis.sock --port 8082
#
# Without options it shows itself: it starts a redis-server of its own and two
# servers, and has a client of each talk to the other's.
#
# Clients go to any of the servers, so a load balancer before them only has to
# pass the upgrade on and to keep quiet connections open. The servers' own pings
# (below) have to come more often than its timeouts. For nginx:
#
#   upstream chat { least_conn; server 127.0.0.1:8081; server 127.0.0.1:8082; }
#   server {
#       listen 80;
#       location / {
#           proxy_pass http://chat;
#           proxy_http_version 1.1;
#           proxy_set_header Upgrade $http_upgrade;
#           proxy_set_header Connection upgrade;
#           proxy_set_header Host $http_host;
#           proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
#           proxy_read_timeout 90s;
#       }
#   }
#
# and for haproxy, which passes upgrades on by itself:
#
#   frontend web
#       mode http
#       bind :80
#       option forwardfor
#       timeout client 30s
#       default_backend chat
#   backend chat
#       mode http
#       balance leastconn
#       timeout connect 5s
#       timeout server 30s
#       timeout tunnel 90s
#       server one 127.0.0.1:8081 check
#       server two 127.0.0.1:8082 check
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../blib/lib", "$FindBin::Bin/../blib/arch";

# One loop for both: AnyEvent is to use EV, whatever else is installed.
BEGIN { $ENV{PERL_ANYEVENT_MODEL} = 'EV' }
use AnyEvent;
use AnyEvent::Redis;
use EV;
use EV::Websockets;
use File::Temp;
use Getopt::Long;
use IO::Handle;
use IO::Socket::UNIX;
use POSIX ();

use constant PING_EVERY  => 30;            # seconds
use constant MOST_QUEUED => 256 * 1024;    # bytes; a client that is further behind is let go

GetOptions('redis=s' => \my $redis_at, 'port=i' => \my $port)
    or die "usage: $0 [--redis HOST:PORT|PATH --port NUMBER]\n";
$redis_at ? serve($redis_at, $port || 0, \*STDOUT) : demonstrate();

# ---- what all servers share ----

package Room;

use constant CHANNEL => 'cluster_chat';

# on_line is called with what anybody says, in the same order on every server;
# on_change when Redis comes into reach or is lost.
sub new {
    my ($class, %args) = @_;
    my $self = bless { %args, is_up => 0 }, $class;
    $self->join;
    return $self;
}

# A connection that has subscribed to something can do nothing else: so two.
sub join {
    my ($self) = @_;
    my $attempt = ++$self->{attempt};
    my $lost = sub { $self->lost if $self->{attempt} == $attempt };    # and not when an earlier one is let go
    $self->{$_} = $self->connection($lost) for qw(talk hear);
    $self->{hear}->subscribe(CHANNEL, sub { $self->{on_line}->($_[0]) });
    $self->{hear}->subscribe(CHANNEL . ":$$", sub { });
    $self->check;
    return;
}

# With the host "unix/", AnyEvent takes the port for the path of a socket.
sub connection {
    my ($self, $lost) = @_;
    my $at = $self->{at};
    my ($host, $port) = $at =~ m{\A/} ? ('unix/', $at) : $at =~ /\A(.+):(\d+)\z/ or die "not HOST:PORT or a path: $at\n";
    return AnyEvent::Redis->new(host => $host, port => $port, on_error => sub { }, on_cleanup => $lost);
}

# Redis counts who hears a message. When it counts us, we have joined.
sub check {
    my ($self) = @_;
    $self->{talk}->publish(CHANNEL . ":$$", '', sub {
        my ($hearers) = @_;
        return if !$self->{talk};
        $self->{timer} = $hearers ? undef : AnyEvent->timer(after => 0.02, cb => sub { $self->check });
        $self->change(1) if $hearers;
    });
    return;
}

sub lost {
    my ($self) = @_;
    $self->{attempt}++;
    delete @$self{qw(talk hear)};
    $self->{timer} = AnyEvent->timer(after => 0.5, cb => sub { $self->join });
    $self->change(0);
    return;
}

sub change {
    my ($self, $is_up) = @_;
    return if $self->{is_up} == $is_up;
    $self->{is_up} = $is_up;
    $self->{on_change}->($is_up);
    return;
}

sub say {
    my ($self, $line) = @_;
    return 0 if !$self->{is_up};
    $self->{talk}->publish(CHANNEL, $line, sub { });
    return 1;
}

package main;

# ---- one server ----

sub serve {
    my ($redis_at, $port, $out) = @_;
    my $ctx = EV::Websockets::Context->new;
    my (%clients, $listening);

    my $tell_ours = sub {
        my ($line) = @_;
        for my $c (grep { $_->is_connected } values %clients) {
            $c->send_queue_size > MOST_QUEUED ? $c->close(1013, 'too slow') : $c->send($line);
        }
    };
    my $listen = sub {
        my ($room) = @_;
        $listening = $ctx->listen(
            host             => '127.0.0.1',
            limits           => 'public',
            port             => $port,
            max_message_size => 4096,
            on_handshake     => sub { ($_[0]{Query} || '') =~ /\Aname=\w{1,20}\z/ },
            on_connect       => sub {
                my ($c, $headers) = @_;
                ($c->stash->{name}) = $headers->{Query} =~ /=(.*)/;
                $clients{$c} = $c;
                $room->say('* ' . $c->stash->{name} . ' is here');
            },
            on_message => sub {
                my ($c, $bytes) = @_;
                $room->say($c->stash->{name} . ": $bytes") or $c->send('* not delivered');
            },
            on_close => sub {
                my ($c) = @_;
                delete $clients{$c};
                $room->say('* ' . $c->stash->{name} . ' has left');
            },
        );
        print $out "listening on port $listening\n";
        $out->flush;
    };

    # Who cannot hear the others is no use: the first client comes when the room is joined.
    my $room;
    $room = Room->new(
        at        => $redis_at,
        on_line   => $tell_ours,
        on_change => sub {
            my ($is_up) = @_;
            return $listen->($room) if !$listening;
            $tell_ours->($is_up ? '* the others are back' : '* the others are out of reach');
        },
    );
    my $pings = EV::timer(PING_EVERY, PING_EVERY, sub { $_->send_ping for grep { $_->is_connected } values %clients });

    # 1001 has clients come back, and the load balancer leads them elsewhere.
    my $term = EV::signal(TERM => sub {
        $ctx->shutdown(reason => 'server is stopping', timeout => 5, cb => sub { EV::break });
    });
    EV::run;
}

# ---- the demonstration ----

sub demonstrate {
    my $dir    = File::Temp->newdir;
    my $socket = "$dir/redis.sock";
    my @pids   = start_redis($dir, $socket);
    my @ports;
    for (1 .. 2) {
        pipe my $from, my $to or die "pipe: $!";
        push @pids, start(sub { close $from; serve($socket, 0, $to) });
        close $to;
        my $line = <$from>;
        (my $port) = (defined $line ? $line : '') =~ /(\d+)/ or die "a server did not start\n";
        push @ports, $port;
    }
    print "two servers are listening\n";
    converse(@ports);
    kill TERM => reverse @pids;
    waitpid $_, 0 for @pids;
    print "everything has stopped\n";
}

sub start {
    my ($code) = @_;
    defined(my $pid = fork) or die "fork: $!";
    return $pid if $pid;
    EV::default_loop()->loop_fork;    # else both wait on one epoll descriptor, and take each other's signals
    $code->();
    POSIX::_exit(0);    # what the parent made is the parent's to clean up
}

sub start_redis {
    my ($dir, $socket) = @_;
    my $pid = start(sub {
        open STDOUT, '>', "$dir/redis.log" or die "$dir/redis.log: $!";
        exec 'redis-server', '--port', 0, '--unixsocket', $socket, '--dir', $dir, '--save', ''
            or POSIX::_exit(127);
    });
    for (1 .. 500) {
        return $pid if IO::Socket::UNIX->new(Peer => $socket);
        die "redis-server did not start\n" if waitpid $pid, POSIX::WNOHANG();
        select undef, undef, undef, 0.02;
    }
    die "redis-server does not answer\n";
}

# Ann and bob are at different servers. Each says something when the other has.
sub converse {
    my ($ann_port, $bob_port) = @_;
    my $ctx = EV::Websockets::Context->new;
    my %says = ('ann * bob is here' => 'hello, bob!', 'bob ann: hello, bob!' => 'hello, ann.');
    my $enter;
    $enter = sub {
        my ($name, $port) = @_;
        $ctx->connect(
            url        => "ws://127.0.0.1:$port/?name=$name",
            on_message => sub {
                my ($c, $line) = @_;
                print "[$name sees] $line\n";
                $enter->(bob => $bob_port) if $line eq '* ann is here' && $name eq 'ann';
                my $saw = "$name $line";
                $c->send($says{$saw}) if $says{$saw};
                $c->close if $saw eq 'bob bob: hello, ann.' || $saw eq 'ann * bob has left';
            },
            on_close => sub { EV::break if $name eq 'ann' },
            on_error => sub { print "$name: $_[1]\n"; EV::break },
        );
    };
    $enter->(ann => $ann_port);
    EV::run;
}
