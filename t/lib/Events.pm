package Events;

# Records the callbacks of a listener or of a client connection, in order:
# [ NAME, $conn, the other arguments ].

use strict;
use warnings;
use Scalar::Util qw(weaken);

our @NAMES = qw(connect message close error pong drain);

sub new { return bless { log => [] }, $_[0] }

# The six on_* options. A code ref given for one runs after the recording.
sub handlers {
    my ($self, %also) = @_;
    weaken(my $weak = $self);
    my @options;
    for my $name (@NAMES) {
        my $then = delete $also{"on_$name"};
        push @options, "on_$name" => sub {
            $weak->_record($name, @_) if $weak;
            $then->(@_) if $then;
        };
    }
    return (@options, %also);
}

sub _record {
    my ($self, $name, @arguments) = @_;
    $self->{conn} = $arguments[0] if $name eq 'connect';
    return if $self->{following} && !($self->{conn} && $self->{conn} == $arguments[0]);
    push @{ $self->{log} }, [ $name, @arguments ];
}

# Forgets everything, and from now on records the connection alone that comes
# last: those before it may not be closed yet.
sub follow_next {
    my ($self) = @_;
    $self->{following} = 1;
    delete $self->{conn};
    return $self->forget;
}

# The connection whose on_connect came last.
sub conn { return $_[0]{conn} }

sub log { return $_[0]{log} }

# "connect message close", without the drains: how many of them come is not
# what most tests are about.
sub order {
    my ($self) = @_;
    return join ' ', grep { $_ ne 'drain' } map { $_->[0] } @{ $self->{log} };
}

sub count {
    my ($self, $name) = @_;
    return scalar grep { $_->[0] eq $name } @{ $self->{log} };
}

# The arguments after $conn of the last callback of that name, as an array ref.
sub last_of {
    my ($self, $name) = @_;
    my ($entry) = grep { $_->[0] eq $name } reverse @{ $self->{log} };
    return undef if !$entry;
    my (undef, undef, @rest) = @$entry;
    return \@rest;
}

# The payloads of all messages.
sub messages {
    my ($self) = @_;
    return map { $_->[2] } grep { $_->[0] eq 'message' } @{ $self->{log} };
}

sub forget { $_[0]{log} = []; return $_[0] }

1;
