use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

use EV::Websockets;
use Interop qw(peer_node);
use Interop::Deflate qw(both_roles);
use Run;

# permessage-deflate with the Node package `ws`, in both roles.

my @peer = peer_node('deflate.js')
    or plan skip_all => 'Node with the package ws is not installed';
both_roles('Node ws', @peer);
finish;
