package OwnRedis;

# A client of Redis that a program might have made itself: what a Backplane needs of one, by its manual.

use strict;
use warnings;
use EV;
use Errno qw(EAGAIN EINTR);
use IO::Socket::UNIX;
use Scalar::Util qw(weaken);

sub new {
    my ($class, $path) = @_;
    return bless { path => $path }, $class;
}

sub connect {
    my ($self, $events) = @_;
    weaken(my $weak = $self);
    $self->{events} = $events;
    my @ends = map { OwnRedis::Connection->new($self->{path}, sub { $weak->_lost(@_) if $weak }) } 1 .. 2;
    return $self->_lost("connect: $!") if @ends < 2;
    @$self{qw(talk hear)} = @ends;
    $self->{hear}{on_message} = $events->{message};
    $events->{up}->();
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
    $self->{talk}->say($callback, @words) if $self->{talk};
    return;
}

sub subscribe {
    my ($self, $channel, $callback) = @_;
    $self->{hear}->say($callback, 'SUBSCRIBE', $channel) if $self->{hear};
    return;
}

sub unsubscribe {
    my ($self, $channel) = @_;
    $self->{hear}->say(sub { }, 'UNSUBSCRIBE', $channel) if $self->{hear};
    return;
}

sub disconnect {
    my ($self) = @_;
    $_->end for grep { $_ } delete @$self{qw(talk hear)};
    delete $self->{events};
    return;
}

package OwnRedis::Connection;

use Scalar::Util qw(weaken);

sub new {
    my ($class, $path, $lost) = @_;
    my $socket = IO::Socket::UNIX->new(Peer => $path) or return;
    $socket->blocking(0);
    my $self = bless { socket => $socket, in => '', out => '', at => 0, callbacks => [], lost => $lost }, $class;
    weaken(my $weak = $self);
    $self->{reader} = EV::io($socket, EV::READ, sub { my $strong = $weak; $strong->_read if $strong });
    $self->{writer} = EV::io_ns($socket, EV::WRITE, sub { my $strong = $weak; $strong->_write if $strong });
    return $self;
}

sub say {
    my ($self, $callback, @words) = @_;
    push @{ $self->{callbacks} }, $callback;
    $self->{out} .= join '', '*' . @words . "\r\n", map { ('$' . length($_) . "\r\n$_\r\n") } @words;
    $self->{writer}->start;
    return;
}

sub _write {
    my ($self) = @_;
    my $written = syswrite $self->{socket}, $self->{out};
    return $self->_failed("write: $!") if !defined $written && !$!{EAGAIN} && !$!{EINTR};
    substr $self->{out}, 0, $written || 0, '';
    $self->{writer}->stop if !length $self->{out};
    return;
}

sub _read {
    my ($self) = @_;
    my $got = sysread $self->{socket}, $self->{in}, 256 * 1024, length $self->{in};
    return if !defined $got && ($!{EAGAIN} || $!{EINTR});
    return $self->_failed($got ? "read: $!" : 'Redis has closed the connection') if !$got;
    while ($self->{socket}) {
        $self->{at} = 0;
        my @reply = $self->_reply or last;
        substr $self->{in}, 0, $self->{at}, '';
        if (ref $reply[0] eq 'ARRAY' && @{ $reply[0] } && $self->{on_message} && $reply[0][0] eq 'message') {
            $self->{on_message}->(@{ $reply[0] }[1, 2]);
        }
        else {
            (shift @{ $self->{callbacks} })->(@reply);
        }
    }
    return;
}

# ($value), (undef, $error), or nothing if it has not come whole.
sub _reply {
    my ($self) = @_;
    my $end = index $self->{in}, "\r\n", $self->{at};
    return if $end < 0;
    my ($kind, $text) = (substr($self->{in}, $self->{at}, 1), substr($self->{in}, $self->{at} + 1, $end - $self->{at} - 1));
    $self->{at} = $end + 2;
    return (undef, $text) if $kind eq '-';
    return $text if $kind eq '+' || $kind eq ':';
    return (undef) if $text < 0;
    if ($kind eq '$') {
        return if length($self->{in}) < $self->{at} + $text + 2;
        my $value = substr $self->{in}, $self->{at}, $text;
        $self->{at} += $text + 2;
        return $value;
    }
    my @values;
    for (1 .. $text) {
        my @value = $self->_reply or return;
        push @values, $value[0];
    }
    return \@values;
}

sub _failed {
    my ($self, $reason) = @_;
    $self->end;
    $self->{lost}->($reason);
    return;
}

sub end {
    my ($self) = @_;
    delete @$self{qw(reader writer)};
    close $self->{socket} if $self->{socket};
    delete $self->{socket};
    return;
}

1;
