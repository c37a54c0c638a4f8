package EV::Websockets::Backplane::AnyEventRedis;

# A Backplane's client (see EV::Websockets::Backplane, "CLIENTS") made of AnyEvent::Redis.

use strict;
use warnings;
use 5.010;

# One loop for both, whatever else is installed; who has chosen before us keeps the choice.
BEGIN { $ENV{PERL_ANYEVENT_MODEL} = 'EV' if !defined $ENV{PERL_ANYEVENT_MODEL} }
use AnyEvent;
use AnyEvent::Redis;
use AnyEvent::Socket ();
use Scalar::Util ();

use constant FIRST_CHECK => 0.002;    # seconds until Redis is asked again whether a subscription has begun
use constant LAST_CHECK  => 0.05;

sub new {
    my ($class, %args) = @_;
    return bless { at => \%args, attempt => 0, process => $$ }, $class;
}

sub connect {
    my ($self, $events) = @_;
    $self->disconnect;
    my $attempt = $self->{attempt};
    @$self{qw(events unconfirmed channels)} = ($events, [], {});
    $self->{barrier} = join ':', 'barrier', $$, map { int rand 1e9 } 1 .. 3;
    $self->{$_} = $self->_connection($attempt) for qw(talk hear);
    # A connection with a subscription can do nothing else, so there are two. One without any ends listening: the
    # first stays.
    Scalar::Util::weaken(my $weak = $self);
    $self->subscribe($self->{barrier}, sub { $weak->_event($attempt, 'up') if $weak });
    return;
}

sub _event {
    my ($self, $attempt, $name, @rest) = @_;
    return if $self->{attempt} != $attempt || !$self->{events};
    $self->{events}{$name}->(@rest);
    return;
}

sub _lost {
    my ($self, $attempt, $reason) = @_;
    return if $self->{attempt} != $attempt || !$self->{events};
    my $down = $self->{events}{down};
    $self->disconnect;
    $down->(defined $reason ? $reason : 'connection lost');
    return;
}

sub _connection {
    my ($self, $attempt) = @_;
    Scalar::Util::weaken(my $weak = $self);
    my $at = $self->{at};
    my $end = { };
    # With the host "unix/", AnyEvent takes the port for the path of a socket.
    my $redis = AnyEvent::Redis->new(
        host       => defined $at->{path} ? 'unix/' : $at->{host},
        port       => defined $at->{path} ? $at->{path} : $at->{port},
        on_error   => sub { },
        on_cleanup => sub {
            my ($reason) = @_;
            AnyEvent::postpone { delete $end->{redis} };
            $weak->_lost($attempt, $reason) if $weak;
        },
    );
    # AnyEvent::Redis has no way to close a connection, and one with subscriptions does not end when its object does.
    # So its socket is kept in mind, and the object until it has seen the end.
    my $real = \&AnyEvent::Socket::tcp_connect;
    no warnings qw(redefine once);
    local *AnyEvent::Redis::tcp_connect = sub ($$$;$) {
        my ($host, $port, $connected, @more) = @_;
        return $real->($host, $port, sub { $end->{socket} = $_[0]; $connected->(@_) }, @more);
    };
    push @{ $self->{ends} }, $end;
    my @setup;
    push @setup, [ 'auth', grep { defined } @$at{qw(user password)} ] if defined $at->{password};
    push @setup, [ 'select', $at->{database} ] if $at->{database};
    # It wants a command to connect for.
    @setup = [ 'ping' ] if !@setup;
    $self->_run($redis, sub { $weak->_lost($attempt, $_[1]) if $weak && defined $_[1] }, @$_) for @setup;
    return $redis;
}

sub _run {
    my ($self, $redis, $callback, @words) = @_;
    my $cv = AnyEvent->condvar;
    $cv->cb(sub {
        my $reply = eval { $_[0]->recv };
        my $error = $@;
        return $callback->($reply) if !length $error;
        $error =~ s/ at \S+ line \d+\.?\n?\z//;
        return $callback->(undef, $error);
    });
    $redis->run_cmd(@words, $cv);
    return;
}

sub command {
    my ($self, $callback, @words) = @_;
    return if !$self->{talk};
    my $attempt = $self->{attempt};
    Scalar::Util::weaken(my $weak = $self);
    $self->_run($self->{talk}, sub { $callback->(@_) if $weak && $weak->{attempt} == $attempt }, @words);
    return;
}

