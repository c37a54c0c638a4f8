package ScriptedProxy;

# A proxy on 127.0.0.1 that plays a script: [ regex of what has to arrive, what
# to answer ]. After the last step it is the server behind itself, and accepts
# upgrades. An answer may be a code ref, which gets the handle.

use strict;
use warnings;
use EV;
use IO::Socket::INET;
use RawPeer;
use Scalar::Util qw(weaken);

sub new {
    my ($class, @steps) = @_;
    my $fh = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Listen => 64) or die "cannot bind: $!";
    $fh->blocking(0);
    my $self = bless { fh => $fh, steps => \@steps, seen => '', connections => 0 }, $class;
    weaken(my $weak = $self);
    $self->{watcher} = EV::io($fh, EV::READ(), sub { $weak->_acceptable });
    return $self;
}

sub port { return $_[0]{fh}->sockport }

# Everything that came before the upgrade request, of all connections.
sub seen { return $_[0]{seen} }

sub connections { return $_[0]{connections} }

# The server behind the proxy, as the last client met it.
sub server { return $_[0]{server} }

sub _acceptable {
    my ($self) = @_;
    my $fh = $self->{fh}->accept or return;
    $self->{connections}++;
    $fh->blocking(0);
    my @steps = @{ $self->{steps} };
    my $in = '';
    weaken(my $weak = $self);
    my $key = fileno $fh;
    return $self->_serve($fh) if !@steps;
    $self->{playing}{$key} = EV::io($fh, EV::READ(), sub {
        my $got = sysread $fh, $in, 65536, length $in;
        return delete $weak->{playing}{$key} if !$got;
        while (@steps && $in =~ s/\A($steps[0][0])//s) {
            $weak->{seen} .= $1;
            my $answer = (shift @steps)->[1];
            ref $answer ? $answer->($fh) : syswrite $fh, $answer;
        }
        return if @steps;
        delete $weak->{playing}{$key};
        $weak->_serve($fh) if defined fileno $fh;
    });
}

sub _serve {
    my ($self, $fh) = @_;
    $self->{server} = RawPeer->new($fh, role => 'server', on_head => sub { $_[0]->accept });
}

1;
