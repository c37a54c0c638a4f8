package Stage;

# One connection played from beginning to end, in which each of the seven
# callbacks fires on the side under test ("ours"), so that a test can do
# something rash in one of them and look at what becomes of the rest:
#
#   theirs: on_connect: sends one, two, three; at "bye": closes, or breaks our limit
#   ours:   on_connect: sends "hi", a Ping, "bye"
#
# The sides have contexts of their own, unless they are told to share one.

use strict;
use warnings;

use EV;
use EV::Websockets;
use RawServer;
use Run;
use Scalar::Util qw(weaken);

our $LIMIT = 100;    # max_message_size of our side

# [callback, role] for every callback and role. refused is on_error without an
# on_connect before it.
sub cases {
    my @both = map { my $callback = $_; map { [$callback, $_] } qw(server client) }
        qw(connect message pong drain error close);
    return ([qw(handshake server)], @both, [qw(refused client)]);
}

# callback, role: one of the cases. action($stage, @arguments) is run the first
# time that callback fires; share => 1 puts both sides into one context.
sub new {
    my ($class, %o) = @_;
    my $self = bless { log => [], their_log => [], names => {}, acted => 0, %o }, $class;
    $self->{ours}   = EV::Websockets::Context->new;
    $self->{theirs} = $o{share} ? $self->{ours} : EV::Websockets::Context->new;
    $self->_begin;
    return $self;
}

sub _begin {
    my ($self) = @_;
    my %ours   = ($self->_our_callbacks, max_message_size => $LIMIT);
    my %theirs = $self->_their_callbacks;
    if ($self->{callback} eq 'refused') {
        my $port = RawServer::unused_port();
        $self->{conn} = $self->{ours}->connect(url => "ws://127.0.0.1:$port/", %ours);
    }
    elsif ($self->{role} eq 'server') {
        my $port = $self->{ours}->listen(%ours, on_handshake => $self->_handshake);
        $self->{their_conn} = $self->{theirs}->connect(url => "ws://127.0.0.1:$port/", %theirs);
    }
    else {
        my $port = $self->{theirs}->listen(%theirs);
        $self->{conn} = $self->{ours}->connect(url => "ws://127.0.0.1:$port/", %ours);
    }
    return;
}

sub _handshake {
    my ($self) = @_;
    weaken $self;
    return sub {
        push @{ $self->{log} }, ['handshake'];
        $self->_act(handshake => @_);
        return 1;
    };
}

sub _act {
    my ($self, $callback, @arguments) = @_;
    my $wanted = $self->{callback} eq 'refused' ? 'error' : $self->{callback};
    return if $callback ne $wanted || $self->{acted}++ || !$self->{action};
    $self->{action}->($self, @arguments);
    return;
}

# Each also keeps $conn in {conn}, its name in {names}, and counts in its stash.
sub _our_callbacks {
    my ($self) = @_;
    weaken $self;
    return map {
        my $callback = $_;
        "on_$callback" => sub {
            my ($conn, @arguments) = @_;
            push @{ $self->{log} }, [$callback, @arguments];
            $self->{names}{"$conn"}++;
            $self->{seen} = ++$conn->stash->{seen};
            $self->{conn} = $conn if !$self->{acted};
            if ($callback eq 'connect') {
                $conn->send('hi');
                $conn->send_ping('p');
                $conn->send('bye');
            }
            undef $conn;
            $self->_act($callback, @_);
        };
    } qw(connect message close error pong drain);
}

sub _their_callbacks {
    my ($self) = @_;
    weaken $self;
    my $breaks_limit = $self->{callback} eq 'error';
    return (
        on_connect => sub { $_[0]->send($_) for qw(one two three) },
        on_message => sub {
            my ($conn, $text) = @_;
            push @{ $self->{their_log} }, $text;
            return if $text ne 'bye';
            $breaks_limit ? $conn->send('x' x (2 * $LIMIT)) : $conn->close(1000, 'done');
        },
        on_error => sub { $self->{their_error} = $_[1]; $self->{they_are_over} = 1 if $_[0]->state eq 'closed' },
        on_close => sub { $self->{their_close} = [@_[1, 2]]; $self->{they_are_over} = 1 },
    );
}

# The names of our callbacks in order, without drain: how often the queue runs
# empty is the kernel's affair.
sub order {
    my ($self) = @_;
    return join ' ', grep { $_ ne 'drain' } map { $_->[0] } @{ $self->{log} };
}

# What order() is when nothing rash is done.
sub undisturbed {
    my ($self) = @_;
    return 'error' if $self->{callback} eq 'refused';
    return join ' ', $self->{role} eq 'server' ? 'handshake' : (),
        qw(connect message message message pong), $self->{callback} eq 'error' ? 'error' : (), 'close';
}

sub is_over {
    my ($self) = @_;
    my $last = @{ $self->{log} } ? $self->{log}[-1][0] : '';
    return $last eq 'error' if $self->{callback} eq 'refused';
    return $self->{they_are_over} && $last eq 'close';
}

# Runs the loop until $condition->() (by default: until both sides are over).
# Whether it came to be.
sub play {
    my ($self, $condition) = @_;
    return wait_until($condition || sub { $self->is_over });
}

sub they_are_over { return $_[0]{they_are_over} || $_[0]{callback} eq 'refused' }

1;
