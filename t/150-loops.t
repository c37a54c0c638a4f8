use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use IO::Socket::INET;
use Events;
use Pair;
use RawServer;
use Run;
use Test::More;

# Other loops than the default one, several contexts, and what keeps a loop
# alive.

# An idle context keeps nothing alive: EV::run returns.
{
    my $context = EV::Websockets::Context->new;
    EV::run();
    pass('EV::run returns with a context that has nothing to do');
    my $loop = EV::Loop->new;
    my $other = EV::Websockets::Context->new(loop => $loop);
    $loop->run;
    pass('and so does the run of another loop');
}

# A listener keeps it alive.
{
    my $loop = EV::Loop->new;
    my $context = EV::Websockets::Context->new(loop => $loop);
    my $port = $context->listen;
    my $ended = 0;
    my $timer = $loop->timer(0.1, 0, sub { $ended = 1; $loop->break });
    $timer->keepalive(0);
    $loop->run;
    is($ended, 1, 'a listener keeps the loop alive');
    undef $context;
    $loop->run;
    pass('a destroyed context does not');
}

# A connection keeps it alive until it is closed.
{
    my $raw = RawServer->new;
    $raw->{watcher}->keepalive(0);
    my $context = EV::Websockets::Context->new;
    my $events = Events->new;
    my $conn = $context->connect(url => 'ws://127.0.0.1:' . $raw->port, $events->handlers);
    run_until(sub { $events->count('connect') }, 'connected');
    $raw->last_peer->{reader}->keepalive(0);
    my $ticks = 0;
    my $timer = EV::timer(0.1, 0, sub { $ticks++; $raw->last_peer->send_close(4000)->finish_writing });
    $timer->keepalive(0);
    EV::run();
    is($ticks, 1, 'a connection keeps the loop alive');
    is($events->order, 'connect close', 'EV::run returns when it is closed');
    is($conn->state, 'closed', 'which it is');
}

# So it is after a failure.
{
    my $errors = 0;
    my $context = EV::Websockets::Context->new;
    $context->connect(url => 'ws://127.0.0.1:' . RawServer::unused_port(), connect_timeout => 60, on_error => sub { $errors++ });
    EV::run();
    is($errors, 1, 'a connecting one keeps it alive until it has failed, a deadline does not');
}

# Two contexts on two loops: each moves with its own loop alone.
{
    my ($one, $two) = (EV::Loop->new, EV::Loop->new);
    my ($at_server, $at_client) = (Events->new, Events->new);
    my $server = EV::Websockets::Context->new(loop => $one);
    my $client = EV::Websockets::Context->new(loop => $two);
    my $port = $server->listen($at_server->handlers(on_message => sub { $_[0]->send("echo $_[1]") }));
    my $conn = $client->connect(url => "ws://127.0.0.1:$port", $at_client->handlers);
    for (1 .. 20) {
        $two->run(EV::RUN_NOWAIT());
        EV::run(EV::RUN_NOWAIT());
    }
    is($at_client->order . $at_server->order, '', 'the client runs, the server does not: no connection yet');
    my $turn = 0;
    my $both = sub { $turn++ % 2 ? $one->run(EV::RUN_NOWAIT()) : $two->run(EV::RUN_NOWAIT()) };
    run_until(sub { $both->(); EV::now_update(); $at_client->count('connect') && $at_server->count('connect') }, 'both run', $one);
    $conn->send('hello');
    run_until(sub { $both->(); $at_client->count('message') }, 'and talk', $one);
    is(($at_client->messages)[0], 'echo hello', 'to each other');
    $conn->close;
    run_until(sub { $both->(); $at_client->count('close') && $at_server->count('close') }, 'until they close', $two);
}

# A context on a loop that the program has let go of.
{
    my $context = EV::Websockets::Context->new(loop => EV::Loop->new);
    my $port = $context->listen;
    like($port, qr/\A\d+\z/, 'the context holds its loop');
}

# Several contexts on one loop, and a client of one at the server of another.
{
    my @pairs = map { Pair->open(listen => { on_message => sub { $_[0]->send($_[1]) } }) } 1 .. 3;
    my $events = Events->new;
    $pairs[0]->context->connect(url => 'ws://127.0.0.1:' . $pairs[2]->port, $events->handlers(on_connect => sub { $_[0]->send('across') }));
    $_->c->send('own') for @pairs;
    run_until(sub { $events->count('message') && 3 == grep { $_->client->count('message') } @pairs }, 'three contexts on one loop');
    is(scalar(my @in = $pairs[2]->context->connections), 3, 'each lists its own connections');
}

