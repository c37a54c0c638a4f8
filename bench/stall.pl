#!/usr/bin/perl
# How long many TLS handshakes at once hold up a timer of 1 ms on the same loop, at worst. This process is the server,
# or with --client the client; the other end is a process of its own. With --inline the system refuses this process
# every thread (needs Linux and prlimit), so that all the arithmetic is done on the loop.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Certificate;
use Getopt::Long;
use Measure qw(clocks line refuse_threads whole);

my ($handshakes, $key, $client, $inline) = (200, 'rsa', 0, 0);
GetOptions('handshakes=s' => \$handshakes, 'key=s' => \$key, client => \$client, inline => \$inline) && !@ARGV
    or die "usage: stall.pl [--handshakes 200] [--key rsa|ecdsa] [--client] [--inline]\n";
$handshakes = whole('handshakes', $handshakes, 1);

my $certificate = Certificate->new($key);
my ($context, @conns, $end, $failure);
my $connected = 0;
pipe my $from_server, my $to_client or die "pipe: $!\n";
pipe my $ending, my $alive or die "pipe: $!\n";
my $peer = fork;
defined $peer or die "fork: $!\n";
if (!$peer) {
    close $alive;
    my $end_of_other = EV::io($ending, EV::READ, sub { exit });
    $client ? serve() : connect_all();
    EV::run;
    exit;
}

my ($begin, $wall, $last, $worst, $ticks) = (0, 0, 0, 0, 0);
my $allow = $inline ? refuse_threads() : sub { };
$client ? connect_all() : serve();
my $timer = EV::timer 0.001, 0.001, sub {
    my ($now) = clocks();
    $worst = $now - $last - 0.001 if $last && $worst < $now - $last - 0.001;
    $last = $now;
    $ticks++;
};
EV::run;
$allow->();
close $alive;
waitpid $peer, 0;
die "$failure\n" if $failure;
my $role = $client ? 'client' : 'server';
line('stall', role => $role, handshakes => $handshakes, key => $key, inline => $inline, worst_ms => 1000 * $worst,
    wall_ms => 1000 * $wall, ticks => $ticks);

sub serve {
    $context = EV::Websockets::Context->new(proxy => '');
    my $port = $context->listen(port => 0, $certificate->server, on_connect => sub { push @conns, $_[0]; connected() });
    syswrite $to_client, "$port\n";
    ($begin) = clocks();
    return;
}

sub connect_all {
    chomp(my $port = readline $from_server);
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
