use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

use EV;
use EV::Websockets;
use RawServer;
use Run;

# Thousands of connections and contexts in one process leave no descriptor and
# no Perl value behind. Under a tool that slows everything down, set
# EVWS_CHURN to a smaller number of connections.

my $total = $ENV{EVWS_CHURN} || 10_000;
my $at_once = 50;

# Thousands of runs may take longer than other test files have, on a busy machine.
alarm 900;

my $can_count_svs = eval { require Test::LeakTrace; 1 };

# Descriptors of this process, or undef where /proc does not tell.
sub descriptors {
    opendir my $dir, '/proc/self/fd' or return undef;
    return scalar grep { /^\d+$/ } readdir $dir;
}

sub values_in_perl { return $can_count_svs ? Test::LeakTrace::count_sv() : undef }

# Does $work twice, a smaller round first, and compares what is there after each.
# $work returns what has to be checked, as [got, expected, name]: the harness keeps
# values for every test, so there must be none between the two counts.
sub leaves_nothing {
    my ($what, $count, $work) = @_;
    subtest $what => sub {
        my @checks = $work->(int $count / 10);
        settle();
        my ($fds, $svs) = (descriptors(), values_in_perl());
        @checks = $work->($count);
        settle();
        my ($fds_after, $svs_after) = (descriptors(), values_in_perl());
        is_deeply $_->[0], $_->[1], $_->[2] for @checks;
        SKIP: {
            skip 'no /proc/self/fd here', 1 unless defined $fds;
            is $fds_after, $fds, 'no descriptor is left';
        }
        SKIP: {
            skip 'Test::LeakTrace is not installed', 1 unless $can_count_svs;
            # One value lost for each would be twenty times as many.
            cmp_ok $svs_after - $svs, '<', $count / 20, 'no Perl value is left';
        }
    };
    return;
}

# $count connections through $context, $at_once at a time. Each does what
# $options gives it, and counts when it is over.
sub churn {
    my ($context, $port, $count, $options) = @_;
    my ($begun, $over) = (0, 0);
    my $begin;
    $begin = sub {
        return if $begun >= $count;
        $begun++;
        my $end = sub { $over++; $begin->() };
        $context->connect(url => "ws://127.0.0.1:$port/", $options->($end));
    };
    $begin->() for 1 .. $at_once;
    my $progress = -1;
    # Patience is for a standstill, not for the whole.
    while ($over < $count && $over > $progress) {
        $progress = $over;
        my $goal = $over + 1000 < $count ? $over + 1000 : $count;
        wait_until(sub { $over >= $goal });
    }
    undef $begin;
    return [$over, $count, "$count connections came to their end"];
}

{
    my $context = EV::Websockets::Context->new;
    my %seen = (connect => 0, message => 0, close => 0);
    my $port = $context->listen(
        on_connect => sub { $seen{connect}++ },
        on_message => sub { $seen{message}++; $_[0]->send($_[1]) },
        on_close   => sub { $seen{close}++ },
    );
    leaves_nothing 'connect, echo, close', $total => sub {
        my ($count) = @_;
        %seen = map { $_ => 0 } keys %seen;
        my $all = churn($context, $port, $count, sub {
            my ($end) = @_;
            return (
                on_connect => sub { $_[0]->stash->{list} = [1 .. 3]; $_[0]->send('x') },
                on_message => sub { $_[0]->close },
                on_close   => $end,
            );
        });
        wait_until(sub { $seen{close} == $count });
        return $all,
            [{%seen}, { connect => $count, message => $count, close => $count }, 'the server saw each of them'],
            [[map { $_->state } $context->connections], [], 'and none is left'];
    };

    leaves_nothing 'refused', $total / 10 => sub {
        my ($count) = @_;
        churn($context, RawServer::unused_port(), $count, sub { return (on_error => $_[0]) });
    };
}

