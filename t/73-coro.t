use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;

BEGIN {
    plan skip_all => 'Coro is not installed'
        unless eval { require Coro; require Coro::Signal; require Coro::Channel; 1 };
    plan skip_all => 'valgrind does not follow coroutines from stack to stack'
        if ($ENV{LD_PRELOAD} || '') =~ /valgrind/;
}

use Coro;
use EV;
use EV::Websockets;
use Events;
use Pair;
use Run;

# Callbacks among coroutines. One that waits leaves its drain half done on a C
# stack of its own, and other drains of the same context begin and end
# meanwhile, in any order.

# Lets the others run until it holds.
sub await {
    my ($condition, $name) = @_;
    my $deadline = time + 30;
    cede() until $condition->() or time > $deadline;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return ok($condition->(), $name);
}

# Each coroutine has a handler of its own for warnings; this is what it begins with.
{ no warnings 'once'; $Coro::State::WARNHOOK = $SIG{__WARN__} }

# A loop is run by one coroutine. When that one waits inside of a callback,
# another has to. None sleeps in it, since the others are to have their turns.
my @runners;

sub run_loop {
    push @runners, async { EV::run(EV::RUN_NOWAIT()), cede() while 1 };
    return;
}

run_loop();

# Each callback may wait, through unblock_sub as for any event library.
{
    my @order;
    my $signal = Coro::Signal->new;
    my $pair = Pair->open(listen => { on_message => unblock_sub {
        my ($conn, $bytes) = @_;
        $signal->wait if $bytes eq 'slow';
        push @order, $bytes;
        $conn->send("done $bytes");
    } });
    $pair->c->send($_) for qw(slow quick);
    await(sub { $pair->client->count('message') == 1 }, 'unblock_sub: the quick one is answered');
    $signal->send;
    await(sub { $pair->client->count('message') == 2 }, 'unblock_sub: then the slow one');
    is("@order", 'quick slow', 'in the order in which they were done');
}

# So it may without. The drain of "first" is suspended with an event still to
# come, that of "second" ends before it or after it; each dies at the end and
# has its next event delivered by the XSUB that runs under the eval. Once the
# drains were a list through their stacks: a later one found another's there,
# or what was left of it, and perl crashed.
for my $resumed ([ 0, 1, 2 ], [ 2, 1, 0 ], [ 1, 2, 0 ], [ 1, 0, 2 ]) {
    my (@waiting, @seen);
    my $context = EV::Websockets::Context->new;
    my $port = $context->listen(on_message => sub {
        my ($conn, $bytes) = @_;
        push @seen, $bytes;
        if ((my $n) = $bytes =~ /^wait (\d)/) {
            run_loop();
            ($waiting[$n] = Coro::Signal->new)->wait;
            push @seen, "resumed $n";
        }
        die "$bytes\n" if $bytes =~ /die/;
        $conn->send("echo $bytes");
    });
    my @events = map { Events->new } 0 .. 2;
    my @clients = map { $context->connect(url => "ws://127.0.0.1:$port", $_->handlers) } @events;
    await(sub { 3 == grep { $_->count('connect') } @events }, "order @$resumed: connected");
    for my $n (0 .. 2) {
        $clients[$n]->send($_) for "wait $n, die", "after $n, die", "last $n";
        await(sub { $waiting[$n] && $events[$n]->count('message') }, "callback $n waits, those after it do not");
    }
    for my $n (@$resumed) {
        $waiting[$n]->send;
        await(sub { grep { $_ eq "resumed $n" } @seen }, "callback $n goes on");
        $clients[$n]->send("again $n");
        await(sub { $events[$n]->count('message') == 2 }, 'and so does its connection');
    }
    is_deeply([ map { [ $_->messages ] } @events ], [ map { [ "echo last $_", "echo again $_" ] } 0 .. 2 ],
        'nothing is lost and nothing comes twice');
    is(join(', ', sort map { /exception in message handler: (.*)/ } warned()),
        join(', ', map({ "after $_, die" } 0 .. 2), map({ "wait $_, die" } 0 .. 2)), 'each die is told once');
}

