#!/usr/bin/perl
# How long many TLS handshakes at once hold up a timer of 1 ms on the same loop, at worst. This process is the server,
# or with --client the clients; the other end is a process of its own. With --inline the system refuses this process
# every thread (needs Linux and prlimit), so that all the arithmetic is done on the loop.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Certificate;
use Getopt::Long;
use IO::Socket::INET;
use Measure qw(clocks fork_peer line refuse_threads whole);

my ($handshakes, $key, $client, $inline) = (200, 'rsa', 0, 0);
GetOptions('handshakes=s' => \$handshakes, 'key=s' => \$key, client => \$client, inline => \$inline) && !@ARGV
    or die "usage: stall.pl [--handshakes 200] [--key rsa|ecdsa] [--client] [--inline]\n";
$handshakes = whole('handshakes', $handshakes, 1);

my $certificate = Certificate->new($key);
my ($context, @conns, $end, $failure);
my ($begin, $wall, $last, $worst, $ticks, $connected) = (0) x 6;
my $peer = fork_peer(sub {
    my ($port) = @_;
    $client ? serve($port) : connect_all($port);
    EV::run;
});
my $allow = $inline ? refuse_threads() : sub { };
if ($client) {
    # A port that is free: the other process listens there next.
    my $port = EV::Websockets::Context->new(proxy => '')->listen(port => 0);
    $peer->start($port);
    wait_for($port);
    connect_all($port);
}
else { $peer->start(serve(0)) }
my $timer = EV::timer 0.001, 0.001, sub {
    my ($now) = clocks();
    $worst = $now - $last - 0.001 if $last && $worst < $now - $last - 0.001;
    $last = $now;
    $ticks++;
};
EV::run;
$allow->();
$peer->stop;
die "$failure\n" if $failure;
my $role = $client ? 'client' : 'server';
line('stall', role => $role, handshakes => $handshakes, key => $key, inline => $inline, worst_ms => 1000 * $worst,
    wall_ms => 1000 * $wall, ticks => $ticks);

sub serve {
    my ($port) = @_;
    $context = EV::Websockets::Context->new(proxy => '');
    ($begin) = clocks();
    return $context->listen(
        port       => $port,
        $certificate->server,
        on_connect => sub { push @conns, $_[0]; connected() },
    );
}

sub wait_for {
    my ($port) = @_;
    until (IO::Socket::INET->new("127.0.0.1:$port")) { select undef, undef, undef, 0.01 }
    return;
}

sub connect_all {
    my ($port) = @_;
    $context = EV::Websockets::Context->new(proxy => '', $certificate->client);
    ($begin) = clocks();
    for (1 .. $handshakes) {
        push @conns, $context->connect(
            url        => "wss://127.0.0.1:$port/",
            on_connect => \&connected,
            on_error   => sub { $failure = $_[1]; EV::break },
        );
    }
    return;
}

# The last one does not end the measurement at once: the tick after it may be the late one.
sub connected {
    return if ++$connected < $handshakes || !$peer;
    $wall = (clocks())[0] - $begin;
    $end  = EV::timer 0.01, 0, sub { EV::break };
    return;
}
