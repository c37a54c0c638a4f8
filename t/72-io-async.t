use strict;
use warnings;

BEGIN { $ENV{MOJO_REACTOR} = 'Mojo::Reactor::EV'; $ENV{MOJO_NO_TLS} = 1 }

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;

# IO::Async on EV: by IO::Async::Loop::EV itself where it is installed, or by
# IO::Async::Loop::Mojo, over the reactor of Mojolicious that is EV's.
my @loops;

BEGIN {
    plan skip_all => 'IO::Async is not installed' unless eval { require IO::Async::Listener; require IO::Async::Stream; 1 };
    push @loops, 'IO::Async::Loop::EV' if eval { require IO::Async::Loop::EV; 1 };
    push @loops, 'IO::Async::Loop::Mojo'
        if eval { require Mojo::Reactor::EV; require IO::Async::Loop::Mojo; Mojo::IOLoop->singleton->reactor->isa('Mojo::Reactor::EV') };
    plan skip_all => 'neither IO::Async::Loop::EV nor IO::Async::Loop::Mojo is installed' unless @loops;
}

use EV;
use EV::Websockets;
use IO::Async::Timer::Periodic;
use Neighbours;
use Run;

for my $class (@loops) {
    diag($class) if $ENV{TEST_VERBOSE};
    my $loop = $class->new;
    my $port;
    my $listener = IO::Async::Listener->new(on_stream => sub {
        my ($listener, $stream) = @_;
        $stream->configure(on_read => sub {
            my ($stream, $buffer) = @_;
            $stream->write("echo $1\n") while $$buffer =~ s/^(.*)\n//;
            return 0;
        });
        $loop->add($stream);
    });
    $loop->add($listener);
    $listener->listen(addr => { family => 'inet', socktype => 'stream', ip => '127.0.0.1', port => 0 })->get;
    $port = $listener->read_handle->sockport;

    neighbours(
        timer => sub {
            my ($cb) = @_;
            my $timer = IO::Async::Timer::Periodic->new(interval => 0.01, on_tick => $cb);
            $loop->add($timer->start);
            return $timer;
        },
        lines => sub {
            my ($on_line) = @_;
            my ($stream, @early);
            my $connecting = $loop->connect(
                addr => { family => 'inet', socktype => 'stream', ip => '127.0.0.1', port => $port },
            )->on_done(sub {
                $stream = IO::Async::Stream->new(handle => $_[0], on_read => sub {
                    my ($stream, $buffer) = @_;
                    $on_line->($1) while $$buffer =~ s/^(.*)\n//;
                    return 0;
                });
                $loop->add($stream);
                $stream->write($_) for splice @early;
            });
            return ($connecting, sub { $stream ? $stream->write("$_[0]\n") : push @early, "$_[0]\n" });
        },
        run => {
            "$class run" => sub {
                my ($start) = @_;
                $start->(sub { $loop->stop });
                $loop->run;
            },
            "$class await" => sub {
                my ($start) = @_;
                my $done = $loop->new_future;
                $start->(sub { $done->done });
                $loop->await($done);
            },
        },
    );
}

finish();
