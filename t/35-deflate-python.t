use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

use EV::Websockets;
use Interop qw(peer_python);
use Interop::Deflate qw(both_roles);
use Run;

# permessage-deflate with the Python package `websockets`, in both roles.

my @peer = peer_python('deflate.py')
    or plan skip_all => 'Python with the package websockets is not installed';
both_roles('Python websockets', @peer);
finish;
