package Measure;

# What the benchmark programs have in common: clocks, the one line each of them prints, and a server in a process and on
# a CPU of its own under the load client.

use strict;
use warnings;
use Exporter 'import';
use File::Basename qw(dirname);
use File::Spec;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC CLOCK_PROCESS_CPUTIME_ID);

our @EXPORT_OK = qw(
    against all_descriptors clocks floor_server fork_peer line median on_cpu our_server output parse_line refuse_threads
    rss whole
);

our $BENCH = File::Spec->rel2abs(dirname(dirname(__FILE__)));
our $ROOT  = dirname($BENCH);
our $LOAD  = "$ROOT/target/release/evws-load";
our $FLOOR = "$ROOT/target/release/evws-floor";

# Seconds by the wall clock, and seconds of CPU this process has used.
sub clocks {
    return (clock_gettime(CLOCK_MONOTONIC), clock_gettime(CLOCK_PROCESS_CPUTIME_ID));
}

# line("rtt", echoes => 1000, cpu_ns => 3100.2): prints "bench=rtt echoes=1000 cpu_ns=3100.2". A value may be a word.
sub line {
    my ($name, @pairs) = @_;
    my $text = "bench=$name";
    while (my ($key, $value) = splice @pairs, 0, 2) {
        $text .= " $key=" . ($value =~ /\A(?:-?[0-9]+|[a-z]\w*)\z/ ? $value : sprintf abs $value < 100 ? '%.3f' : '%.1f', $value);
    }
    print "$text\n";
    return;
}

sub parse_line {
    my ($text) = @_;
    return { $text =~ /(\w+)=(\S+)/g };
}

sub median {
    my @sorted = sort { $a <=> $b } @_;
    return $sorted[ $#sorted / 2 ];
}

# The value of a command-line option, which has to be a whole number.
sub whole {
    my ($name, $value, $least) = @_;
    $value =~ /\A[0-9]+\z/ && $value >= $least or die "--$name: '$value' is not a whole number of at least $least\n";
    return $value + 0;
}

# A command held to one CPU, if there is more than one and a way to do it.
my $pins;
sub on_cpu {
    my ($cpu, @command) = @_;
    $pins = system("taskset -c 0,1 true >/dev/null 2>&1") == 0 unless defined $pins;
    return $pins ? ('taskset', '-c', $cpu, @command) : @command;
}

# Runs a command and returns what it printed; dies if it fails.
sub output {
    my @command = @_;
    open my $pipe, '-|', @command or die "cannot run $command[0]: $!\n";
    my $text = do { local $/; <$pipe> };
    close $pipe or die "failed (status $?): @command\n";
    return defined $text ? $text : '';
}

# Begins the program again with as many descriptors as the system allows.
sub all_descriptors {
    return if $ENV{BENCH_ALL_DESCRIPTORS}++;
    my @perl = ($^X, (map { "-I$_" } grep { !ref } @INC), $0, @ARGV);
    exec 'sh', '-c', 'ulimit -n "$(ulimit -H -n)"; exec "$@"', 'sh', @perl;
    die "cannot run sh: $!\n";
}

# VmRSS of this process, in KiB.
sub rss {
    open my $status, '<', '/proc/self/status' or die "/proc/self/status: $!\n";
    return { map { /^(\w+):\s+([0-9]+)/ ? ($1, $2) : () } <$status> }->{VmRSS};
}

# A child that waits for a port, and then runs $code with it on the second CPU until this process stops it or ends.
sub fork_peer {
    my ($code) = @_;
    pipe my $port_read, my $port_write or die "pipe: $!\n";
    my $child = fork;
    defined $child or die "fork: $!\n";
    if ($child) {
        close $port_read;
        return bless { child => $child, pipe => $port_write }, 'Measure::Peer';
    }
    close $port_write;
    my $port = readline $port_read;
    defined $port or exit;
    chomp $port;
    EV::default_loop()->loop_fork;
    system("taskset -cp 1 $$ >/dev/null 2>&1");
    my $end = EV::io($port_read, EV::READ(), sub { exit });
    $code->($port);
    exit;
}

sub Measure::Peer::start {
    my ($self, $port) = @_;
    syswrite $self->{pipe}, "$port\n";
    return;
}

sub Measure::Peer::stop {
    my ($self) = @_;
    close $self->{pipe};
    waitpid $self->{child}, 0;
    return;
}

# From now on the system refuses this process every thread and child, as it does where a limit is reached. The limit does
# not hold for root, so root becomes another user; the code that is returned makes it root again.
sub refuse_threads {
    system('prlimit', "--pid=$$", '--nproc=0:0') == 0 or die "prlimit failed: a limit cannot be set\n";
    return sub { } if $>;
    ($<, $>) = (65534, 65534);
    return sub { $> = 0 };
}

sub our_server {
    return ($^X, (map { "-I$_" } grep { !ref } @INC), "$BENCH/server.pl");
}

sub floor_server {
    return ($FLOOR, 'server');
}

# Starts a server, puts the load client on it, and returns the client's line as a hash. Both servers print
# "port=N pid=N" and end when their standard input does, so none is left behind however this program ends.
sub against {
    my ($server, $mode, @arguments) = @_;
    -x $LOAD or die "$LOAD is not there: run script/bench, or cargo build --release -p evws-load --target-dir target\n";
    pipe my $stop_read, my $stop or die "pipe: $!\n";
    pipe my $out, my $out_write or die "pipe: $!\n";
    my $child = fork;
    defined $child or die "fork: $!\n";
    if (!$child) {
        close $stop;
        open STDIN,  '<&', $stop_read or die "dup: $!\n";
        open STDOUT, '>&', $out_write or die "dup: $!\n";
        exec 'sh', '-c', 'ulimit -n "$(ulimit -H -n)"; exec "$@"', 'sh', on_cpu(0, @$server);
        die "cannot run sh: $!\n";
    }
    close $stop_read;
    close $out_write;
    my $greeting = <$out>;
    defined $greeting && $greeting =~ /port=([0-9]+) pid=([0-9]+)/ or die "the server did not start: @$server\n";
    my @load = ($LOAD, $mode, '--port', $1, '--server-pid', $2, @arguments);
    my $line = eval { output(on_cpu(1, @load)) };
    my $error = $@;
    close $stop;
    waitpid $child, 0;
    die $error if $error;
    die "the server ended with status $?: @$server\n" if $?;
    return parse_line($line);
}

1;
