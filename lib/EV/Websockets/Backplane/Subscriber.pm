package EV::Websockets::Backplane::Subscriber;

# A connection that subscribes with `since`: sends it what it has missed, out of what its topic has here, or in Redis.

use strict;
use warnings;
use 5.010;

use EV::Websockets::Backplane::Wire;
use Scalar::Util ();

# True if it is sent, or will be sent, all that it has missed.
sub resume {
    my ($self, $conn, $name, $since, $options) = @_;
    my @own = (local => 1, exists $options->{on_slow} ? (on_slow => $options->{on_slow}) : ());
    my ($epoch, $offset) = map { defined $_ ? "$_" : '' } @$since;
    my $is_known = grep { $_ eq $name } $conn->topics;
    if ($is_known || $self->{is_closed} || $self->{owner} != $$) {
        $conn->subscribe($name, @own);
        return $is_known;
    }
    $self->topic_used($name);
    # The program's `history` may have closed one or the other.
    if (!$conn->is_connected) {
        $self->topic_unused($name);
        return 0;
    }
    my $topic = $self->{topics}{$name};
    if (!$topic) {
        $conn->subscribe($name, @own);
        return 0;
    }
    my $is_sane = $epoch =~ /\A[0-9a-f]{16}\z/ && $offset =~ /\A[0-9]{1,15}\z/;
    my $missed = $is_sane && $topic->recent_since($epoch, $offset);
    if ($missed) {
        my $is_sent = _send_missed($self, $conn, $name, $epoch, $missed);
        $conn->subscribe($name, @own) if $conn->is_connected;
        return $is_sent;
    }
    $conn->subscribe($name, @own);
    return 0 if !$is_sane || !$self->{on_missed} || !$topic->can_resume;
    Scalar::Util::weaken(my $weak = $self);
    Scalar::Util::weaken(my $weak_conn = $conn);
    # It may have left meanwhile, or be gone.
    my $conn_if_there = sub { return $weak && $weak_conn && (grep { $_ eq $name } $weak_conn->topics) ? $weak_conn : undef };
    my $has_left;
    $topic->resume(
        $epoch, $offset,
        finish => sub {
            my ($is_complete, $epoch, $missed) = @_;
            my $conn = $conn_if_there->() or return;
            return if $is_complete && _send_missed($weak, $conn, $name, $epoch, $missed);
            $weak->_call('on_missed', $conn, $name);
        },
        leave => sub {
            my $conn = $conn_if_there->();
            $has_left = $conn && $conn->unsubscribe($name);
        },
        enter => sub { $weak_conn->subscribe($name, @own) if $has_left && $weak_conn && $weak_conn->is_connected },
    );
    return 1;
}

sub _send_missed {
    my ($self, $conn, $name, $epoch, $missed) = @_;
    my $context = $self->{context} or return 0;
    for my $entry (@$missed) {
        my ($offset, $message) = @$entry;
        my (undef, undef, $data, @options) = EV::Websockets::Backplane::Wire::unpack_message($message);
        my $queued = eval {
            $context->publish($name, $data, local => 1, only => $conn, position => [ $epoch, $offset ], @options);
        };
        warn "EV::Websockets::Backplane: $@" if !defined $queued;
        return 0 if !$queued;
    }
    return 1;
}

1;
