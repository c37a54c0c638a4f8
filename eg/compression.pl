#!/usr/bin/env perl
# Compression: a server that accepts permessage-deflate, and what it saves. The
# same hundred messages go to three clients: one without compression, one with,
# and one with contexts that are taken over from message to message.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../blib/lib", "$FindBin::Bin/../blib/arch";
use EV;
use EV::Websockets;
use JSON::PP;

my $json = JSON::PP->new->utf8->canonical;

sub quote {
    my ($number) = @_;
    return $json->encode({
        type       => 'quote',
        instrument => 'EXAMPLE-' . $number % 7,
        bid        => 100 + $number / 8,
        ask        => 101 + $number / 8,
        venue      => 'an exchange with a long name',
        conditions => [ 'regular', 'automatic', 'not held' ],
    });
}

my $ctx = EV::Websockets::Context->new;

# A client offers, the server decides. By default (deflate => 1) it begins every
# message anew, so that an idle connection holds no memory for it. The limit is
# one of what a message becomes when it is inflated: set it.
my %listener = (
    'plain'          => 0,
    'each by itself' => { threshold => 64 },
    'with takeover'  => { threshold => 64, server_no_context_takeover => 0, client_no_context_takeover => 0 },
);

sub start_client {
    my ($name, @rest) = @_;
    return EV::break if !defined $name;
    my $port = $ctx->listen(
        host             => '127.0.0.1',
        limits           => 'public',
        deflate          => $listener{$name},
        max_message_size => 64 * 1024,
        on_connect       => sub {
            my ($c) = @_;
            $c->send(quote($_)) for 1 .. 100;
            # Queued, and not yet written: this is what goes onto the wire.
            printf "%-15s %5d bytes to send (%s)\n", "$name:", $c->send_queue_size,
                defined $c->extensions ? $c->extensions : 'no extension';
        },
    );
    my ($messages, $bytes) = (0, 0);
    $ctx->connect(
        url              => "ws://127.0.0.1:$port/",
        max_message_size => 64 * 1024,
        on_message       => sub {
            my ($c, $text) = @_;
            $json->decode($text);
            $bytes += length $text;
            $c->close if ++$messages == 100;
        },
        on_close => sub {
            printf "%-15s %5d bytes in %d messages\n", '', $bytes, $messages;
            start_client(@rest);
        },
        on_error => sub { print "failed: $_[1]\n" },
    );
    return;
}

start_client('plain', 'each by itself', 'with takeover');
EV::run;