# Everything may be gone when a callback comes back: its connection closed, its
# context destroyed. So may the coroutine itself, but in a debugging perl: Coro leaves
# the save stack of a coroutine before its contexts, which that takes for a mistake.
my $debugging = defined &Internals::V && (Internals::V())[1] =~ /\bDEBUGGING\b/;
for my $end (qw(close destroy throw), $debugging ? () : 'cancel') {
    my ($signal, $coro, $back);
    my $destroyed = 0;
    my $guard = bless [ \$destroyed ], 'Told';
    my $pair = Pair->open(listen => { on_message => sub {
        my ($conn, $bytes) = @_;
        my $held = $guard;
        return if $bytes ne 'wait';
        $coro = $Coro::current;
        run_loop();
        ($signal = Coro::Signal->new)->wait;
        $back = $conn->state;
    } });
    undef $guard;
    $pair->c->send($_) for 'wait', 'and more';
    await(sub { $signal && $pair->server->count('message') == 2 }, "$end: a callback waits");
    if ($end eq 'close') {
        $pair->shut;
        $signal->send;
        await(sub { defined $back }, "$end: it comes back");
        is($back, 'closed', "$end: and finds the connection as it is");
    }
    elsif ($end eq 'destroy') {
        undef $pair->{context};
        $signal->send;
        await(sub { defined $back }, "$end: it comes back");
        is($back, 'closed', "$end: and finds the connection as it is");
    }
    elsif ($end eq 'throw') {
        $coro->throw("thrown\n");
        my @told;
        await(sub { push @told, warned(); @told }, "$end: it comes back");
        like(join('', @told), qr/exception in message handler: thrown/, "$end: like a die");
    }
    else {
        $coro->cancel;
        $pair->c->send('still there');
        await(sub { $pair->server->count('message') == 3 }, "$end: others go on");
    }
    undef $_ for $pair, $coro, $signal;
    is($destroyed, 1, "$end: nothing is left of the callbacks");
}

sub Told::DESTROY { ${ $_[0][0] }++ }

# on_handshake decides when it returns, which may be later.
{
    my $signal;
    my $context = EV::Websockets::Context->new;
    my $port = $context->listen(on_handshake => sub {
        my ($headers) = @_;
        return 1 if $headers->{Path} ne '/slow';
        run_loop();
        ($signal = Coro::Signal->new)->wait;
        return { 'X-Slow' => 'yes' };
    });
    my ($slow, $quick) = map { Events->new } 1 .. 2;
    $context->connect(url => "ws://127.0.0.1:$port/slow", $slow->handlers);
    await(sub { $signal }, 'on_handshake waits');
    $context->connect(url => "ws://127.0.0.1:$port/quick", $quick->handlers);
    await(sub { $quick->count('connect') }, 'others are accepted meanwhile');
    is($slow->order, '', 'while it waits');
    $signal->send;
    await(sub { $slow->count('connect') }, 'then it is accepted itself');
    is($slow->last_of('connect')->[0]{'X-Slow'}, 'yes', 'by what the callback returned');
}

# The usual way: Coro::EV, whose coroutines run when the loop would sleep. The
# sends of those come too late for this turn's prepare watchers, and once stayed
# where they were until something else woke the loop.
SKIP: {
    eval { require Coro::EV; 1 } or skip 'Coro::EV is not installed', 1;
    $_->cancel for @runners;
    my $late = 0;
    my $timer = EV::timer(30, 0, sub { $late = 1; EV::break() });
    $timer->keepalive(0);
    my @got;
    async {
        my $inbox = Coro::Channel->new;
        my $context = EV::Websockets::Context->new;
        my $port = $context->listen(on_message => unblock_sub { $_[0]->send("echo $_[1]") });
        my $conn = $context->connect(
            url => "ws://127.0.0.1:$port", on_connect => Coro::rouse_cb(), on_message => sub { $inbox->put($_[1]) });
        my ($connected, $headers) = Coro::rouse_wait();
        is($connected, $conn, 'rouse_wait returns what on_connect was given');
        is($headers->{Upgrade}, 'websocket', 'headers and all');
        for (1 .. 3) {
            $conn->send($_);
            push @got, $inbox->get;
        }
        my $other = async { $conn->send('other'); push @got, $inbox->get };
        $other->join;
    };
    EV::run();
    is(join(', ', @got), 'echo 1, echo 2, echo 3, echo other', 'messages through a channel, in two coroutines');
    is($late, 0, 'each as soon as it was sent, and then the loop has nothing left');
}

finish();
