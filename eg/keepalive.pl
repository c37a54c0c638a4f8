#!/usr/bin/env perl
# Finding peers that are gone without having said so: the server pings every
# client, and closes the ones that leave several pings unanswered.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../blib/lib", "$FindBin::Bin/../blib/arch";
use EV;
use EV::Websockets;

use constant INTERVAL   => 0.1;    # seconds between pings; 20 to 60 are usual
use constant MAX_MISSED => 4;

my $ctx = EV::Websockets::Context->new;
my %clients;
my $pongs = 0;

my $port = $ctx->listen(
    host             => '127.0.0.1',
    max_message_size => 64 * 1024,
    on_connect       => sub {
        my ($c, $headers) = @_;
        ($c->stash->{name}) = $headers->{Path} =~ m{([^/]*)\z};
        $c->stash->{missed} = 0;
        $clients{$c} = $c;
    },
    # The peer's side answers a ping by itself; a pong carries the ping's payload.
    on_pong => sub {
        my ($c) = @_;
        $c->stash->{missed} = 0;
        $pongs++;
    },
    on_close => sub {
        my ($c, $code) = @_;
        delete $clients{$c};
        print "server: ", $c->stash->{name}, " has left\n";
        end_if_all_closed();
    },
);

# One timer for all connections. (A timer kept in a connection's stash, with $c
# in its callback, would be a reference cycle: neither would ever be freed.)
my $pinger = EV::timer INTERVAL, INTERVAL, sub {
    for my $c (values %clients) {
        next unless $c->is_connected;
        my $stash = $c->stash;
        if ($stash->{missed}++ < MAX_MISSED) {
            $c->send_ping('are you there?');
            next;
        }
        print "server: pongs of the others: $pongs, of $stash->{name}: none; closing it\n";
        # If the peer is really gone, nobody answers the Close frame either; the
        # connection is then cut after ten seconds, with code 1006.
        $c->close(4000, 'no answer to pings');
        wake_up();
    }
};

sub client {
    my ($name, $on_connect) = @_;
    return $ctx->connect(
        url        => "ws://127.0.0.1:$port/$name",
        on_connect => $on_connect,
        on_close   => sub {
            my ($c, $code, $reason) = @_;
            print "$name: closed with $code", defined $reason ? " ($reason)" : '', "\n";
            end_if_all_closed();
        },
        on_error => sub { my ($c, $text) = @_; print "$name: failed: $text\n"; EV::break },
    );
}

my $lively = client('lively', sub { print "lively: connected\n" });
my $frozen = client('frozen', sub {
    my ($c) = @_;
    print "frozen: connected, reads nothing from now on\n";
    $c->pause_recv;    # no reading, no pongs: what a hanging program looks like
});

# For the end of this demonstration both clients come back to life.
sub wake_up {
    $frozen->resume_recv;
    $lively->close;
}

sub end_if_all_closed {
    my @open = $ctx->connections;
    EV::break unless @open;
}

EV::run;
