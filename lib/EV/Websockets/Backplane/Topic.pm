package EV::Websockets::Backplane::Topic;

# A topic that somebody in this process wants: its subscription in Redis, and how far it has come.
#
# What is published in Redis says where it stands, so that every loss shows. From the confirmation of the subscription
# on, nothing is missed as long as the connection lasts. What was published before is looked up after it, while what
# comes meanwhile waits; what comes by both ways has one offset.

use strict;
use warnings;
use 5.010;

use EV::Websockets::Backplane::Wire;
use Scalar::Util ();

use constant {
    AT_ONCE       => 500,           # messages that are looked up at a time
    RECENT        => 200,           # of a topic with a history, these messages are kept here
    RECENT_OCTETS => 128 * 1024,
};

# owner: the Backplane; it is the one that holds us.
sub new {
    my ($class, %args) = @_;
    my $self = bless { %args, state => 'off', waiting => [], resuming => [], recent => [], recent_octets => 0, ahead => [] }, $class;
    Scalar::Util::weaken($self->{owner});
    return $self;
}

# Whether what this process publishes would come back to it.
sub is_subscribed { return $_[0]{state} ne 'off' && $_[0]{state} ne 'subscribing' }

# The connection is new, or the topic. $then: when Redis has confirmed it.
sub subscribe {
    my ($self, $then) = @_;
    my $owner = $self->{owner};
    my $turn = ++$self->{turn};
    $self->{state} = 'subscribing';
    delete $self->{is_level};
    $self->{waiting} = [];
    Scalar::Util::weaken(my $weak = $self);
    $owner->{redis}->subscribe($owner->channel_of($self->{name}), sub {
        return if !$weak || $weak->{turn} != $turn;
        $weak->{state} = 'looking';
        $weak->_look($turn);
        $then->() if $then;
    });
    return;
}

# Nobody wants it any more.
sub unsubscribe {
    my ($self) = @_;
    my $was_on = $self->{state} ne 'off';
    $self->off;
    my $owner = $self->{owner};
    $owner->{redis}->unsubscribe($owner->channel_of($self->{name})) if $was_on;
    return;
}

# The connection is lost.
sub off {
    my ($self) = @_;
    $self->{turn}++;
    $self->{is_late} = 1 if !defined $self->{epoch};
    $self->{state} = 'off';
    $self->{waiting} = [];
    $self->_resume_none;
    return;
}

# ---- what was missed ----

sub _look {
    my ($self, $turn) = @_;
    my @from = defined $self->{epoch} ? @$self{qw(epoch offset)} : ('', 0);
    my $count = $self->{history}[0] ? AT_ONCE : 0;
    Scalar::Util::weaken(my $weak = $self);
    $self->{owner}->look($self->{name}, @from, $count, sub {
        $weak->_found($turn, @_) if $weak && $weak->{turn} == $turn;
    });
    return;
}

