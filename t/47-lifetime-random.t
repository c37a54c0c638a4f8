use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

use EV;
use EV::Websockets;
use Run;

# Many connections, in both roles, to which random things happen. Whatever the
# order, these hold:
#
#   - the messages of a side arrive whole and in the order in which they were sent
#   - on_connect comes first, on_close exactly once and last
#   - a side that did not call close() gets all that the other sent before its own
#   - no callback of a context comes after it was destroyed
#
# EVWS_SEED repeats a run, EVWS_ROUNDS makes it longer.

my $seed = defined $ENV{EVWS_SEED} ? $ENV{EVWS_SEED} : int rand 2**31;
my $rounds = $ENV{EVWS_ROUNDS} || 10;
my $operations = 3000;
note "EVWS_SEED=$seed";
srand $seed;

my @faults;
my $is_ending;    # from then on nothing random happens

sub fault {
    my ($side, $what) = @_;
    push @faults, "$side->{name}: $what";
    return;
}

my $depth = 0;    # of EV::run in EV::run

# One side of a connection. {peer} is the other side, once it is known.
sub new_side {
    my ($group, $role, $number) = @_;
    return {
        group => $group, role => $role, name => "$role $number", sent => 0, got => 0, pings => 0, pongs => 0,
        connects => 0, closes => 0, calls_close => 0, open_fragment => undef,
    };
}

# Every callback of every side comes through here.
sub note_callback {
    my ($side, $callback) = @_;
    fault($side, "on_$callback after its context was destroyed") if $side->{group}{destroyed};
    fault($side, "on_$callback after on_close") if $side->{closes};
    fault($side, "on_$callback before on_connect") if $callback ne 'connect' && !$side->{connects};
    return;
}

sub text_of { my ($n) = @_; return "$n:" . 'x' x ($n * 37 % 900) }

my %on = (
    connect => sub { my ($side, $conn) = @_; $side->{connects}++; $side->{conn} = $conn },
    message => sub {
        my ($side, $conn, $bytes, $is_binary) = @_;
        fault($side, 'on_message after close()') if $side->{calls_close};
        fault($side, 'on_message while paused') if $side->{paused};
        my $expected = text_of($side->{got}++);
        fault($side, "message $side->{got} is not the next one") if $bytes ne $expected;
        fault($side, 'wrong kind') if $is_binary != $side->{got} % 2;
        operate($side) if !int rand 4;
    },
    pong  => sub {
        my ($side, $conn, $payload) = @_;
        fault($side, "pong '$payload' is not the next one") if $payload ne $side->{pongs}++;
    },
    drain => sub { my ($side) = @_; fault($side, 'on_drain after close()') if $side->{calls_close} },
    error => sub { my ($side, $conn, $text) = @_; fault($side, "on_error: $text") },
    close => sub {
        my ($side, $conn, $code) = @_;
        $side->{closes}++;
        $side->{code} = $code;
        fault($side, 'state ' . $conn->state . ' in on_close') if $conn->state ne 'closed';
        delete $side->{conn};
    },
);

sub callbacks {
    my ($side_of) = @_;
    return map {
        my $callback = $_;
        "on_$callback" => sub {
            my $side = $side_of->(@_);
            note_callback($side, $callback);
            $on{$callback}->($side, @_);
            destroy($side->{group}) if delete $side->{group}{fuse};
        };
    } keys %on;
}

# ---- what can happen to a side ----

# Message n is text_of(n), as binary if n is even, else as text.
sub op_send {
    my ($side, $conn) = @_;
    return op_fragment($side, $conn) if defined $side->{open_fragment};
    my $n = $side->{sent}++;
    $n % 2 ? $conn->send(text_of($n)) : $conn->send_binary(text_of($n));
    return;
}

sub op_fragment {
    my ($side, $conn) = @_;
    if (!defined $side->{open_fragment}) {
        $side->{open_kind} = $side->{sent} % 2 ? 0 : 1;
        $side->{open_fragment} = text_of($side->{sent});
    }
    my $is_final = length $side->{open_fragment} < 2 || !int rand 3;
    my $length = $is_final ? length $side->{open_fragment} : int rand length $side->{open_fragment};
    my $piece = substr $side->{open_fragment}, 0, $length, '';
    # Without this, a close() would end the message early, as it should.
    $side->{sent}++ if $is_final;
    undef $side->{open_fragment} if $is_final;
    $conn->send_fragment($piece, $side->{open_kind}, $is_final ? 1 : 0);
    return;
}

sub op_ping  { my ($side, $conn) = @_; $conn->send_ping($side->{pings}++) }
sub op_pause { my ($side, $conn) = @_; $side->{paused} = 1; $conn->pause_recv }
sub op_burst { my ($side, $conn) = @_; op_send($side, $conn) for 1 .. 1 + int rand 40 }

sub op_nest {
    return if $depth >= 3;
    $depth++;
    EV::run(EV::RUN_NOWAIT);
    $depth--;
    return;
}

