#!/usr/bin/env perl
# Ending a server without cutting anyone off: on SIGTERM it takes no new
# clients, sends what is queued, closes every connection with 1001 (going away)
# and ends when the last one is closed, or when a deadline has passed.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../blib/lib", "$FindBin::Bin/../blib/arch";
use EV;
use EV::Websockets;

use constant CLIENTS => 3;
use constant PATIENCE => 5;    # seconds until the rest is dropped

my $ctx = EV::Websockets::Context->new;
my %clients;                   # the server's connections, by name
my ($stopping, $deadline);

my $port = $ctx->listen(
    max_message_size => 64 * 1024,
    on_handshake     => sub { !$stopping },    # false answers 403 Forbidden
    on_connect       => sub {
        my ($c) = @_;
        $clients{$c} = $c;
        return if keys %clients < CLIENTS;
        print "server: ", CLIENTS, " clients are connected; sending SIGTERM to myself\n";
        kill TERM => $$;
    },
    on_close => sub {
        my ($c) = @_;
        delete $clients{$c};
        printf "server: closed one, %d to go\n", scalar keys %clients;
        finish('everyone is gone') if $stopping && !%clients;
    },
);

# EV::signal runs its callback from the loop, never in the midst of another one.
my $sigterm = EV::signal TERM => sub {
    return if $stopping++;
    print "server: SIGTERM: closing ", scalar keys %clients, " connections\n";
    for my $c (values %clients) {
        $c->send('last words');                # goes out before the Close frame
        $c->close(1001, 'server is stopping');
    }
    $deadline = EV::timer PATIENCE, 0, sub { finish('out of patience') };
};

# Dropping the context closes the listener and whatever is still open. With
# nothing left to watch, EV::run returns.
sub finish {
    my ($why) = @_;
    print "server: $why\n";
    undef $deadline;
    undef $sigterm;
    undef $ctx;
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