sub _found {
    my ($self, $turn, $epoch, $begin, $latest, $from, $first, @messages) = @_;
    if (!defined $self->{epoch}) {
        # Whoever subscribes hears what comes from the confirmation on. What was found may be ahead of what has come
        # by the other connection, so that one must have brought something that was sent after the look.
        if (!$self->{is_level}) {
            my @found = @_[ 1 .. $#_ ];
            Scalar::Util::weaken(my $weak = $self);
            $self->{owner}{redis}->when_level(sub {
                return if !$weak || $weak->{turn} != $turn;
                $weak->{is_level} = 1;
                $weak->_found(@found);
            });
            return;
        }
        my $next = $self->{waiting}[0];
        @$self{qw(epoch offset)} = $next ? ($next->[0], $next->[2] - 1) : ($epoch, $latest);
        $self->_gap('subscribed while Redis was out of reach', undef) if delete $self->{is_late};
        return if $self->{turn} != $turn;
    }
    else {
        my $is_other = $epoch ne $self->{epoch};
        my $known = $self->{offset};
        my $next = @messages ? $first : $latest + 1;
        @$self{qw(epoch offset)} = ($epoch, $next - 1);
        if ($is_other) {
            $self->_gap('another epoch', undef);
        }
        elsif ($from < $known) {
            $self->_gap('Redis has forgotten messages', undef);
        }
        elsif ($next > $from + 1) {
            $self->_gap($self->{history}[0] ? 'no longer in the history' : 'no history', $next - $from - 1);
        }
        for my $message (@messages) {
            return if $self->{turn} != $turn;
            $self->{offset}++;
            $self->_deliver($message);
        }
        return if $self->{turn} != $turn;
        return $self->_look($turn) if $self->{offset} < $latest;
    }
    $self->{state} = 'on';
    if (@{ $self->{resuming} }) {
        $self->_resume_look($_) for @{ $self->{resuming} };
    }
    else {
        $self->_drain($turn);
    }
    $self->{owner}->topic_is_on($self) if $self->{turn} == $turn && $self->{state} eq 'on';
    return;
}

sub _drain {
    my ($self, $turn) = @_;
    while ($self->{turn} == $turn && $self->{state} eq 'on' && !@{ $self->{resuming} }) {
        my $envelope = shift @{ $self->{waiting} } or return;
        $self->_pass(@$envelope);
    }
    return;
}

sub _gap {
    my ($self, $reason, $count) = @_;
    $self->{owner}->gap($self->{name}, $reason, $count);
    return;
}

# ---- what comes ----

sub received {
    my ($self, @envelope) = @_;
    return if $self->{state} eq 'off';
    return $self->_pass(@envelope) if $self->{state} eq 'on' && !@{ $self->{resuming} };
    push @{ $self->{waiting} }, \@envelope;
    return;
}

sub _pass {
    my ($self, @envelope) = @_;
    my ($epoch, $begin, $first, @messages) = @envelope;
    my $turn = $self->{turn};
    my $next = $epoch eq $self->{epoch} ? $self->{offset} + 1 : $begin + 1;
    if ($first > $next) {
        unshift @{ $self->{waiting} }, \@envelope;
        $self->{state} = 'looking';
        $self->_look($turn);
        return;
    }
    if ($epoch ne $self->{epoch}) {
        $self->{epoch} = $epoch;
        $self->{offset} = $first - 1;
    }
    for my $message (@messages) {
        my $offset = $first++;
        next if $offset <= $self->{offset};
        $self->{offset} = $offset;
        $self->_deliver($message);
        return if $self->{turn} != $turn;
    }
    return;
}

sub _deliver {
    my ($self, $message) = @_;
    $self->_keep($message) if $self->{history}[0];
    my @ahead = @{ $self->{ahead} };
    $_->{leave}->() for @ahead;
    $self->{owner}->deliver($self->{name}, @$self{qw(epoch offset)}, $message);
    $_->{enter}->() for @ahead;
    @{ $self->{ahead} } = grep { $_->{offset} > $self->{offset} && $_->{epoch} eq $self->{epoch} } @ahead if @ahead;
    return;
}

# The latest messages, without a gap.
sub _keep {
    my ($self, $message) = @_;
    my $recent = $self->{recent};
    if (($self->{recent_epoch} // '') ne $self->{epoch} || @$recent && $recent->[-1][0] != $self->{offset} - 1) {
        @$self{qw(recent recent_octets recent_epoch)} = ([], 0, $self->{epoch});
        $recent = $self->{recent};
    }
    push @$recent, [ $self->{offset}, $message ];
    $self->{recent_octets} += length $message;
    while (@$recent > RECENT || $self->{recent_octets} > RECENT_OCTETS) {
        my $old = shift @$recent;
        $self->{recent_octets} -= length $old->[1];
    }
    return;
}

# ---- a subscriber that comes back ----

# What was published since a position, if all of it is here. Each is [ $offset, $message ].
sub recent_since {
    my ($self, $epoch, $offset) = @_;
    return if $self->{state} ne 'on' || @{ $self->{resuming} } || $epoch ne $self->{epoch} || $offset > $self->{offset};
    return [] if $offset == $self->{offset};
    my $recent = $self->{recent};
    return if !@$recent || $self->{recent_epoch} ne $epoch || $recent->[0][0] > $offset + 1 || $recent->[-1][0] != $self->{offset};
    return [ @$recent[ $offset + 1 - $recent->[0][0] .. $#$recent ] ];
}

# Whether Redis can be asked before anything else comes: what is published meanwhile waits for the answer.
sub can_resume { return $_[0]{state} eq 'on' || !defined $_[0]{epoch} }

# finish: called with whether all is there, the epoch, and what was missed up to where the topic stands. leave, enter:
# called before and after a message is delivered that the subscriber has got from another process already.
sub resume {
    my ($self, $epoch, $offset, %calls) = @_;
    my $resume = { epoch => $epoch, offset => $offset, messages => [], %calls };
    push @{ $self->{resuming} }, $resume;
    $self->_resume_look($resume) if $self->{state} eq 'on';
    return;
}

sub _resume_look {
    my ($self, $resume) = @_;
    my $turn = $self->{turn};
    Scalar::Util::weaken(my $weak = $self);
    $self->{owner}->look($self->{name}, @$resume{qw(epoch offset)}, $self->{history}[0] ? AT_ONCE : 0, sub {
        $weak->_resume_found($resume, @_) if $weak && $weak->{turn} == $turn;
    });
    return;
}

sub _resume_found {
    my ($self, $resume, $epoch, $begin, $latest, $from, $first, @messages) = @_;
    my $turn = $self->{turn};
    my ($here, $missed) = ($self->{offset}, $resume->{messages});
    my $next = @messages ? $first : $latest + 1;
    my $is_complete = $epoch eq $resume->{epoch} && $epoch eq $self->{epoch} && $from == $resume->{offset}
        && $next == $from + 1 && $here <= $latest;
    if ($is_complete && $here < $resume->{offset}) {
        push @{ $self->{ahead} }, $resume;
        $missed = [];
    }
    elsif ($is_complete) {
        push @$missed, map { [ $next++, $_ ] } @messages;
        $resume->{offset} = $next - 1;
        return $self->_resume_look($resume) if $resume->{offset} < $here;
        # What is beyond comes to all.
        pop @$missed while @$missed && $missed->[-1][0] > $here;
        @$self{qw(recent recent_octets recent_epoch)} = ([ @$missed ], 0, $epoch) if @$missed > @{ $self->{recent} } && @$missed <= RECENT;
        if (!$self->{recent_octets}) {
            $self->{recent_octets} += length $_->[1] for @{ $self->{recent} };
        }
    }
    @{ $self->{resuming} } = grep { $_ != $resume } @{ $self->{resuming} };
    $resume->{finish}->($is_complete, $epoch, $is_complete ? $missed : []);
    $self->_drain($turn);
    return;
}

sub _resume_none {
    my ($self) = @_;
    $_->{finish}->(0, '', []) for splice @{ $self->{resuming} };
    return;
}

1;