sub op_resume {
    my ($side, $conn) = @_;
    $side->{paused} = 0;
    $conn->resume_recv;
    return;
}

sub op_close {
    my ($side, $conn) = @_;
    # An unfinished message would be ended by close() and then be one too many.
    op_fragment($side, $conn) while defined $side->{open_fragment};
    op_resume($side, $conn) if $side->{paused};
    $side->{calls_close} = 1;
    $conn->close(3000 + int rand 1000, 'at random');
    return;
}

my @OPERATIONS = (
    (\&op_send) x 80, (\&op_fragment) x 40, (\&op_burst) x 20, (\&op_ping) x 30, (\&op_pause) x 15,
    (\&op_resume) x 20, (\&op_nest) x 10, \&op_close,
);

sub operate {
    my ($side) = @_;
    my $conn = $side->{conn};
    return if $is_ending || !$conn || !$conn->is_connected || $side->{group}{destroyed};
    $OPERATIONS[rand @OPERATIONS]->($side, $conn);
    return;
}

# ---- one round ----

# A group is one context: its sides and whether it is gone.
sub new_group { return { context => EV::Websockets::Context->new, destroyed => 0 } }

sub destroy {
    my ($group) = @_;
    $group->{destroyed} = 1;
    delete $group->{context};
    return;
}

sub listen_in {
    my ($group, $clients, $sides) = @_;
    my %side;
    return $group->{context}->listen(callbacks(sub {
        my ($conn, $headers) = @_;
        return $side{$conn} if ref $headers ne 'HASH';    # not on_connect
        my $number = $headers->{'X-Number'};
        my $side = $side{$conn} = new_side($group, 'server', $number);
        $side->{peer} = $clients->[$number];
        $clients->[$number]{peer} = $side;
        push @$sides, $side;
        return $side;
    }));
}

sub connect_in {
    my ($group, $port, $number) = @_;
    my $side = new_side($group, 'client', $number);
    $side->{conn} = $group->{context}->connect(
        url => "ws://127.0.0.1:$port/", headers => { 'X-Number' => $number }, callbacks(sub { $side }));
    return $side;
}

# What must hold between two sides whose contexts were there to the end.
sub compare {
    my ($side) = @_;
    my $peer = $side->{peer} or return fault($side, 'never met its peer');
    fault($side, "$side->{connects} on_connect") if $side->{connects} != 1;
    fault($side, "$side->{closes} on_close") if $side->{closes} != 1;
    fault($side, "got $side->{got} of $peer->{sent} messages")
        if $side->{got} > $peer->{sent} || $side->{got} < $peer->{sent} && !$side->{calls_close};
    fault($side, "closed with $side->{code}") if $side->{code} < 3000;
    return;
}

sub round {
    $is_ending = 0;
    my ($servers, @groups) = map { new_group() } 1 .. 4;
    my $doomed = $groups[-1];
    my (@clients, @servers);
    my $port = listen_in($servers, \@clients, \@servers);
    push @clients, connect_in($groups[$_ % @groups], $port, $_) for 0 .. 29;
    wait_until(sub { @servers == @clients && @clients == grep { $_->{connects} } @clients })
        or push @faults, 'not all are connected';

    my $end = int rand $operations;
    for my $n (1 .. $operations) {
        my $side = (@clients, @servers)[rand 2 * @clients];
        operate($side);
        EV::run(EV::RUN_NOWAIT) if !int rand 3;
        next if $n != $end;
        # From outside, or by the next callback of one of its connections.
        int rand 2 ? destroy($doomed) : ($doomed->{fuse} = 1);
    }

    destroy($doomed) if delete $doomed->{fuse};    # nothing came to set it off

    $is_ending = 1;
    my @lasting = grep { !$_->{group}{destroyed} && $_->{peer} && !$_->{peer}{group}{destroyed} } @clients, @servers;
    for my $side (@clients, @servers) {
        next if !$side->{conn} || !$side->{conn}->is_connected;
        op_resume($side, $side->{conn});
        op_close($side, $side->{conn}) if $side->{role} eq 'client';
    }
    my $over = wait_until(sub { !grep { !$_->{closes} } @lasting });
    fault($_, 'does not come to its end: ' . ($_->{conn} ? $_->{conn}->state : 'never connected')
        . ($_->{peer}{conn} ? ', its peer is ' . $_->{peer}{conn}->state : ''))
        for grep { !$_->{closes} } @lasting;
    compare($_) for $over ? @lasting : ();
    my $messages = 0;
    $messages += $_->{got} for @clients, @servers;

    destroy($_) for $servers, @groups;
    EV::run(EV::RUN_NOWAIT) for 1 .. 5;
    delete $_->{peer} for @clients, @servers;
    return $messages;
}

for my $round (1 .. $rounds) {
    @faults = ();
    my $messages = round();
    is join("\n", @faults), '', "round $round: all held";
    cmp_ok $messages, '>', 100, "round $round: over $messages messages";
}
diag "EVWS_SEED=$seed" if !Test::More->builder->is_passing;

finish;
