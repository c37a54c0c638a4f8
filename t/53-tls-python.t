use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

use Certificates;
use EV::Websockets;
use Interop qw(both_roles peer_python);
use Run;

# The Python package `websockets`, in both roles, over TLS.

my @peer = peer_python()
    or plan skip_all => 'Python with the package websockets is not installed';

my $made = Certificates->new;
both_roles('Python websockets', \@peer, listen => [ $made->for_both_roles ]);
finish;
