use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;

use Crowd;
use EV;
use EV::Websockets;
use EV::Websockets::Backplane;
use Run;
use Scalar::Util qw(weaken);

# What runs inside of a call: a client that dies there, and callbacks that close the Backplane. No Redis is needed.

{
    package Frail;    # a client that answers from the loop, and dies of one of its methods or commands
    our ($dies_of, $is_silent, @calls) = ('');
    sub new { return bless {}, $_[0] }
    sub connect {
        my ($self, $events) = @_;
        $self->{events} = $events;
        $self->_call('connect');
        return $self->_later($events->{up});
    }
    sub _call {
        my ($self, $name) = @_;
        push @calls, $name;
        die "not connected\n" if !$self->{events};
        die "no more strength\n" if $name eq $dies_of;
    }
    sub _later {
        my ($self, $callback, @answer) = @_;
        push @{ $self->{timers} }, EV::timer(0, 0, sub { $callback->(@answer) });
    }
    sub command {
        my ($self, $callback, $command, @words) = @_;
        $self->_call($command eq 'EVALSHA' ? $words[0] : $command);
        return $self->_later($callback, $words[1] eq $EV::Websockets::Backplane::Wire::LOOK ? 'look' : 'publish') if $command eq 'SCRIPT';
        return $self->_later($callback, "redis_version:7.0.0\r\nrun_id:0123456789abcdef0123\r\n") if $command eq 'INFO';
        return $self->_later($self->{events}{message}, @words) if $command eq 'PUBLISH';
        push @{ $self->{numbers} }, $words[ 2 + $words[1] + 3 ] if $words[0] eq 'publish';
        return if $is_silent;
        return $self->_later($callback, $words[0] eq 'publish' ? [] : [ '0' x 16, 0, 0, 0, 0 ]);
    }
    sub subscribe { my ($self, $channel, $callback) = @_; $self->_call('subscribe'); return $self->_later($callback) }
    sub unsubscribe { $_[0]->_call('unsubscribe') }
    sub disconnect { push @calls, 'disconnect'; delete @{ $_[0] }{qw(events timers)} }
}

my $in_call = 0;

