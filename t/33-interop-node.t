use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

use EV::Websockets;
use Interop qw(both_roles peer_node);
use Run;

# The Node package `ws`, in both roles.

my @peer = peer_node()
    or plan skip_all => 'Node with the package ws is not installed';
both_roles('Node ws', \@peer);
finish;
