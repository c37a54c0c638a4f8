package Crowd;

# One listener and several peers of it that know nothing of the module, in the order in which they came. There is no
# on_drain, whose connections are written to in another way.

use strict;
use warnings;
use EV::Websockets;
use RawPeer;
use Run;

# new(peers => $count, listen => {...}, upgrade => {...}): the options of listen, and of the peers' requests.
sub new {
    my ($class, %o) = @_;
    my $self = bless { conn => [], peer => [], upgrade => $o{upgrade} || {} }, $class;
    $self->{ctx} = $o{ctx} || EV::Websockets::Context->new;
    my $conns = $self->{conn};
    $self->{port} = $self->{ctx}->listen(
        port => 0, %{ $o{listen} || {} }, on_connect => sub { push @$conns, $_[0] },
    );
    $self->join_in for 1 .. $o{peers};
    return $self;
}

# One more peer. Returns its index.
sub join_in {
    my ($self, %upgrade) = @_;
    my $peer = RawPeer->connect($self->{port})->upgrade(%{ $self->{upgrade} }, %upgrade);
    push @{ $self->{peer} }, $peer;
    my $index = $#{ $self->{peer} };
    wait_until(sub { $self->{conn}[$index] && defined $peer->head }) or die 'a peer is not connected';
    return $index;
}

sub ctx   { return $_[0]{ctx} }
sub port  { return $_[0]{port} }
sub conn  { return $_[0]{conn}[ $_[1] ] }
sub conns { return @{ $_[0]{conn} } }
sub peer  { return $_[0]{peer}[ $_[1] ] }

# The frames that a peer has got since the last call, once there are $count; 0: those that have come after a moment.
sub frames {
    my ($self, $index, $count) = @_;
    my $peer = $self->{peer}[$index];
    $count ? wait_until(sub { @{ $peer->frames } >= $count || $peer->eof }) : settle();
    return splice @{ $peer->frames };
}

# Their payloads.
sub got {
    my ($self, $index, $count) = @_;
    return [ map { $_->{payload} } $self->frames($index, $count) ];
}

1;
