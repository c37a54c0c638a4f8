#!/usr/bin/env perl
# Many connections in one process: a hundred clients share one set of callbacks
# and keep what is their own in the stash.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../blib/lib", "$FindBin::Bin/../blib/arch";
use EV;
use EV::Websockets;

use constant CLIENTS  => 100;
use constant MESSAGES => 20;    # of each client

my $ctx = EV::Websockets::Context->new;
my ($connected, $closed, $echoes, $wrong) = (0, 0, 0, 0);

my $port = $ctx->listen(
    host             => '127.0.0.1',
    limits           => 'public',
    max_message_size => 64 * 1024,
    on_message       => sub { my ($c, $bytes) = @_; $c->send($bytes) },
);

sub expected {
    my ($c) = @_;
    my $stash = $c->stash;
    return "message $stash->{count} of client $stash->{number}";
}

my %callbacks = (
    on_connect => sub {
        my ($c) = @_;
        return if ++$connected < CLIENTS;
        # connections() has both ends of each, as they are in one context here.
        my @all = $ctx->connections;
        print "$connected clients are connected, ", scalar @all, " connections in the context\n";
        $_->send(expected($_)) for grep { $_->stash->{number} } @all;
    },
    on_message => sub {
        my ($c, $bytes) = @_;
        $echoes++;
        $wrong++ if $bytes ne expected($c);
        ++$c->stash->{count} < MESSAGES ? $c->send(expected($c)) : $c->close;
    },
    on_close => sub { EV::break if ++$closed == CLIENTS },
    on_error => sub { my ($c, $text) = @_; print "failed: $text\n"; EV::break },
);

my $start = EV::time;
for my $number (1 .. CLIENTS) {
    my $c = $ctx->connect(url => "ws://127.0.0.1:$port/", %callbacks);
    $c->stash->{number} = $number;
    $c->stash->{count}  = 0;
}
EV::run;

printf "%d echoes, %d of them wrong, in %.2f s\n", $echoes, $wrong, EV::time - $start;
exit($wrong || $echoes != CLIENTS * MESSAGES ? 1 : 0);