{
    my $context = EV::Websockets::Context->new;
    my $port = $context->listen(on_handshake => sub { 0 });
    leaves_nothing 'rejected', $total / 10 => sub {
        churn($context, $port, $_[0], sub { return (on_error => $_[0]) });
    };
}

# The same within one EV::run. The bug: temporaries that perl makes in a lookup, or of what is taken out of a hash, were
# freed when that returned: nothing frees any where the loop calls the module, unless there is a callback to be called.
{
    package Ghost;    # whatever it is asked for, it has
    our $AUTOLOAD;
    sub new { return bless [], shift }
    sub can { return 1 }
    sub AUTOLOAD { return }
}
sub later { my ($then) = @_; my $timer; $timer = EV::timer(0, 0, sub { undef $timer; $then->() }); return }
for my $case (
    [ 'a handshake with a stash, accepted later', sub {
        my (undef, $handshake) = @_;
        $handshake->stash->{user} = 'ann';
        later(sub { $handshake->accept; undef $handshake });
        return $handshake;
    } ],
    [ 'an object whose DESTROY is an AUTOLOAD', sub { return $_[1]->stash->{ghost} = Ghost->new } ],
    [ 'a back end whose methods are one AUTOLOAD', sub { return 1 }, on_connect => sub { $_[0]->subscribe($_) for 'a' .. 'c' } ],
) {
    my ($what, $on_handshake, @options) = @$case;
    my $context = EV::Websockets::Context->new;
    $context->set_backplane(Ghost->new) if $what =~ /back end/;
    my $port = $context->listen(on_handshake => $on_handshake, @options);
    my ($count, $over, @values) = ($total / 10, 0);
    my $next;
    $next = sub {
        push @values, values_in_perl() if $over == int $count / 10 || $over == $count;
        return if ++$over > $count;
        $context->connect(url => "ws://127.0.0.1:$port/", on_connect => sub { $_[0]->close }, on_close => sub { later($next) });
    };
    later($next);
    run_through(sub { $over > $count }, "$what: $count of them in one EV::run");
    undef $next;
    SKIP: {
        skip 'Test::LeakTrace is not installed', 1 unless $can_count_svs;
        cmp_ok $values[1] - $values[0], '<', $count / 2, "$what: no Perl value is left";
    }
}

leaves_nothing 'contexts', $total / 10 => sub {
    my ($count) = @_;
    EV::Websockets::Context->new for 1 .. $count;
    for (1 .. $count) {
        my $context = EV::Websockets::Context->new;
        my $port = $context->listen(on_connect => sub { });
        $context->connect(url => "ws://127.0.0.1:$port/");
    }
    EV::run;
    return [1, 1, "$count of them, and nothing keeps the loop alive"];
};

leaves_nothing 'contexts with a conversation each', $total / 50 => sub {
    my ($count) = @_;
    my $echoes = 0;
    for (1 .. $count) {
        my $context = EV::Websockets::Context->new;
        my $port = $context->listen(on_message => sub { $_[0]->send($_[1]) });
        my $echo;
        $context->connect(
            url        => "ws://127.0.0.1:$port/",
            on_connect => sub { $_[0]->send('x') },
            on_message => sub { $echo = 1 },
        );
        wait_until(sub { $echo });
        $echoes += $echo || 0;
    }
    return [$echoes, $count, 'each of them had its echo'];
};

leaves_nothing 'contexts that resolve a name, waited for or not', $total / 20 => sub {
    my ($count) = @_;
    my $connected = 0;
    for my $n (1 .. $count) {
        my $context = EV::Websockets::Context->new;
        my $port = $context->listen;
        my $done;
        $context->connect(url => "ws://localhost:$port/", on_connect => sub { $connected++; $done = 1 });
        $n % 2 ? wait_until(sub { $done }) : EV::run(EV::RUN_NOWAIT);
    }
    # The answers nobody waits for any more come in the meantime.
    my $expected = int(($count + 1) / 2);
    return [$connected >= $expected, 1, "$expected of them connected"];
};

finish;
