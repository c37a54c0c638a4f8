#!/usr/bin/perl
# What readers that stand still cost those that do not: a server sends each of 2,000 readers the time, twice a second, and
# the readers, in a process of their own, note how old it is when it arrives. In every other phase one in a hundred does
# not read: what the kernel takes is full, and so is what the server queues. Only the others are measured, in both phases.
# A sending has 1,980 ages, and so a 99th percentile; one line has the medians of these over all sendings of a kind, and by
# how much they differ. What else the machine does meets some sendings, what stalled readers cost would meet all of them.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Getopt::Long;
use IO::Handle;
use Measure qw(all_descriptors clocks line median whole);
use Socket qw(AF_UNIX SOCK_STREAM PF_UNSPEC);

my $INTERVAL = 0.5;                # seconds between two sendings to everybody
my $FILLER   = 'x' x 65_536;       # what stalled readers are sent until nothing more is taken
my $QUEUE    = 256 * 1024;         # max_send_queue

all_descriptors();
my ($readers, $stalled, $rounds, $sendings) = (2000, 20, 20, 5);
GetOptions('readers=s' => \$readers, 'stalled=s' => \$stalled, 'rounds=s' => \$rounds, 'sendings=s' => \$sendings) && !@ARGV
    or die "usage: slow.pl [--readers 2000] [--stalled 20] [--rounds 20] [--sendings 5]\n";
$readers  = whole('readers',  $readers,  2);
$stalled  = whole('stalled',  $stalled,  1);
$rounds   = whole('rounds',   $rounds,   1);
$sendings = whole('sendings', $sendings, 1);
$stalled < $readers or die "--stalled: there have to be other readers\n";

# A message is the time in the first 8 octets, the number of the sending, and what makes it as long as a small piece of JSON.
sub message { return pack 'd N x188', (clocks())[0], $_[0] }

# ---- the readers ----

sub read_all {
    my ($control) = @_;
    my $context = EV::Websockets::Context->new(proxy => '');
    my (@ages, @slow, $begun);
    my $port = <$control>;
    my $note = sub {
        my ($then, $number) = unpack 'd N', $_[1];
        push @{ $ages[$number] }, (clocks())[0] - $then;
        return;
    };
    my $next; $next = sub {
        return if $begun++ >= $readers;
        my $is_slow = $begun <= $stalled;
        $context->connect(
            url => "ws://127.0.0.1:$port/" . ($is_slow ? 'slow' : ''), ping_interval => 0, deflate => 0,
            on_connect => sub { push @slow, $_[0] if $is_slow; $next->() },
            on_message => $is_slow ? sub { } : $note,
            on_error   => sub { warn "$_[1]\n"; exit 1 },
        );
    };
    chomp $port;
    $next->() for 1 .. 64;
    my %commands = (
        stall  => sub { $_->pause_recv for @slow },
        resume => sub { $_->resume_recv for @slow },
        forget => sub { @ages = () },
        report => sub {
            my @sorted = map { [ sort { $a <=> $b } @$_ ] } @ages;
            return join ' ', map { scalar @$_, map { 1000 * $_ } @$_[ 0.5 * $#$_, 0.99 * $#$_ ] } @sorted;
        },
    );
    my $watch = EV::io($control, EV::READ(), sub {
        my $command = <$control>;
        defined $command or exit;
        chomp $command;
        my $answer = $commands{$command}->();
        print $control $command eq 'report' ? "$answer\n" : "done\n";
    });
    EV::run;
    return;
}

# ---- the server ----

my ($context, @slow, @others);

sub rest {
    my ($time) = @_;
    EV::now_update();
    my $timer = EV::timer($time, 0, sub { EV::break });
    EV::run;
    return;
}

sub ask {
    my ($control, $command) = @_;
    print $control "$command\n";
    my $answer = <$control>;
    defined $answer or die "the readers have ended\n";
    return split ' ', $answer;
}

# Sends to who does not read until that has changed nothing for a while.
sub fill {
    my $quiet = 0;
    while ($quiet < 5) {
        my $taken = 0;
        for my $conn (@slow) { $taken++ while $conn->send_binary($FILLER) }
        $quiet = $taken ? 0 : $quiet + 1;
        rest(0.05);
    }
    return;
}

# So many sendings: [ count, median, 99th percentile ] of each.
sub phase {
    my ($control) = @_;
    ask($control, 'forget');
    my $number = 0;
    EV::now_update();
    my $timer = EV::timer($INTERVAL, $INTERVAL, sub {
        return EV::break if $number == $sendings;
        my $message = message($number++);
        $_->send_binary($message) for @slow, @others;
    });
    EV::run;
    undef $timer;
    # The last ones are on their way.
    for (1 .. 100) {
        my @figures = ask($control, 'report');
        my @of = map { [ splice @figures, 0, 3 ] } 1 .. $sendings;
        return @of if !grep { ($_->[0] || 0) != @others } @of;
        rest($INTERVAL);
    }
    die "not all messages have come\n";
}

sub measure {
    my ($control) = @_;
    $context = EV::Websockets::Context->new(proxy => '');
    my $port = $context->listen(
        host => '127.0.0.1', deflate => 0, ping_interval => 0, max_send_queue => $QUEUE, send_queue_policy => 'drop',
        on_connect => sub {
            my ($conn, $headers) = @_;
            push @{ $headers->{Path} eq '/slow' ? \@slow : \@others }, $conn;
            EV::break if @slow + @others == $readers;
        },
        on_close => sub { die "a connection has ended\n" },
    );
    print $control "$port\n";
    EV::run;
    phase($control);
    my (@half, @most);
    for my $round (1 .. $rounds) {
        for my $is_stalled (0, 1) {
            if ($is_stalled) { ask($control, 'stall'); fill() }
            for my $of (phase($control)) {
                push @{ $half[$is_stalled] }, $of->[1];
                push @{ $most[$is_stalled] }, $of->[2];
            }
            next if !$is_stalled;
            $_->send_queue_size > $QUEUE / 2 or die "a stalled reader has read\n" for @slow;
            ask($control, 'resume');
            rest(0.05) while grep { $_->send_queue_size } @slow;
            rest(0.2);
        }
    }
    my ($half, $half_stalled, $most, $most_stalled) = map { median(@$_) } @half, @most;
    line('slow', readers => $readers, stalled => $stalled, sendings => $rounds * $sendings, p50_ms => $half, p50_stalled_ms => $half_stalled,
        p99_ms => $most, p99_stalled_ms => $most_stalled, change_percent => 100 * ($most_stalled / $most - 1));
    return;
}

socketpair my $near, my $far, AF_UNIX, SOCK_STREAM, PF_UNSPEC or die "socketpair: $!\n";
$_->autoflush(1) for $near, $far;
my $child = fork;
defined $child or die "fork: $!\n";
if (!$child) {
    close $near;
    EV::default_loop()->loop_fork;
    system("taskset -cp 1 $$ >/dev/null 2>&1");
    read_all($far);
    exit;
}
close $far;
system("taskset -cp 0 $$ >/dev/null 2>&1");
measure($near);
close $near;
waitpid $child, 0;
