use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

use Certificates;
use EV::Websockets;
use Interop qw(both_roles peer_node);
use Run;

# The Node package `ws`, in both roles, over TLS.

my @peer = peer_node()
    or plan skip_all => 'Node with the package ws is not installed';

my $made = Certificates->new;
both_roles('Node ws', \@peer, listen => [ $made->for_both_roles ]);
finish;
