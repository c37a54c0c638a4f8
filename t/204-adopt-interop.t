use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

use Adopt;
use EV::Websockets;
use Events;
use IO::Socket::INET;
use Interop qw(our_server peer_node peer_python);
use Interop::Child;
use Run;

# Clients of other makes, on sockets that are accepted here and adopted.

my %peer = ('Python websockets' => [peer_python()], 'Node ws' => [peer_node()]);
my @there = grep { @{ $peer{$_} } } sort keys %peer
    or plan skip_all => 'neither Python with websockets nor Node with ws is installed';
for my $name (@there) {
    my ($client, $adopted);
    our_server(
        $name,
        sub { $client = Interop::Child->new(@{ $peer{$name} }, 'client', @_) },
        sub { $client->closed },
        qr/permessage-deflate/,
        adopt => sub { Adopt::Server->new($_[0], \$adopted) },
    );
    is($adopted, 7, "$name: every connection was adopted");
}

# The other way round: the upgrade with a server of another make is done by hand,
# line by line, so that its first message may be in the handle's buffer already.
for my $name (@there) {
    my $server = Interop::Child->new(@{ $peer{$name} }, 'server');
    my ($port) = $server->next_line('port');
    my $fh = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) or die "cannot connect: $@";
    print $fh request(headers => { 'Sec-WebSocket-Protocol' => 'v2.interop', 'X-Interop' => 'from ours' });
    my @head;
    push @head, scalar readline $fh until @head && $head[-1] eq "\r\n";
    like($head[0], qr/\AHTTP\/1\.1 101 /, "$name: upgraded by hand");

    my ($context, $events) = (EV::Websockets::Context->new, Events->new);
    my $conn = $context->adopt(fh => $fh, role => 'client', protocol => 'v2.interop', $events->handlers);
    run_until(sub { $events->count('message') }, "$name: its first message");
    like(($events->messages)[0], qr/^protocol=v2\.interop$/m, "$name: is its greeting");
    $conn->send('back and forth');
    $conn->send_ping('p');
    run_until(sub { $events->count('message') == 2 && $events->count('pong') }, "$name: an echo and a pong");
    is(($events->messages)[1], 'back and forth', "$name: the echo");
    $conn->close(4001, 'enough');
    run_until(sub { $events->count('close') }, "$name: closed");
    is($events->last_of('close')->[0], 4001, "$name: with the answer to our code");
    is_deeply($server->closed, [ 4001, 'enough' ], "$name: as it saw it");
}

finish;
