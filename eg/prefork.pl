#!/usr/bin/env perl
# A server of several processes at one port, for machines with several cores.
# Each worker listens with reuse_port, and the kernel spreads the clients over
# them. The master serves nobody: it starts workers and replaces those that die.
#
#     perl eg/prefork.pl 8080    serves; in another terminal:
#         kill -HUP  MASTER      new workers, and then the old ones are ended in
#                                order: their clients get 1001 and come back
#         kill -TERM MASTER      the end, in order as well
#     perl eg/prefork.pl         shows itself: a client does these things to it
#
# A worker is this program started anew, so that a reload brings in new code.
# Workers share nothing; what one of them tells to its clients the others do not
# know. On Linux, sysctl net.ipv4.tcp_migrate_req=1 hands clients that are about
# to be accepted by a worker that ends to one of the others.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../blib/lib", "$FindBin::Bin/../blib/arch";
use EV;
use EV::Websockets;
use Fcntl qw(F_SETFD);
use IO::Socket::INET;
use POSIX ();

use constant HOST     => '127.0.0.1';
use constant WORKERS  => 3;
use constant PATIENCE => 5;    # seconds that the clients of an old worker have

$| = 1;

# ---- a worker ----

sub worker {
    my ($port, $generation, $ready, $life) = @_;
    my $ctx = EV::Websockets::Context->new;
    $ctx->listen(
        host             => HOST,
        limits           => 'public',
        port             => $port,
        reuse_port       => 1,
        max_message_size => 64 * 1024,
        on_message       => sub {
            my ($c, $text) = @_;
            $c->send("worker $$, generation $generation: $text");
        },
    );
    my $end = sub { $ctx->shutdown(timeout => PATIENCE, reason => 'try again', cb => sub { EV::break }) };
    my $sigterm = EV::signal TERM => $end;
    # Ctrl-C is for the master, which then tells the workers.
    $SIG{INT} = 'IGNORE';
    # A master that dies takes them with it: nothing else is ever read from this.
    open my $master, '<&=', $life or die "pipe: $!";
    my $orphaned;
    $orphaned = EV::io $master, EV::READ, sub { undef $orphaned; $end->() };
    # The master waits for this.
    open my $to_master, '>&=', $ready or die "pipe: $!";
    syswrite $to_master, 'r';
    close $to_master;
    EV::run;
}

# ---- the master ----

my (%workers, %retired, $stopping, $reserved, $port, $client);
pipe my $life, my $lives_while_open or die "pipe: $!";
my $generation = 1;

sub master {
    my ($wanted, $with_client) = @_;
    # Bound, but not listening: it keeps the port while workers come and go, and
    # gets no connections.
    $reserved = IO::Socket::INET->new(
        LocalAddr => HOST, LocalPort => $wanted, Proto => 'tcp', ReuseAddr => 1, ReusePort => 1,
    ) or die "port $wanted: $!\n";
    $port = $reserved->sockport;
    my @signals = (
        EV::signal(HUP  => \&reload),
        EV::signal(TERM => \&stop),
        EV::signal(INT  => \&stop),
    );
    start_all(sub {
        print "master $$: ", WORKERS, " workers at port $port\n";
        $client = run_again('--client', $port, $$) if $with_client;
    });
    EV::run;
    waitpid $client, 0 if $client;
    print "master: all workers have ended\n";
}

sub start_all {
    my ($when_ready) = @_;
    my $waiting = WORKERS;
    start_worker(sub { --$waiting or $when_ready->() }) for 1 .. WORKERS;
}

