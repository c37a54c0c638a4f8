use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

use EV::Websockets;
use Interop qw(our_client our_server peer_python);
use Interop::Child;
use Run;

# The Python package `websockets`, in both roles.

my @peer = peer_python()
    or plan skip_all => 'Python with the package websockets is not installed';
my $name = 'Python websockets';

{
    my $server = Interop::Child->new(@peer, 'server');
    my ($port) = $server->next_line('port');
    our_client($name, "ws://127.0.0.1:$port", sub { $server->closed });
}

{
    my $client;
    our_server(
        $name,
        sub { $client = Interop::Child->new(@peer, 'client', @_) },
        sub { $client->closed },
        qr/permessage-deflate/,
    );
}

finish;
