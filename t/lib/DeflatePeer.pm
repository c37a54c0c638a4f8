package DeflatePeer;

# A raw peer that has negotiated permessage-deflate with the module, which has
# the role that the test wants; the module's callbacks are recorded.

use strict;
use warnings;
use EV::Websockets;
use Events;
use Frame;
use RawPeer;
use RawServer;
use Run;

# open(role => server or client (ours), deflate => the module's option,
# ext => the extension header of the peer: its offer, or its answer; options
# => { of connect or listen }).
sub open {
    my ($class, %o) = @_;
    my $self = bless { events => Events->new, context => EV::Websockets::Context->new }, $class;
    my @ext = defined $o{ext} ? $o{ext} : ();
    my @options = ((exists $o{deflate} ? (deflate => $o{deflate}) : ()), $self->{events}->handlers(%{ $o{options} || {} }));
    if ($o{role} eq 'server') {
        my $port = $self->{context}->listen(@options);
        $self->{peer} = RawPeer->connect($port)->upgrade(headers => { 'Sec-WebSocket-Extensions' => [@ext] });
    }
    else {
        $self->{raw} = RawServer->new(answer => sub {
            $_[0]->accept(fields => [ map { "Sec-WebSocket-Extensions: $_" } @ext ]);
        });
        $self->{context}->connect(url => 'ws://127.0.0.1:' . $self->{raw}->port . '/', @options);
    }
    wait_until(sub { $self->{events}->count('connect') }) or die "no connection\n";
    $self->{peer} ||= $self->{raw}->last_peer;
    wait_until(sub { defined $self->{peer}->head }) or die "no head\n";
    $self->{conn} = $self->{events}->conn;
    return $self;
}

sub events { return $_[0]{events} }
sub peer   { return $_[0]{peer} }
sub conn   { return $_[0]{conn} }

# One frame or, for several payloads, a fragmented message, as compressed.
sub send_compressed {
    my ($self, $opcode, @payloads) = @_;
    my $peer = $self->{peer};
    my $last = $#payloads;
    $peer->put(join '', map {
        $peer->make($_ ? CONT : $opcode, $payloads[$_], rsv => $_ ? 0 : 4, fin => $_ == $last ? 1 : 0)
    } 0 .. $last);
    return;
}

1;
