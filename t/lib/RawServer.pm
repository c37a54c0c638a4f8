package RawServer;

# Listens on 127.0.0.1 (or host => '::1'), at a free port (or port => 80), and hands every connection to a
# RawPeer. answer => sub { my ($peer, $head) = @_ } says what is done with a
# request; without it the upgrade is accepted.

use strict;
use warnings;
use EV;
use IO::Socket::INET;
use RawPeer;
use Scalar::Util qw(weaken);

sub new {
    my ($class, %o) = @_;
    my $fh;
    if (($o{host} || '') =~ /:/) {
        require IO::Socket::IP;
        $fh = IO::Socket::IP->new(LocalHost => $o{host}, LocalPort => $o{port} || 0, Listen => 64);
    }
    else {
        $fh = IO::Socket::INET->new(LocalAddr => $o{host} || '127.0.0.1', LocalPort => $o{port} || 0, Listen => 64);
    }
    return undef if !$fh;
    my $self = bless { fh => $fh, peers => [], answer => $o{answer} || sub { $_[0]->accept } }, $class;
    $fh->blocking(0);
    weaken(my $weak = $self);
    $self->{watcher} = EV::io($fh, EV::READ(), sub { $weak->_acceptable });
    return $self;
}

sub _acceptable {
    my ($self) = @_;
    my $fh = $self->{fh}->accept or return;
    push @{ $self->{peers} }, RawPeer->new($fh, role => 'server', on_head => $self->{answer});
}

sub port { return $_[0]{fh}->sockport }
sub peers { return @{ $_[0]{peers} } }
sub last_peer { return $_[0]{peers}[-1] }

# A port of 127.0.0.1 that nobody listens on.
sub unused_port {
    my $fh = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Listen => 1)
        or die "cannot bind: $!";
    return $fh->sockport;
}

1;
