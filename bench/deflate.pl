#!/usr/bin/perl
# Messages like those of a JSON protocol, of 200 and of 2000 octets, from a server to a client in this process, without
# compression, with deflate => 1 and with takeover of contexts: messages a second of CPU time, and octets of payload
# that go onto the wire for each. Then the memory of a connection in a server of its own process, after one message each
# way and when it has been idle.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Getopt::Long;
use IPC::Open2 qw(open2);
use Measure qw(clocks line our_server whole);

my ($count, $connections, $idle, $level) = (100_000, 1000, 0);
GetOptions('count=s' => \$count, 'connections=s' => \$connections, 'idle=s' => \$idle, 'level=s' => \$level) && !@ARGV
    or die "usage: deflate.pl [--count MESSAGES] [--connections N, or 0] [--idle SECONDS] [--level 1..9]\n";
$count       = whole('count',       $count,       1000);
$connections = whole('connections', $connections, 0);
$idle        = whole('idle',        $idle,        0);

my %common  = (threshold => 0, $level ? (level => $level) : ());
my %deflate = (
    plain    => 0,
    deflate  => {%common},
    takeover => { %common, server_no_context_takeover => 0, client_no_context_takeover => 0 },
);
my @modes = qw(plain deflate takeover);

# A thousand different ones, the same in every run.
sub messages {
    my ($size) = @_;
    srand 1;
    my @messages;
    for my $id (1 .. 1000) {
        my $text = qq({"id":$id,"method":"update","params":[);
        while (length $text < $size - 2) {
            $text .= sprintf '{"name":"%s","price":%.2f,"count":%d},', join('', map { chr 97 + rand 26 } 1 .. 6),
                rand 1000, rand 100;
        }
        push @messages, substr($text, 0, $size - 2) . ']}';
    }
    return @messages;
}

# One way, the queue held short as in stream.pl.
sub stream {
    my ($mode, @messages) = @_;
    my $warm_up = int($count / 10);
    my ($sent, $received, $wire, $wrong, $failure) = (0, 0, 0, 0, '');
    my ($wall, $cpu);
    my $fail = sub { $failure = $_[1]; EV::break };
    my $pump = sub {
        my ($conn) = @_;
        my $before = $conn->send_queue_size;
        for (1 .. 100) {
            last if $sent == $count + $warm_up;
            $conn->send($messages[ $sent++ % @messages ]);
        }
        $wire += $conn->send_queue_size - $before;
    };
    my $context = EV::Websockets::Context->new(proxy => '');
    my $port = $context->listen(port => 0, deflate => $deflate{$mode}, on_connect => $pump, on_drain => $pump, on_error => $fail);
    my $client = $context->connect(
        url        => "ws://127.0.0.1:$port/",
        on_message => sub {
            $wrong++ if $_[1] ne $messages[ $received % @messages ];
            $received++;
            ($wall, $cpu) = clocks() if $received == $warm_up;
            EV::break if $received == $count + $warm_up;
        },
        on_error => $fail,
    );
    EV::run;
    my ($wall_end, $cpu_end) = clocks();
    die "$wrong messages differ\n" if $wrong;
    die "only $received messages came: $failure\n" if $received != $count + $warm_up;
    line('deflate', mode => $mode, size => length $messages[0], messages => $count,
        wall_s => $count / ($wall_end - $wall), cpu_s => $count / ($cpu_end - $cpu), wire_bytes => $wire / $received);
    return;
}

sub resident {
    my ($pid) = @_;
    open my $status, '<', "/proc/$pid/status" or die "/proc/$pid/status: $!\n";
    /^VmRSS:\s+([0-9]+)/ and return 1024 * $1 while <$status>;
    die "no VmRSS\n";
}

sub wait_seconds {
    my ($seconds) = @_;
    EV::now_update;
    my $timer = EV::timer($seconds, 0, sub { EV::break });
    EV::run;
    return;
}

# What a connection takes in a server in a process of its own, which echoes one message of each.
sub memory {
    my ($mode, $message) = @_;
    my $server = open2(my $out, my $in, our_server(), $deflate{$mode} ? %{ $deflate{$mode} } : ());
    my ($port, $pid) = (readline $out) =~ /port=([0-9]+) pid=([0-9]+)/ or die "the server did not start\n";
    my $context = EV::Websockets::Context->new(proxy => '');
    my ($before, $echoes, $failure, $open) = (0, 0, '');
    $open = sub {
        $context->connect(
            url        => "ws://127.0.0.1:$port/",
            deflate    => { threshold => 0 },
            on_connect => sub { $_[0]->send($message) },
            on_message => sub {
                # The first one pays for what all share.
                $before = resident($pid) if ++$echoes == 1;
                $echoes <= $connections ? $open->() : EV::break;
            },
            on_error => sub { $failure = $_[1]; EV::break },
        );
    };
    $open->();
    EV::run;
    die "$failure\n" if $failure;
    my $after = resident($pid);
    wait_seconds($idle) if $idle;
    line('deflate_memory', mode => $mode, connections => $connections, bytes => int(($after - $before) / $connections),
        $idle ? (idle_s => $idle, bytes_idle => int((resident($pid) - $before) / $connections)) : ());
    undef $open;
    undef $context;
    close $in;
    waitpid $server, 0;
    return;
}

$| = 1;
for my $size (200, 2000) {
    my @messages = messages($size);
    stream($_, @messages) for @modes;
}
if ($connections) {
    my ($message) = messages(2000);
    memory($_, $message) for @modes;
}