# A program that runs one turn of the loop at a time sees each callback when it
# has come: the loop does not deliver it and then sleep.
{
    my @got;
    my $pair = Pair->open(listen => { on_message => sub { push @got, $_[1]; $_[0]->pause_recv } });
    $pair->c->send($_) for 1 .. 3;
    run_until(sub { @got == 1 }, 'the first message pauses');
    for my $n (2, 3) {
        $pair->s->resume_recv;
        my $ticks = 0;
        EV::now_update();
        my $timer = EV::timer(20, 0, sub { $ticks++ });
        EV::run(EV::RUN_ONCE()) until @got == $n or $ticks;
        is($ticks, 0, "message $n, by EV::run(EV::RUN_ONCE) alone");
    }
}

# Calls from outside of the loop are not lost, even when nothing else happens.
{
    my $pair = Pair->open;
    settle();
    $pair->c->send('from outside');
    run_until(sub { $pair->server->count('message') }, 'a send from outside of any callback');
    my $timer = EV::timer(0.01, 0, sub { $pair->c->send('from a timer') });
    run_until(sub { $pair->server->count('message') == 2 }, 'and from a timer');
    # By then it is too late for a prepare watcher of ours: once the loop slept
    # on what was sent, until a timer or a descriptor woke it.
    my $late = 0;
    my $guard = EV::timer(20, 0, sub { $late = 1 });
    for my $connection ($pair->c, $pair->s) {
        my $prepare; $prepare = EV::prepare(sub { $connection->send('from prepare'); $prepare->stop });
        my $events = $connection == $pair->c ? $pair->server : $pair->client;
        my $before = $events->count('message');
        EV::now_update();
        EV::run(EV::RUN_ONCE()) until $late or $events->count('message') > $before;
        is($late, 0, 'and from a prepare watcher, with nothing else that wakes the loop');
    }
    my $check; $check = EV::check(sub { $pair->c->send('from check'); $check->stop });
    EV::once(undef, 0, 0.01, sub { });
    run_until(sub { $pair->server->count('message') == 4 }, 'and from a check watcher');
}

# The loop counts from its own time. A turn that took long, with a callback that computes, left that behind: the loop woke up too
# early for a deadline, and once more for it. So idle connections woke a busy process twice as often.
{
    my $silent = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1') or die "listen: $!";
    my $turns_after = sub {
        my ($busy) = @_;
        my ($turns, $over) = (0);
        my $context = EV::Websockets::Context->new(proxy => '');
        my $begin = EV::timer(0, 0, sub {
            my $until = EV::time() + $busy;
            1 while EV::time() < $until;
            $context->connect(url => 'ws://127.0.0.1:' . $silent->sockport . '/', connect_timeout => 0.3,
                on_error => sub { $over = $turns });
        });
        my $check = EV::check(sub { $turns++ });
        run_unticked(sub { defined $over }, "a deadline after a turn of $busy s");
        return $over;
    };
    my $usual = $turns_after->(0);
    is($turns_after->(0.1), $usual, 'one that took long is followed by as many turns as another');
}

# EV::resume puts libev's timers off by the time for which the loop was suspended. The bug: the module compared times of day,
# took its timer to be in time for a deadline of half a second, and that came two seconds late. A clock that was set did the same.
{
    my $silent = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1') or die "listen: $!";
    my $context = EV::Websockets::Context->new(proxy => '');
    my @order;
    my $deadline = sub {
        my ($name, $seconds) = @_;
        $context->connect(url => 'ws://127.0.0.1:' . $silent->sockport . '/', connect_timeout => $seconds,
            on_error => sub { push @order, $name });
    };
    my $witness;
    $deadline->('old', 2.2);
    EV::now_update();
    my $suspend = EV::timer(0.05, 0, sub {
        EV::suspend();
        select undef, undef, undef, 1.9;    # there is no other way to let that time go by
        EV::resume();
        $deadline->('new', 0.5);
        EV::now_update();
        $witness = EV::timer(1.6, 0, sub { push @order, 'witness' });
    });
    run_unticked(sub { grep { $_ eq 'new' } @order }, 'a deadline after the loop was suspended');
    is("@order", 'old new', 'comes before the timer of EV that was set for later');
}

finish();
