use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

use EV::Websockets;
use Interop qw(peer_node);
use Interop::Child;
use Interop::Deflate qw(settings setting_name with_our_client with_our_server);
use Run;

# permessage-deflate with the Node package `ws`, in both roles.

my @peer = peer_node('deflate.js')
    or plan skip_all => 'Node with the package ws is not installed';
my $name = 'Node ws';

# What we ask for, and then what the peer asks for while we are open to it.
my @settings = settings();
my @names    = map { setting_name($_) } @settings;
my %open     = (server_no_context_takeover => 0, client_no_context_takeover => 0);

{
    my $server = Interop::Child->new(@peer, 'server', '-', @names);
    my ($own, @url) = map { 'ws://127.0.0.1:' . ($server->next_line('port'))[0] } 0 .. @names;
    with_our_client($name,
        [ 'defaults', $own, 1, {}, 1 ],
        (map { [ "we ask for $names[$_]", $own, $settings[$_], $settings[$_], 1 ] } 0 .. $#names),
        (map { [ "it asks for $names[$_]", $url[$_], 1, $settings[$_], 0 ] } 0 .. $#names),
    );
}

with_our_server(
    $name,
    sub {
        my @urls = @_;
        my @ask = ('-', ('-') x @names, @names);
        return Interop::Child->new(@peer, 'client', map { ($urls[$_], $ask[$_]) } 0 .. $#urls);
    },
    [ 'defaults', 1, { server_no_context_takeover => 1, client_no_context_takeover => 1 }, 1 ],
    (map { [ "we ask for $names[$_]", $settings[$_], $settings[$_], 1 ] } 0 .. $#names),
    (map { [ "it asks for $names[$_]", {%open}, $settings[$_], 0 ] } 0 .. $#names),
);

finish;
