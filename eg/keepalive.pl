#!/usr/bin/env perl
# Finding peers that are gone without having said so: whoever is silent for
# ping_interval is sent a Ping, and given up after pong_timeout. Both are on by
# default, with 30 and 20 seconds.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../blib/lib", "$FindBin::Bin/../blib/arch";
use EV;
use EV::Websockets;

my $ctx = EV::Websockets::Context->new;
my %clients;

my $port = $ctx->listen(
    host             => '127.0.0.1',
    limits           => 'public',
    max_message_size => 64 * 1024,
    ping_interval    => 0.2,
    pong_timeout     => 0.2,
    on_connect       => sub {
        my ($c, $headers) = @_;
        ($c->stash->{name}) = $headers->{Path} =~ m{([^/]*)\z};
        $clients{ $c->stash->{name} } = $c;
    },
    on_error => sub { my ($c, $text) = @_; print 'server: ', $c->stash->{name}, ": $text\n" },
    on_close => sub {
        my ($c, $code) = @_;
        print 'server: ', $c->stash->{name}, " is closed with $code\n";
        # The other one has answered its Pings meanwhile.
        my $lively = $clients{lively} or return;
        printf "server: lively answered within %.6f s\n", $lively->latency if $lively->is_connected;
        EV::break;
    },
);

sub client {
    my ($name, $on_connect) = @_;
    return $ctx->connect(
        url        => "ws://127.0.0.1:$port/$name",
        on_connect => $on_connect,
        on_error   => sub { my ($c, $text) = @_; print "$name: failed: $text\n"; EV::break },
    );
}

my $lively = client('lively', sub { print "lively: connected\n" });
my $frozen = client('frozen', sub {
    my ($c) = @_;
    print "frozen: connected, reads nothing from now on\n";
    $c->pause_recv;    # no reading, no Pongs: what a hanging program looks like
});

EV::run;
