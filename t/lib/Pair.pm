package Pair;

# The module at both ends: a listener and a client of one context, with the
# callbacks of both recorded.

use strict;
use warnings;
use EV::Websockets;
use Events;
use RawPeer;
use Run;
use Test::More;

# open(context => {...}, listen => {...}, connect => {...}): options for the
# three calls. Returns when both ends are connected.
sub open {
    my ($class, %o) = @_;
    my $self = $class->listen(%o);
    my $path = delete $o{path};
    $self->{client} = Events->new;
    $self->{c} = $self->{context}->connect(
        url => ($o{scheme} || 'ws') . "://127.0.0.1:$self->{port}" . (defined $path ? $path : '/'),
        $self->{client}->handlers(%{ $o{connect} || {} }),
    );
    run_until(sub { $self->{client}->count('connect') && $self->{server}->count('connect') },
        $o{name} || 'both ends are connected');
    $self->{s} = $self->{server}->conn;
    return $self;
}

# Only the listener, for peers of another kind.
sub listen {
    my ($class, %o) = @_;
    my $self = bless { server => Events->new }, $class;
    $self->{context} = EV::Websockets::Context->new(%{ $o{context} || {} });
    $self->{port} = $self->{context}->listen($self->{server}->handlers(%{ $o{listen} || {} }));
    return $self;
}

sub context { return $_[0]{context} }
sub port    { return $_[0]{port} }
sub server  { return $_[0]{server} }
sub client  { return $_[0]{client} }
sub s       { return $_[0]{s} }
sub c       { return $_[0]{c} }

# A raw client of the listener, which records this connection alone from now on: ($peer, $conn).
sub raw_peer {
    my ($self) = @_;
    my $server = $self->server->follow_next;
    my $peer   = RawPeer->connect($self->port)->upgrade;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    run_until(sub { $server->count('connect') && $peer->head }, 'a raw peer');
    return ($peer, $server->conn);
}

# Closes from the client and waits for both on_close.
sub shut {
    my ($self) = @_;
    $self->c->close;
    run_until(sub { $self->client->count('close') && $self->server->count('close') }, 'both ends are closed');
}

1;
