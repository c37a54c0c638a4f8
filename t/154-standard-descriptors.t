use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Fcntl qw(:mode);
use POSIX ();
use Run;
use Test::More;

# A program without descriptors 0 to 2: sockets took their numbers, and what was written
# to standard error, by perl or by a library, went to a peer.

sub sockets_among_the_first {
    return grep { my @stat = POSIX::fstat($_); @stat && S_ISSOCK($stat[2]) } 0 .. 2;
}

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

finish();