# What is said in the callbacks of a Backplane, and how many of them ran inside of one of our calls.
sub node {
    my (%options) = @_;
    ($Frail::dies_of, $Frail::is_silent, @Frail::calls) = (delete $options{dies_of} // '', 0);
    my $node = { events => [], within => 0, client => Frail->new, crowd => Crowd->new(peers => delete $options{peers} // 1) };
    my %on;
    for my $name (qw(on_up on_down on_refused on_missed on_gap)) {
        my $code = delete $options{$name};
        $on{$name} = sub {
            my ($backplane, @rest) = @_;
            push @{ $node->{events} }, join ' ', $name, grep { defined && !ref } @rest;
            $node->{within}++ if $in_call;
            $code->($node) if $code;
        };
    }
    $node->{ctx} = $node->{crowd}->ctx;
    $in_call++;
    $node->{backplane} = EV::Websockets::Backplane->new($node->{ctx}, redis => $node->{client}, retry => 0.01, %on, %options);
    $in_call--;
    wait_until(sub { @{ $node->{events} } });
    return $node;
}

sub within { my ($code) = @_; $in_call++; my @answer = eval { $code->() }; $in_call--; return $@ ? "died: $@" : $answer[0] }

# ---- a client that dies ----

# The bug: a client that had died was asked on, without connections, and died of that once more: two or three losses for
# each, so that it was soon tried as seldom as it can be, and the reason that was told was that of the last one.
{
    my $node = node(dies_of => 'SCRIPT', while_down => 'keep', max_pending_age => 0.05, retry => 0.05);
    $node->{ctx}->publish('t', 'x');
    run_until(sub { @{ $node->{events} } == 2 }, 'a client that dies at once');
    is_deeply($node->{events}, [ 'on_down no more strength', 'on_refused t x not confirmed: no more strength' ], 'the reason is its own');
    like("@Frail::calls", qr/\A(?:connect SCRIPT disconnect ?)+(?:connect)?\z/, 'and nothing is asked without a connection');
    $node->{backplane}->close;
}
{
    my $node = node(while_down => 'keep', retry => 0.01);
    $Frail::is_silent = 1;
    $node->{ctx}->publish('t', 'x');
    run_until(sub { grep { $_ eq 'publish' } @Frail::calls }, 'a batch that is not answered');
    $node->{client}{events}{down}->('gone');
    run_until(sub { @{ $node->{events} } == 2 }, 'the connection is lost');
    $node->{ctx}->publish('t', 'y');
    ($Frail::dies_of, @Frail::calls) = 'publish';
    run_until(sub { grep { $_ eq 'disconnect' } @Frail::calls }, 'a client that dies when it is sent again');
    is("@Frail::calls", 'connect SCRIPT SCRIPT INFO subscribe publish disconnect', 'is not given what comes behind');
    ($Frail::dies_of, $Frail::is_silent) = ('', 0);
    run_until(sub { !$node->{backplane}->pending }, 'both arrive');
    is("@{ $node->{events} }", 'on_up on_down gone on_up', 'and it is told once');
    $node->{backplane}->close;
}

# ---- callbacks inside of a call ----

# The bug: on_down ran inside of the call in which a client died. When it closed the Backplane, subscribe died of that, and
# publish returned true for a message that nobody had any more.
{
    my $node = node(on_down => sub { $_[0]{backplane}->close });
    my $conn = $node->{crowd}->conn(0);
    $Frail::dies_of = 'subscribe';
    is(within(sub { $conn->subscribe('t', since => [ '0' x 16, 1 ]) ? 1 : 0 }), 1, 'subscribe, of which a client dies');
    run_until(sub { $node->{backplane}{is_closed} }, 'on_down closes the Backplane');
    is_deeply($node->{events}, [ 'on_up', 'on_missed t', 'on_down no more strength' ], 'all is told');
    is($node->{within}, 0, 'and nothing inside of a call');
    is($node->{ctx}->publish('t', 'x'), 1, 'it is subscribed');
}
for my $while_down (qw(refuse keep)) {
    my $node = node(while_down => $while_down, on_down => sub { $_[0]{backplane}->close });
    $node->{crowd}->conn(0)->subscribe('t');
    $Frail::dies_of = 'subscribe';
    is(within(sub { $node->{ctx}->publish('t', 'x') }), $while_down eq 'keep' ? 1 : 0, "$while_down: publish, of which a client dies");
    is($node->{backplane}->pending, $while_down eq 'keep' ? 1 : 0, "$while_down: returns what holds");
    run_until(sub { $node->{backplane}{is_closed} }, "$while_down: on_down closes the Backplane");
    is($node->{within}, 0, "$while_down: afterwards");
}
{
    my $node = node(on_down => sub { $_[0]{backplane}->close });
    my $left;
    $node->{ctx}->publish('t', 'x');
    $Frail::dies_of = 'publish';
    within(sub { $node->{backplane}->flush(sub { $left = $_[1]; $node->{within}++ if $in_call }) });
    run_until(sub { defined $left }, 'flush, of which a client dies');
    is("$left $node->{within}", '1 0', 'is told afterwards');
    run_until(sub { $node->{backplane}{is_closed} }, 'and then on_down comes');
}
{
    my $node = node(dies_of => 'connect');
    is($node->{within}, 0, 'a client that dies in new: it is told afterwards');
    $node->{backplane}->close;
}

# The bug: what was given up before the first connection had no reason, and was a warning.
{
    my ($refused, $ctx) = (undef, EV::Websockets::Context->new);
    no warnings 'redefine';
    local *Frail::connect = sub { };
    my $backplane = EV::Websockets::Backplane->new(
        $ctx, redis => Frail->new, while_down => 'keep', max_pending_age => 0.02, on_refused => sub { $refused = $_[3] },
    );
    $ctx->publish('t', 'x');
    run_until(sub { defined $refused }, 'a client that does not connect');
    is($refused, 'not confirmed: not connected yet', 'is the reason');
}

# A loss that was not told yet goes with the Backplane.
for my $how (qw(closed destroyed)) {
    my $node = node();
    $Frail::dies_of = 'publish';
    $node->{ctx}->publish('t', 'x');
    $node->{backplane}->flush(sub { });
    ok(!$node->{backplane}->is_up, "$how: a connection that is lost");
    $node->{backplane}->close if $how eq 'closed';
    $node->{ctx}->set_backplane(undef);
    weaken(my $weak = $node->{backplane});
    delete $node->{backplane};
    is($weak, undef, "$how: nothing keeps the Backplane");
    @Frail::calls = ();
    settle();
    is_deeply($node->{events}, ['on_up'], "$how: nothing is told");
    is("@Frail::calls", '', "$how: and nothing is asked");
}

# The bug: `history` is asked in subscribe and in publish, and may close the Backplane as well.
{
    my $node;
    $node = node(history => sub { $node->{backplane}->close; return 1 });
    is(within(sub { $node->{crowd}->conn(0)->subscribe('t', since => [ '0' x 16, 1 ]) ? 1 : 0 }), 0, 'subscribe, in which history closes');
    is($node->{ctx}->publish('t', 'x'), 1, 'it is subscribed');
}
{
    my $node;
    $node = node(history => sub { $node->{crowd}->conn(0)->abort; return 1 });
    is(within(sub { $node->{crowd}->conn(0)->subscribe('t', since => [ '0' x 16, 1 ]) ? 1 : 0 }), 0, 'subscribe, in which history ends the connection');
    is_deeply([ keys %{ $node->{backplane}{topics} } ], [], 'nobody wants the topic');
    $node->{backplane}->close;
}
{
    my $node;
    $node = node(history => sub { $node->{backplane}->close; return 1 });
    $node->{crowd}->conn(0)->subscribe('t');
    is(within(sub { $node->{ctx}->publish('t', 'x') }), 0, 'publish, in which history closes');
    is($node->{backplane}->pending, 0, 'nothing is kept');
}
{
    my $node = node();
    $node->{crowd}->conn(0)->subscribe('t');
    $node->{backplane}->close;
    @Frail::calls = ();
    my $another = EV::Websockets::Backplane->new(
        $node->{ctx}, redis => Frail->new, history => sub { $node->{ctx}->backplane->close; return 1 },
    );
    run_until(sub { !$node->{ctx}->backplane }, 'a new one, of a topic that has a subscriber, which history closes');
    settle();
    is($Frail::calls[-1], 'disconnect', 'it asks nothing more');
}

# The bug: a flush in `history` had a later batch overtake the one that was being put together, whose numbers Redis then
# took for those that it had had.
{
    my ($node, $asked);
    $node = node(history => sub {
        return 1 if $asked++;
        $node->{ctx}->publish('t', 'y');
        $node->{backplane}->flush(sub { });
        return 1;
    });
    $node->{ctx}->publish('t', 'x');
    run_until(sub { $asked && !$node->{backplane}->pending }, 'history that flushes');
    is_deeply($node->{client}{numbers}, [ 1, 2 ], 'the order stays');
    $node->{backplane}->close;
}

# The bug: on_missed that closed the Backplane freed the topics of which others were still to be told.
{
    my $node = node(peers => 5, on_missed => sub { $_[0]{backplane}->close });
    $Frail::is_silent = 1;
    my @conns = $node->{crowd}->conns;
    $conns[$_]->subscribe("t$_", since => [ '0' x 16, 1 ]) for 0 .. $#conns;
    $node->{client}{events}{down}->('gone');
    run_until(sub { @{ $node->{events} } == 6 }, 'on_missed that closes');
    is_deeply([ sort @{ $node->{events} } ], [ (map { "on_missed t$_" } 0 .. 4), 'on_up' ], 'all are told');
}

# The bug: after on_gap had dropped the Backplane, its topic called a method of it.
{
    my $node = node(dies_of => 'connect', on_gap => sub { my ($node) = @_; $node->{backplane}->close; delete $node->{backplane} });
    $node->{crowd}->conn(0)->subscribe('t');
    settle();
    $Frail::dies_of = '';
    run_until(sub { !$node->{backplane} }, 'on_gap that drops all');
}

finish();