# ---- subscriptions ----

# A channel is "on", or it is "leaving", and AnyEvent::Redis must not be asked for it again until it has left.
sub subscribe {
    my ($self, $channel, $callback) = @_;
    return if !$self->{hear};
    my $state = $self->{channels}{$channel} ||= {};
    if ($state->{is_leaving}) {
        $state->{again} = $callback;
        return;
    }
    my $attempt = $self->{attempt};
    Scalar::Util::weaken(my $weak = $self);
    my $left = AnyEvent->condvar;
    $left->cb(sub { AnyEvent::postpone { $weak->_has_left($attempt, $channel) if $weak } });
    $self->{hear}->run_cmd('subscribe', $channel, sub { $weak->_event($attempt, 'message', $_[1], $_[0]) if $weak }, $left);
    push @{ $self->{unconfirmed} }, $callback;
    $self->_confirm;
    return;
}

sub unsubscribe {
    my ($self, $channel) = @_;
    my $state = $self->{channels} && $self->{channels}{$channel} or return;
    delete $state->{again};
    return if $state->{is_leaving};
    $state->{is_leaving} = 1;
    $self->{hear}->run_cmd('unsubscribe', $channel);
    return;
}

sub _has_left {
    my ($self, $attempt, $channel) = @_;
    return if $self->{attempt} != $attempt;
    my $state = delete $self->{channels}{$channel} or return;
    $self->subscribe($channel, $state->{again}) if $state->{again};
    return;
}

# AnyEvent::Redis does not tell when a subscription has begun. Redis does what a connection says in order, and counts
# who gets a message: when somebody gets one of a channel that was asked for last, all others have begun.
sub _confirm {
    my ($self) = @_;
    return if $self->{confirming} || !@{ $self->{unconfirmed} };
    my @callbacks = splice @{ $self->{unconfirmed} };
    my $attempt = $self->{attempt};
    my $channel = $self->{barrier};
    $channel .= ':' . ++$self->{barriers} if $self->{is_begun};
    $self->{is_begun} = $self->{confirming} = 1;
    Scalar::Util::weaken(my $weak = $self);
    $self->{hear}->run_cmd('subscribe', $channel, sub { }, AnyEvent->condvar) if $channel ne $self->{barrier};
    my ($ask, $wait) = (undef, FIRST_CHECK);
    my $weak_ask;
    $ask = $weak_ask = sub {
        my $asking = $weak_ask or return;
        $weak->command(sub {
            my ($hearers, $error) = @_;
            return $weak->_lost($attempt, $error) if defined $error;
            if (!$hearers) {
                $weak->{timer} = AnyEvent->timer(after => $wait, cb => sub { $asking->() if $weak && $weak->{attempt} == $attempt });
                $wait = 2 * $wait < LAST_CHECK ? 2 * $wait : LAST_CHECK;
                return;
            }
            delete @$weak{qw(timer confirming)};
            $weak->{hear}->run_cmd('unsubscribe', $channel) if $channel ne $weak->{barrier};
            $_->() for @callbacks;
            $weak->_confirm if $weak && $weak->{attempt} == $attempt && $weak->{hear};
        }, 'publish', $channel, '');
    };
    Scalar::Util::weaken($weak_ask);
    $ask->();
    return;
}

# ---- the end ----

sub disconnect {
    my ($self) = @_;
    $self->{attempt}++;
    my @gone = delete @$self{qw(talk hear)};
    for my $end (@{ delete $self->{ends} || [] }) {
        my $redis = shift @gone;
        my $socket = delete $end->{socket} or next;
        $end->{redis} = $redis;
        shutdown $socket, 2;
    }
    # Their callbacks may be running.
    AnyEvent::postpone { undef @gone } if grep { defined } @gone;
    delete @$self{qw(events timer confirming is_begun barriers unconfirmed channels)};
    return;
}

sub DESTROY {
    my ($self) = @_;
    return if defined ${^GLOBAL_PHASE} && ${^GLOBAL_PHASE} eq 'DESTRUCT';
    # In a forked process it is its parent's connection that would end.
    return if $self->{process} != $$;
    local ($@, $!);
    $self->disconnect;
    return;
}

1;
