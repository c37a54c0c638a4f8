#!/usr/bin/env perl
# Messages that are awaited by coroutines: each connection is talked to by one
# that reads from top to bottom. Needs Coro (in Debian: libcoro-perl); the module
# itself knows nothing of it.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../blib/lib", "$FindBin::Bin/../blib/arch";
use Coro;
use Coro::Channel;
use Coro::EV;
use EV;
use EV::Websockets;

my $ctx = EV::Websockets::Context->new;

# The callbacks that fill an inbox. Putting something into a channel never waits
# here, since the channel has no limit: what bounds it is pause_recv.
sub into {
    my ($inbox) = @_;
    return (
        on_message => sub {
            my ($c, $bytes) = @_;
            $inbox->put($bytes);
            $c->pause_recv if $inbox->size >= 16;
        },
        on_close => sub { $inbox->shutdown },    # get() then returns undef, after what is left
    );
}

sub next_message {
    my ($conn, $inbox) = @_;
    my $bytes = $inbox->get;                     # the other coroutines run meanwhile
    $conn->resume_recv if $inbox->size < 16;
    return $bytes;
}

# The server: a coroutine a connection. It may wait for anything, a database or
# another connection, and holds up nobody.
sub serve {
    my ($conn, $inbox) = @_;
    $conn->send('what is your name?');
    my $name = next_message($conn, $inbox);
    $conn->send("and what do you want, $name?");
    my $wish = next_message($conn, $inbox);
    my $woken = Coro::rouse_cb();
    my $timer = EV::timer(0.05, 0, $woken);
    Coro::rouse_wait($woken);                    # making it takes a while
    $conn->send("here you are, $name: $wish");
    $conn->close(1000, 'next, please');
}

my $port = $ctx->listen(
    host       => '127.0.0.1',
    limits     => 'public',
    on_connect => sub {
        my ($c) = @_;
        my $inbox = $c->stash->{inbox} = Coro::Channel->new;
        async { serve($c, $inbox) };
    },
    on_message => sub { my ($c, $bytes) = @_; $c->stash->{inbox}->put($bytes) },
    on_close   => sub { my ($c) = @_; $c->stash->{inbox}->shutdown },
);

# A client: rouse_cb makes a callback that one coroutine waits for. Here it is
# two, and the first of them that is called counts.
sub order {
    my ($name, $wish) = @_;
    my $inbox  = Coro::Channel->new;
    my $opened = Coro::rouse_cb();
    $ctx->connect(
        url => "ws://127.0.0.1:$port/", into($inbox), on_connect => $opened, on_error => $opened);
    my ($conn, $outcome) = Coro::rouse_wait($opened);
    die "$name: $outcome\n" if !ref $outcome;    # on_error has a text, on_connect the headers
    for my $answer ($name, $wish) {
        my $question = next_message($conn, $inbox);
        print "$name is asked '$question'\n";
        $conn->send($answer);
    }
    print "$name gets '", next_message($conn, $inbox), "'\n";
    defined next_message($conn, $inbox) or print "$name leaves\n";
}

my @clients = (async { order('ann', 'a tea') }, async { order('bob', 'a coffee') });
async { $_->join for @clients; print "everyone has left\n"; EV::break };

# The program's own coroutine runs the loop, and with Coro::EV the others. Do not
# wait in a callback directly, as this one would be the coroutine that waits: put
# a message into a channel, start a coroutine, or wrap the callback in
# unblock_sub { ... }, which starts one for each call.
EV::run;
