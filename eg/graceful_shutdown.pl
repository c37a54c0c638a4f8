#!/usr/bin/env perl
# Ending a server without cutting anyone off: on SIGTERM it takes no new
# clients, sends what is queued, closes every connection with 1001 (going away)
# and ends when the last one is closed, or when its patience is over. A second
# SIGTERM hastens that.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../blib/lib", "$FindBin::Bin/../blib/arch";
use EV;
use EV::Websockets;

use constant CLIENTS => 3;
use constant PATIENCE => 5;    # seconds until the rest is cut

my $ctx = EV::Websockets::Context->new;

my $port = $ctx->listen(
    host             => '127.0.0.1',
    limits           => 'public',
    max_message_size => 64 * 1024,
    on_connect       => sub {
        my @open = $ctx->connections;
        return if @open < CLIENTS;
        print "server: ", CLIENTS, " clients are connected; sending SIGTERM to myself\n";
        kill TERM => $$;
    },
    on_close => sub {
        my ($c, $code) = @_;
        print "server: closed one with $code\n";
    },
);

# EV::signal runs its callback from the loop, never in the midst of another one.
my $stopping;
my $sigterm = EV::signal TERM => sub {
    return $ctx->shutdown(timeout => 0) if $stopping++;
    my @open = $ctx->connections;
    print "server: SIGTERM: closing ", scalar @open, " connections\n";
    $_->send('last words') for @open;          # goes out before the Close frame
    $ctx->shutdown(timeout => PATIENCE, reason => 'server is stopping', cb => \&finish);
};

# With nothing left to watch, EV::run returns.
sub finish {
    my ($cut) = @_;
    print "server: everyone is gone, $cut had to be cut\n";
    undef $sigterm;
}

# The clients have a context of their own, as if they were other programs.
my $elsewhere = EV::Websockets::Context->new;
for my $n (1 .. CLIENTS) {
    $elsewhere->connect(
        url        => "ws://127.0.0.1:$port/",
        on_message => sub { my ($c, $text) = @_; print "client $n: got '$text'\n" },
        on_close   => sub {
            my ($c, $code, $reason) = @_;
            print "client $n: closed with $code ($reason)\n";
        },
        on_error => sub { my ($c, $text) = @_; print "client $n: failed: $text\n"; EV::break },
    );
}

EV::run;
print "the loop has nothing left to do\n";
