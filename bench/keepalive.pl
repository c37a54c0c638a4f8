#!/usr/bin/perl
# Idle connections to a server that keeps them alive: how often its process is woken in a second, and the CPU time that
# takes, Pings and Pongs included. Both ends are ours, in two processes, so that the Pings are answered.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Getopt::Long;
use Measure qw(all_descriptors clocks fork_peer line whole);

all_descriptors();
my ($connections, $seconds) = (10_000, 30);
GetOptions('connections=s' => \$connections, 'seconds=s' => \$seconds) && !@ARGV
    or die "usage: keepalive.pl [--connections N] [--seconds N]\n";
$connections = whole('connections', $connections, 1);
$seconds     = whole('seconds', $seconds, 1);

# Opens the connections, 128 at a time, and answers Pings. It sends none: what is measured is the server.
my $peer = fork_peer(sub {
    my ($port) = @_;
    my $context = EV::Websockets::Context->new(proxy => '');
    my ($begun, @open) = (0);
    my $next;
    $next = sub {
        return if $begun++ >= $connections;
        $context->connect(
            url => "ws://127.0.0.1:$port/", ping_interval => 0, deflate => 0,
            on_connect => sub { push @open, $_[0]; $next->() },
            on_error   => sub { warn "$_[1]\n"; exit 1 },
        );
    };
    $next->() for 1 .. 128;
    EV::run;
});

my $context = EV::Websockets::Context->new(proxy => '');
my $open = 0;
my $port = $context->listen(
    host       => '127.0.0.1',
    on_connect => sub { EV::break if ++$open == $connections },
    on_close   => sub { die "a connection has ended\n" },
);
$peer->start($port);
EV::run;

# How often this process has gone to sleep so far.
sub sleeps {
    open my $status, '<', "/proc/$$/status" or die "/proc/$$/status: $!\n";
    return { map { /\A(\w+):\s+([0-9]+)/ ? ($1, $2) : () } <$status> }->{voluntary_ctxt_switches};
}

sub rest {
    my ($time) = @_;
    my $timer = EV::timer($time, 0, sub { EV::break });
    EV::run;
    return;
}

rest(1);
my ($before, $wall, $cpu) = (sleeps(), clocks());
rest($seconds);
my ($wall_after, $cpu_after) = clocks();
my $wakeups = sleeps() - $before - 1;
line('keepalive', connections => $connections, seconds => $seconds, wakeups_s => $wakeups / ($wall_after - $wall),
    cpu_percent => 100 * ($cpu_after - $cpu) / ($wall_after - $wall));
$peer->stop;
