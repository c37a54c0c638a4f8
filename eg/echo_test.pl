#!/usr/bin/env perl
# The smallest complete program: an echo server and a client that talks to it,
# in one process, on one event loop.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../blib/lib", "$FindBin::Bin/../blib/arch";
use EV;
use EV::Websockets;

# The context owns the listener and all connections: keep it in a variable for
# as long as you want them to live.
my $ctx = EV::Websockets::Context->new;

# Without `host`, a listener is open to the whole network. Without `port`, the
# system picks a free one. listen() returns the number.
my $port = $ctx->listen(
    host             => '127.0.0.1',
    limits           => 'public',
    max_message_size => 64 * 1024,
    on_connect       => sub {
        my ($c) = @_;
        print "server: a client came from ", $c->peer_address, "\n";
    },
    on_message => sub {
        my ($c, $bytes, $is_binary) = @_;
        $is_binary ? $c->send_binary($bytes) : $c->send($bytes);
    },
);
print "server: listening on port $port\n";

my @words = ('hello', 'how are you?', 'good bye');

# connect() returns at once. Nothing happens before the loop runs, and from then
# on the callbacks tell what does.
$ctx->connect(
    url        => "ws://127.0.0.1:$port/",
    on_connect => sub {
        my ($c) = @_;
        print "client: connected\n";
        $c->send(shift @words);
    },
    on_message => sub {
        my ($c, $bytes) = @_;
        print "client: got '$bytes' back\n";
        @words ? $c->send(shift @words) : $c->close(1000, 'done');
    },
    on_close => sub {
        my ($c, $code) = @_;
        print "client: closed with code $code\n";
        EV::break;
    },
    on_error => sub {
        my ($c, $text) = @_;
        print "client: failed: $text\n";
        EV::break;
    },
);

# The listener would keep the loop running for ever; EV::break above ends it.
EV::run;
