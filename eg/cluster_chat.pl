#!/usr/bin/env perl
# A chat room across several server processes, on one machine or on many: a
# topic, which a Backplane connects through Redis. Needs AnyEvent::Redis (in
# Debian: libanyevent-redis-perl) or EV::Redis.
#
#   perl cluster_chat.pl --redis redis://127.0.0.1:6379 --port 8081
#   perl cluster_chat.pl --redis redis+unix:/run/redis/redis.sock --port 8082
#
# Without options it shows itself: it starts a redis-server of its own and two
# servers, and has a client of each talk to the other's.
#
# Clients go to any of the servers, so a load balancer before them only has to
# pass the upgrade on and to keep quiet connections open. The servers' own pings
# (ping_interval, 30 seconds) have to come more often than its timeouts. For nginx:
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
use EV;
use EV::Websockets;
use EV::Websockets::Backplane;
use File::Temp;
use Getopt::Long;
use IO::Handle;
use IO::Socket::UNIX;
use POSIX ();

use constant ROOM        => 'room';
use constant MOST_QUEUED => 256 * 1024;    # bytes; a client that is further behind is let go

GetOptions('redis=s' => \my $redis, 'port=i' => \my $port)
    or die "usage: $0 [--redis URL --port NUMBER]\n";
$redis ? serve($redis, $port || 0, \*STDOUT) : demonstrate();

# ---- one server ----

sub serve {
    my ($redis, $port, $out) = @_;
    my $ctx = EV::Websockets::Context->new;
    my $tell_ours = sub { $ctx->publish(ROOM, "* $_[0]", local => 1) };
    my $listening;
    my $backplane = EV::Websockets::Backplane->new(
        $ctx,
        redis   => $redis,
        on_down => sub { $tell_ours->('the others are out of reach') },
        on_gap  => sub { $tell_ours->('something may be missing here') },
        on_up   => sub {
            return $tell_ours->('the others are back') if $listening;
            # Who cannot hear the others is no use: the first client comes now.
            $listening = listen_for_clients($ctx, $port);
            print $out "listening on port $listening\n";
            $out->flush;
        },
    );
    # 1001 has clients come back, and the load balancer leads them elsewhere.
    my $term = EV::signal(TERM => sub {
        $ctx->shutdown(
            reason  => 'server is stopping',
            timeout => 5,
            cb      => sub { $backplane->flush(sub { EV::break }) },
        );
    });
    EV::run;
}

sub listen_for_clients {
    my ($ctx, $port) = @_;
    return $ctx->listen(
        host             => '127.0.0.1',
        limits           => 'public',
        port             => $port,
        max_message_size => 4096,
        max_send_queue   => MOST_QUEUED,
        on_handshake     => sub { ($_[0]{Query} || '') =~ /\Aname=\w{1,20}\z/ },
        on_connect       => sub {
            my ($c, $headers) = @_;
            ($c->stash->{name}) = $headers->{Query} =~ /=(.*)/;
            $c->subscribe(ROOM);
            $ctx->publish(ROOM, '* ' . $c->stash->{name} . ' is here');
        },
        on_message => sub {
            my ($c, $bytes) = @_;
            $ctx->publish(ROOM, $c->stash->{name} . ": $bytes") or $c->send('* not delivered');
        },
        on_close => sub {
            my ($c) = @_;
            $ctx->publish(ROOM, '* ' . $c->stash->{name} . ' has left');
        },
    );
}

# ---- the demonstration ----

sub demonstrate {
    my $dir    = File::Temp->newdir;
    my $socket = "$dir/redis.sock";
    my @pids   = start_redis($dir, $socket);
    my @ports;
    for (1 .. 2) {
        pipe my $from, my $to or die "pipe: $!";
        push @pids, start(sub { close $from; serve("redis+unix:$socket", 0, $to) });
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
