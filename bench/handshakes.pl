#!/usr/bin/perl
# TLS handshakes, each with its upgrade and one echo: the CPU time one of them takes in the server, which is this
# process. The clients are a process of their own, four at a time. With --resumed they go on with earlier sessions.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Certificate;
use Getopt::Long;
use Measure qw(clocks fork_peer line whole);

my ($count, $key, $resumed) = (4000, 'ecdsa', 0);
GetOptions('count=s' => \$count, 'key=s' => \$key, resumed => \$resumed) && !@ARGV
    or die "usage: handshakes.pl [--count HANDSHAKES] [--key ecdsa|rsa] [--resumed]\n";
$count = whole('count', $count, 1);

my $warm_up = int($count / 10) + 4;
my $secure  = Certificate->new($key);
my $peer    = fork_peer(\&clients);
my ($done, $known) = (0, 0);
my ($wall, $cpu);
my $context = EV::Websockets::Context->new(proxy => '');
my $port = $context->listen(
    port       => 0,
    $secure->server,
    on_connect => sub { $known++ if $_[0]->tls->{resumed} },
    on_message => sub { $_[0]->send_binary($_[1]) },
    on_close   => sub {
        ($wall, $cpu, $known) = (clocks(), 0) if ++$done == $warm_up;
        EV::break if $done == $count + $warm_up;
    },
);
$peer->start($port);
EV::run;
my ($wall_end, $cpu_end) = clocks();
$peer->stop;
$resumed && $known < $count - 4 || !$resumed && $known and die "$known of $count handshakes went on with a session\n";
($wall, $cpu) = ($wall_end - $wall, $cpu_end - $cpu);
line('handshakes', key => $key, resumed => $resumed, handshakes => $count, cpu_us => 1e6 * $cpu / $count,
    cpu_s => $count / $cpu, wall_s => $count / $wall);

sub clients {
    my ($port) = @_;
    my $shared = EV::Websockets::Context->new(proxy => '', $secure->client);
    my $next; $next = sub {
        # A context has its own sessions.
        my $context = $resumed ? $shared : EV::Websockets::Context->new(proxy => '', $secure->client);
        $context->connect(
            url        => "wss://127.0.0.1:$port/",
            on_connect => sub { $_[0]->send_binary('x' x 64) },
            on_message => sub { $_[0]->close },
            on_close   => sub { undef $context; $next->() },
            on_error   => sub { die "a client: $_[1]\n" },
        );
    };
    $next->() for 1 .. 4;
    EV::run;
    return;
}
