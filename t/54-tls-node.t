use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

use Certificates;
use EV::Websockets;
use Interop qw(our_client our_server peer_node);
use Interop::Child;
use Run;

# The Node package `ws`, in both roles, over TLS.

my @peer = peer_node()
    or plan skip_all => 'Node with the package ws is not installed';
my $name = 'Node ws';

my $made = Certificates->new;
$made->ca('ca');
$made->issue('server', issuer => 'ca');

# For our client, the peer's server, and the peer's client.
local $ENV{SSL_CERT_FILE} = local $ENV{NODE_EXTRA_CA_CERTS} = $made->file('ca.pem');
local $ENV{EVWS_PEER_CERT} = $made->file('server.pem');
local $ENV{EVWS_PEER_KEY}  = $made->file('server.key');

{
    my $server = Interop::Child->new(@peer, 'server');
    my ($port) = $server->next_line('port');
    our_client($name, "wss://127.0.0.1:$port", sub { $server->closed });
}

{
    my $client;
    our_server(
        $name,
        sub { $client = Interop::Child->new(@peer, 'client', @_) },
        sub { $client->closed },
        qr/permessage-deflate/,
        listen => [$made->listen_with('server')],
    );
}

finish;
