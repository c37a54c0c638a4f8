#!/usr/bin/perl
# Messages of 64 KiB from a server to a client in this process. The server keeps its queue under 256 KiB by
# send_queue_size and on_drain, as eg/backpressure.pl does.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Certificate;
use Getopt::Long;
use Measure qw(clocks line whole);

my ($count, $size, $high, $tls) = (16_000, 64 * 1024, 256 * 1024, 0);
GetOptions('count=s' => \$count, tls => \$tls) && !@ARGV or die "usage: stream.pl [--count MESSAGES] [--tls]\n";
$count = whole('count', $count, 1);

my $chunk   = join '', map { chr $_ % 256 } 1 .. $size;
my $warm_up = int($count / 10);
my ($sent, $received, $wrong, $failure) = (0, 0, 0, '');
my ($wall, $cpu);

my $fail = sub { $failure = $_[1]; EV::break };
my $pump = sub {
    my ($conn) = @_;
    while ($sent < $count + $warm_up && $conn->send_queue_size < $high) {
        $conn->send_binary($chunk);
        $sent++;
    }
};
my $secure = $tls && Certificate->new('ecdsa');
my $context = EV::Websockets::Context->new(proxy => '', $secure ? $secure->client : ());
my $port = $context->listen(port => 0, $secure ? $secure->server : (), on_connect => $pump, on_drain => $pump, on_error => $fail);
my $client = $context->connect(
    url        => ($secure ? 'wss' : 'ws') . "://127.0.0.1:$port/",
    on_connect => sub { ($wall, $cpu) = clocks() },
    on_message => sub {
        $wrong++ if length $_[1] != $size;
        $received++;
        ($wall, $cpu) = clocks() if $received == $warm_up;
        EV::break if $received == $count + $warm_up;
    },
    on_error => $fail,
);
EV::run;
my ($wall_end, $cpu_end) = clocks();
die "$wrong messages of a wrong length\n" if $wrong;
die "only $received messages came: $failure\n" if $received != $count + $warm_up;
my $megabytes = $count * $size / 1e6;
line('stream', messages => $count, wall_mb_s => $megabytes / ($wall_end - $wall), cpu_mb_s => $megabytes / ($cpu_end - $cpu));
