package Interop::Talk;

# A connection of ours together with what it has reported and nobody has read
# yet, so that a test can say "the next message is" in the order it thinks in.

use strict;
use warnings;

use EV::Websockets;

sub _new {
    my ($class, %self) = @_;
    return bless { messages => [], pongs => [], closes => 0, %self }, $class;
}

# The six callbacks; $talk_of->($conn) finds the talk of a connection.
sub _callbacks {
    my ($talk_of) = @_;
    return (
        on_message => sub { my ($conn, @message) = @_; push @{ $talk_of->($conn)->{messages} }, \@message },
        on_pong    => sub { push @{ $talk_of->($_[0])->{pongs} }, $_[1] },
        on_error   => sub { $talk_of->($_[0])->{error} = $_[1] },
        on_close   => sub {
            my ($conn, $code, $reason) = @_;
            my $talk = $talk_of->($conn);
            $talk->{closes}++;
            $talk->{closed} = [$code, $reason];
        },
    );
}

# Connects and waits for the outcome: {headers} or {error}.
sub connect {
    my ($class, $context, %options) = @_;
    my $talk = $class->_new;
    $talk->{conn} = $context->connect(
        _callbacks(sub { $talk }),
        on_connect => sub { $talk->{headers} = $_[1] },
        %options,
    );
    Interop::await(sub { $talk->{headers} || $talk->{error} }, "connection to $options{url}");
    return $talk;
}

sub header { return $_[0]{headers}{ $_[1] } }
sub state  { return $_[0]{conn}->state }
sub unread { return scalar @{ $_[0]{messages} } }

sub _next {
    my ($talk, $queue, $what) = @_;
    Interop::await(sub { @$queue || $talk->{closed} }, $what);
    return shift @$queue if @$queue;
    die sprintf "no %s: closed with %s (%s)%s\n", $what, $talk->{closed}[0],
        defined $talk->{closed}[1] ? $talk->{closed}[1] : 'no reason',
        defined $talk->{error} ? ", error: $talk->{error}" : '';
}

# ($bytes, $is_binary, $is_final)
sub next_message { return @{ $_[0]->_next($_[0]{messages}, 'message') } }
sub next_pong    { return $_[0]->_next($_[0]{pongs}, 'pong') }

sub next_close {
    my ($talk) = @_;
    Interop::await(sub { $talk->{closed} }, 'close');
    return $talk->{closed};
}

package Interop::Talk::Listener;

sub new {
    my ($class, $context, %options) = @_;
    my (%talk, @waiting);
    my $port = $context->listen(
        Interop::Talk::_callbacks(sub { $talk{ $_[0] } }),
        on_connect => sub {
            my ($conn, $headers) = @_;
            push @waiting, $talk{$conn} = Interop::Talk->_new(conn => $conn, headers => $headers);
        },
        %options,
    );
    return bless { port => $port, waiting => \@waiting }, $class;
}

# Waits for the next connection.
sub accept {
    my ($self) = @_;
    Interop::await(sub { @{ $self->{waiting} } }, 'a connection from the peer');
    return shift @{ $self->{waiting} };
}

1;
