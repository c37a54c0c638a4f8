#!/usr/bin/env perl
# A server behind haproxy: it knows its clients by the PROXY protocol, takes so
# many of them, and tells who was turned away, but not more than ten times a
# second.
#
#     behind_proxy.pl --port 8080
#
# runs until Ctrl-C, for this haproxy:
#
#     defaults
#         mode tcp
#         timeout connect 10s
#         timeout client 1h
#         timeout server 1h
#     listen chat
#         bind :80
#         server one 127.0.0.1:8080 send-proxy-v2
#
# Without arguments it plays the proxy itself, with four clients, and ends.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../blib/lib", "$FindBin::Bin/../blib/arch";
use EV;
use EV::Websockets;
use Getopt::Long;
use IO::Socket::INET;

GetOptions('port=i' => \my $port) or die "usage: $0 [--port PORT]\n";
$| = 1;

my $ctx = EV::Websockets::Context->new;

# Whoever can reach the port can be turned away as often as he likes: a log that
# has a line for each time is what fills the disk.
my ($left, $missed) = (10, 0);
my $refill = EV::timer(1, 1, sub {
    print "server: $missed further clients were turned away\n" if $missed;
    ($left, $missed) = (10, 0);
});

my $turned_away = 0;
my $listening = $ctx->listen(
    host                        => '127.0.0.1',
    limits                      => 'public',
    port                        => $port || 0,
    proxy_protocol              => 1,
    trusted_proxies             => ['127.0.0.1'],
    max_connections             => 10_000,
    max_connections_per_address => 1,
    max_message_size            => 64 * 1024,
    on_connect => sub {
        my ($c) = @_;
        printf "server: %s port %s is here\n", $c->peer_address, $c->peer_port;
    },
    on_message => sub {
        my ($c, $text) = @_;
        $c->send("you said: $text");
    },
    on_reject => sub {
        my ($why, $peer, $headers) = @_;
        $turned_away++;
        return $missed++ if $left-- <= 0;
        printf "server: %s was turned away: %s\n", $peer || 'somebody local', $why;
    },
);

if ($port) {
    print "server: listening at port $listening\n";
    my $end = EV::signal('INT', sub { EV::break });
    EV::run;
    exit;
}

# The part of haproxy: a head in front of what the client has sent.
sub pass_on {
    my ($head) = @_;
    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $listening) or die "connect: $@";
    $socket->syswrite($head . join "\r\n", 'GET /chat HTTP/1.1', 'Host: chat.example', 'Upgrade: websocket',
        'Connection: Upgrade', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==', 'Sec-WebSocket-Version: 13', '', '');
    return $socket;
}

my @clients = (
    pass_on("PROXY TCP4 192.0.2.1 192.0.2.100 40001 80\r\n"),
    pass_on("PROXY TCP6 2001:db8::2 2001:db8::100 40002 80\r\n"),
    pass_on("PROXY TCP4 192.0.2.1 192.0.2.100 40003 80\r\n"),    # the second of this address
    pass_on(''),                                                # not by way of the proxy
);
my $look = EV::prepare(sub { EV::break if $turned_away == 2 && $ctx->connections == 2 });
EV::run;
printf "server: %d clients, %d turned away\n", scalar(my @all = $ctx->connections), $turned_away;
