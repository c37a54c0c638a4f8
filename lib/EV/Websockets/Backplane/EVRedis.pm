package EV::Websockets::Backplane::EVRedis;

# A Backplane's client (see EV::Websockets::Backplane, "CLIENTS") made of EV::Redis.

use strict;
use warnings;
use 5.010;

use EV;
use EV::Redis 0.14;
use Scalar::Util ();

use constant CONNECT_TIMEOUT => 5000;    # milliseconds
use constant KEEPALIVE       => 15;      # seconds

sub new {
    my ($class, %args) = @_;
    # hiredis does not keep the signal away when Redis has closed a connection. AnyEvent does the same.
    $SIG{PIPE} = 'IGNORE' if !defined $SIG{PIPE} || $SIG{PIPE} =~ /\A(?:DEFAULT)?\z/;
    return bless { at => \%args, attempt => 0 }, $class;
}

sub connect {
    my ($self, $events) = @_;
    $self->disconnect;
    my $attempt = $self->{attempt};
    @$self{qw(events confirming)} = ($events, {});
    Scalar::Util::weaken(my $weak = $self);
    my $at_event = sub {
        my ($do) = @_;
        return sub { $do->($weak, @_) if $weak && $weak->{attempt} == $attempt };
    };
    # An object each, as one with subscriptions can do nothing else.
    $self->{subscribed} = $at_event->(sub { my ($self, @answer) = @_; $self->_subscribed(@answer) });
    my $to_connect = 2;
    for my $name (qw(talk hear)) {
        my $redis = EV::Redis->new(
            connect_timeout => CONNECT_TIMEOUT,
            keepalive       => KEEPALIVE,
            $self->{at}{tls} ? (tls => 1, tls_server_name => $self->{at}{host}) : (),
            on_error      => $at_event->(sub { my ($self, $error) = @_; $self->_lost($error) }),
            on_disconnect => $at_event->(sub { my ($self) = @_; $self->_lost('connection lost') }),
            on_connect    => $at_event->(sub {
                my ($self) = @_;
                $self->_log_in($self->{$name}, sub { $self->{events}{up}->() if !--$to_connect });
            }),
        );
        $self->{$name} = $redis;
        my $at = $self->{at};
        defined $at->{path} ? $redis->connect_unix($at->{path}) : $redis->connect($at->{host}, $at->{port});
        # It may have failed in the call.
        return if $self->{attempt} != $attempt;
    }
    return;
}

sub _log_in {
    my ($self, $redis, $then) = @_;
    my $attempt = $self->{attempt};
    my $at = $self->{at};
    my @commands;
    push @commands, [ 'auth', grep { defined } @$at{qw(user password)} ] if defined $at->{password};
    push @commands, [ 'select', $at->{database} ] if $at->{database};
    Scalar::Util::weaken(my $weak = $self);
    my $left = @commands;
    return $then->() if !$left;
    for my $command (@commands) {
        $redis->command(@$command, sub {
            return if !$weak || $weak->{attempt} != $attempt;
            my (undef, $error) = @_;
            return $weak->_lost($error) if defined $error;
            $then->() if !--$left;
        });
    }
    return;
}

sub _lost {
    my ($self, $reason) = @_;
    my $events = $self->{events} or return;
    $self->disconnect;
    $events->{down}->($reason);
    return;
}

sub command {
    my ($self, $callback, @words) = @_;
    return if !$self->{talk};
    my $attempt = $self->{attempt};
    Scalar::Util::weaken(my $weak = $self);
    $self->{talk}->command(@words, sub { $callback->(@_) if $weak && $weak->{attempt} == $attempt });
    return;
}

# One callback has the answers and the messages of all channels.
sub subscribe {
    my ($self, $channel, $callback) = @_;
    return if !$self->{hear};
    push @{ $self->{confirming}{$channel} }, $callback;
    $self->{hear}->command('subscribe', $channel, $self->{subscribed});
    return;
}

sub _subscribed {
    my ($self, $answer, $error) = @_;
    return $self->_lost($error) if defined $error;
    return if ref $answer ne 'ARRAY';
    my ($kind, $channel, $payload) = @$answer;
    if ($kind eq 'message') {
        $self->{events}{message}->($channel, $payload);
    }
    elsif ($kind eq 'subscribe') {
        my $callback = shift @{ $self->{confirming}{$channel} || [] };
        delete $self->{confirming}{$channel} if !@{ $self->{confirming}{$channel} || [] };
        $callback->() if $callback;
    }
    return;
}

sub unsubscribe {
    my ($self, $channel) = @_;
    $self->{hear}->command('unsubscribe', $channel) if $self->{hear};
    return;
}

sub disconnect {
    my ($self) = @_;
    $self->{attempt}++;
    # Only the end of the object ends a connection at once, and its callbacks may be running.
    my @gone = grep { defined } delete @$self{qw(talk hear)};
    if (@gone) {
        my $end;
        $end = EV::timer(0, 0, sub { @gone = (); undef $end });
    }
    delete @$self{qw(events confirming subscribed)};
    return;
}

sub DESTROY {
    my ($self) = @_;
    return if defined ${^GLOBAL_PHASE} && ${^GLOBAL_PHASE} eq 'DESTRUCT';
    local ($@, $!);
    $self->disconnect;
    return;
}

1;