# $when_ready is called when it listens, also if that takes several attempts.
sub start_worker {
    my ($when_ready) = @_;
    my $started = EV::now;
    pipe my $reader, my $writer or die "pipe: $!";
    my $pid = run_again('--worker', $port, $generation, $writer, $life);
    close $writer;
    my %worker = (reader => $reader);
    $worker{ready} = EV::io $reader, EV::READ, sub {
        my $is_ready = sysread $reader, my $byte, 1;
        delete @worker{qw(ready reader)};
        return if !$is_ready;
        my $then = $when_ready;
        undef $when_ready;
        $then->();
    };
    $worker{child} = EV::child $pid, 0, sub {
        my ($watcher) = @_;
        delete $workers{$pid};
        if ($stopping || delete $retired{$pid}) {
            EV::break if $stopping && !%workers;
            return;
        }
        my $status = $watcher->rstatus;
        print "master: worker $pid has died (status $status)\n";
        # Not as fast as it can fail.
        my $pause = EV::now - $started < 1 && $when_ready ? 1 : 0;
        my $next = $when_ready || sub { print "master: replaced\n" };
        my $timer;
        $timer = EV::timer $pause, 0, sub { undef $timer; start_worker($next) if !$stopping };
    };
    $workers{$pid} = \%worker;
}

# Runs this program once more, in a process of its own. A handle among the
# arguments stays open in it, and is passed as the number of its descriptor.
sub run_again {
    my @command = @_;
    my $pid = fork;
    die "fork: $!" if !defined $pid;
    return $pid if $pid;
    for my $argument (grep { ref } @command) {
        fcntl $argument, F_SETFD, 0;    # no FD_CLOEXEC
        $argument = fileno $argument;
    }
    { no warnings 'exec'; exec { $^X } $^X, (map { "-I$_" } grep { !ref } @INC), $0, @command }
    POSIX::_exit(127);
}

# The old ones are told when the new ones are there: at no time is there nobody.
sub reload {
    my @old = keys %workers;
    $retired{$_} = 1 for @old;
    $generation++;
    print "master: SIGHUP: generation $generation\n";
    start_all(sub { kill TERM => grep { $workers{$_} } @old });
}

sub stop {
    return if $stopping++;
    print "master: ending\n";
    kill TERM => keys %workers;
    EV::break if !%workers;
}

# ---- the client that shows it ----

# Says hello whenever it is connected, and comes back when it was disconnected.
sub client {
    my ($at, $master) = @_;
    my $ctx = EV::Websockets::Context->new;
    my ($timer, $killed, $reloaded, $done, $connect);
    my %steps = (
        first => sub {
            my ($pid) = @_;
            print "client: kills worker $pid\n";
            kill KILL => $killed = $pid;
        },
        second => sub {
            my ($pid) = @_;
            print "client: is served by worker $pid; reloads\n";
            $reloaded = 1;
            kill HUP => $master;
        },
        third => sub {
            my ($pid) = @_;
            print "client: is served by worker $pid of the next generation; that was all\n";
            $done = 1;
            kill TERM => $master;
        },
    );
    my $again = sub { $done ? EV::break : ($timer = EV::timer 0.1, 0, $connect) };
    $connect = sub {
        $ctx->connect(
            url        => 'ws://' . HOST . ":$at/",
            on_connect => sub { my ($c) = @_; $c->send('hello') },
            on_message => sub {
                my ($c, $text) = @_;
                my ($pid, $its_generation) = $text =~ /^worker (\d+), generation (\d+): hello$/ or die $text;
                # One that is about to end may still be met.
                return if $reloaded && $its_generation == 1;
                $steps{ $reloaded ? 'third' : $killed ? 'second' : 'first' }->($pid);
            },
            on_close => sub {
                my ($c, $code, $reason) = @_;
                print "client: disconnected with $code", defined $reason ? " ($reason)" : '', "\n";
                $again->();
            },
            # A worker that is about to end may turn it away.
            on_error => sub { $again->() },
        );
    };
    $connect->();
    EV::run;
}

# ---- what this process is ----

my ($role, @arguments) = @ARGV;
if    (!defined $role)      { master(0, 1) }
elsif ($role eq '--worker') { worker(@arguments) }
elsif ($role eq '--client') { client(@arguments) }
else                        { master($role, 0) }
