package RawEnds;

# A connection of the module with a RawPeer at its other end, however it came about. Each takes a
# context and the options of the call, and returns the recorded callbacks and the peer when the
# connection is open: ($events, $peer).

use strict;
use warnings;
use Adopt ();
use Events;
use RawPeer;
use RawServer;
use Run;
use Test::More;
use Exporter 'import';

our @EXPORT = qw(raw_client raw_server raw_adopted);

# A client of a listener.
sub raw_client {
    my ($context, %options) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $events = Events->new;
    my $port   = $context->listen(host => '127.0.0.1', $events->handlers(%options));
    my $peer   = RawPeer->connect($port)->upgrade;
    run_until(sub { $events->count('connect') && $peer->head }, 'a raw client');
    return ($events, $peer);
}

# A server that was connected to.
sub raw_server {
    my ($context, %options) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $events = Events->new;
    my $server = RawServer->new;
    $context->connect(url => 'ws://127.0.0.1:' . $server->port . '/', $events->handlers(%options));
    run_until(sub { $events->count('connect') }, 'a raw server');
    return ($events, $server->last_peer);
}

# A client at the other end of a socketpair that was adopted.
sub raw_adopted {
    my ($context, %options) = @_;
    my (undef, $peer, $events) = Adopt::connected($context, %options);
    return ($events, $peer);
}

1;
