use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Fcntl qw(:mode);
use Frame;
use Pair;
use POSIX ();
use Run;
use Test::More;

# What the module does to the process around it: signals, the environment,
# STDERR, descriptors 0 to 2.

# A peer that has gone away is no SIGPIPE.
{
    local $SIG{PIPE} = 'DEFAULT';
    my $pair = Pair->listen;
    for my $reset (0, 1) {
        my ($peer, $conn) = $pair->raw_peer;
        $peer->hang_up(reset => $reset);
        for (1 .. 50) {
            last if $conn->state ne 'connected';
            $conn->send('x' x 100_000);
            EV::run(EV::RUN_NOWAIT());
        }
        run_until(sub { $pair->server->count('close') }, 'sending to a peer that is gone ends in on_close');
        is($pair->server->last_of('close')->[0], 1006, 'with 1006');
        is($pair->server->count('close'), 1, 'once');
    }
}

# Perl's signal handlers run while the loop sleeps.
{
    my $pair = Pair->open;
    my $got = 0;
    my $signal = EV::signal('USR1', sub { $got++ });
    kill USR1 => $$;
    run_until(sub { $got }, 'a signal watcher of the loop');
    ok($pair->c->is_connected, 'and the connection goes on');
}

# A proxy of the environment is not for loopback addresses.
for my $variable (qw(http_proxy https_proxy all_proxy)) {
    local $ENV{$variable} = 'http://127.0.0.1:9';
    Pair->open(name => "$variable is not asked for 127.0.0.1");
}

# _set_debug prints a trace to STDERR, and nothing without it.
{
    open my $saved, '>&', \*STDERR or die "cannot keep STDERR: $!";
    my %trace;
    for my $on (1, 0) {
        require File::Temp;
        my $file = File::Temp->new;
        open STDERR, '>&', $file or die "cannot redirect STDERR: $!";
        EV::Websockets::_set_debug($on);
        my $pair = Pair->open;
        $pair->c->send('hello');
        run_until(sub { $pair->server->count('message') }, "a message with _set_debug($on)");
        $pair->shut;
        EV::Websockets::_set_debug(0);
        open STDERR, '>&', $saved or die "cannot restore STDERR: $!";
        open my $read, '<', $file->filename or die "cannot read the trace: $!";
        $trace{$on} = join '', <$read>;
    }
    like($trace{1}, qr/\S/, '_set_debug(1) prints a trace');
    is($trace{0}, '', '_set_debug(0) prints nothing');
}

# A program without descriptors 0 to 2: sockets took their numbers, and what was written
# to standard error, by perl or by a library, went to a peer.
sub sockets_among_the_first {
    return grep { my @stat = POSIX::fstat($_); @stat && S_ISSOCK($stat[2]) } 0 .. 2;
}
{
    defined(my $pid = fork) or die "fork: $!";
    if (!$pid) {
        Test::More->builder->no_ending(1);
        # The loop makes its own descriptor now, and not when there are free ones.
        EV::default_loop()->loop_fork;
        EV::run(EV::RUN_NOWAIT());
        my (@found, $echoed);
        POSIX::close($_) for 0 .. 2;
        my $context = EV::Websockets::Context->new(proxy => '');
        my $port    = $context->listen(host => '127.0.0.1', on_message => sub { $_[0]->send($_[1]) });
        push @found, sockets_among_the_first();
        my $conn = $context->connect(
            url        => "ws://127.0.0.1:$port",
            on_connect => sub { $_[0]->send('echo') },
            on_message => sub { $echoed = $_[1] },
        );
        push @found, sockets_among_the_first();
        # The resolver's thread wakes the loop by a descriptor.
        my $named = $context->connect(url => "ws://localhost:$port");
        my $is_done = wait_until(sub { $echoed && $named->state eq 'connected' });
        push @found, grep { POSIX::fstat($_) } 0 .. 2;
        POSIX::_exit($is_done && $echoed eq 'echo' ? @found ? 2 : 0 : 1);
    }
    waitpid $pid, 0;
    is($? >> 8, 0, 'a listener, a client, and what comes to the listener have other descriptors (1: no echo, 2: they have not)');
}

finish();
