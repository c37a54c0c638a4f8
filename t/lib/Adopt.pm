package Adopt;

# Connected sockets to adopt, with a RawPeer or a bare handle at the other end.

use strict;
use warnings;
use EV;
use Events;
use IO::Handle;
use IO::Socket::INET;
use IO::Socket::IP;
use RawPeer;
use Socket;
use Exporter 'import';

our @EXPORT = qw(unix_pair tcp_pair request peer_on connected);

# Two ends of a socketpair.
sub unix_pair {
    socketpair my $near, my $far, AF_UNIX, SOCK_STREAM, PF_UNSPEC or die "socketpair: $!";
    $_->autoflush(1) for $near, $far;
    return ($near, $far);
}

# (accepted, connected), by TCP on loopback.
sub tcp_pair {
    my ($host) = (@_, '127.0.0.1');
    my $listener = IO::Socket::IP->new(LocalHost => $host, LocalPort => 0, Listen => 1)
        or die "cannot listen on $host: $@\n";
    my $far = IO::Socket::IP->new(PeerHost => $host, PeerPort => $listener->sockport)
        or die "cannot connect to $host: $@\n";
    my $near = $listener->accept or die "accept: $!";
    return ($near, $far);
}

sub peer_on {
    my ($far, %o) = @_;
    return RawPeer->new($far, role => 'client', %o);
}

# The bytes of an upgrade request; options as for RawPeer.
sub request { return RawPeer->request(@_) }

# ($near, $peer, $events, $conn): an adopted connection that is open, by a
# socketpair, and its recorded callbacks.
sub connected {
    my ($context, %o) = @_;
    my ($near, $far) = unix_pair();
    my $peer = peer_on($far);
    my $events = Events->new;
    my $conn = $context->adopt(fh => $near, initial_data => request(), $events->handlers(%o));
    Run::wait_until(sub { $events->count('connect') && defined $peer->head }) or die "no upgrade\n";
    return ($near, $peer, $events, $conn);
}

package Adopt::Server;

# What a context is to those who call listen on it, with sockets that this has
# accepted itself.
sub new {
    my ($class, $context, $count) = @_;    # counts what it adopts in $$count
    return bless { context => $context, count => $count }, $class;
}

sub listen {
    my ($self, %options) = @_;
    my ($context, $count) = @$self{qw(context count)};
    my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 16, Blocking => 0)
        or die "cannot listen: $@\n";
    # A listener does not tell about those that it refuses.
    my ($on_connect, $on_error, %open) = delete @options{qw(on_connect on_error)};
    $self->{watcher} = EV::io($listener, EV::READ(), sub {
        my $fh = $listener->accept or return;
        $$count++;
        $context->adopt(
            fh         => $fh,
            on_connect => sub { $open{ $_[0] } = 1; $on_connect->(@_) },
            on_error   => sub { $on_error->(@_) if $open{ $_[0] } },
            %options,
        );
    });
    return $listener->sockport;
}

1;
