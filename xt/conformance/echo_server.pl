#!/usr/bin/env perl
# The server under test of script/conformance: sends every message back as it
# came. Prints "port N"; ends when its standard input does.
use strict;
use warnings;
use EV;
use EV::Websockets;

my $context = EV::Websockets::Context->new;
my $port    = $context->listen(
    max_message_size => 0,
    # What the cases of groups 12 and 13 ask for, and nothing else; short messages too.
    deflate          => { server_no_context_takeover => 0, client_no_context_takeover => 0, threshold => 0 },
    on_message       => sub {
        my ($connection, $bytes, $is_binary) = @_;
        return $is_binary ? $connection->send_binary($bytes) : $connection->send($bytes);
    },
);

my $parent = EV::io(\*STDIN, EV::READ, sub {
    EV::break if !sysread STDIN, my $ignored, 1024;
});

$| = 1;
print "port $port\n";
EV::run;
