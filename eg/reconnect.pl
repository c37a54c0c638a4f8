#!/usr/bin/env perl
# A client that comes back: when the connection is lost, or cannot be made, it
# tries again after a delay that doubles each time, with a random part in it.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../blib/lib", "$FindBin::Bin/../blib/arch";
use EV;
use EV::Websockets;

use constant FIRST_DELAY => 0.1;    # seconds; a program for real use begins with 1
use constant MAX_DELAY   => 30;

my $client = EV::Websockets::Context->new;
my ($server, $port, $timer);
my ($delay, $connects, $failures) = (FIRST_DELAY, 0, 0);

# A context of its own for the server, so that destroying it is like a crash.
sub start_server {
    $server = EV::Websockets::Context->new;
    return $server->listen(
        host             => '127.0.0.1',
        limits           => 'public',
        port             => $_[0],
        max_message_size => 64 * 1024,
        on_message       => sub { my ($c, $bytes) = @_; $c->send($bytes) },
    );
}

sub try {
    $client->connect(
        url             => "ws://127.0.0.1:$port/",
        connect_timeout => 5,
        on_connect      => sub {
            my ($c) = @_;
            print "client: connected\n";
            $delay = FIRST_DELAY;
            $c->send('connection ' . ++$connects);
        },
        on_message => sub {
            my ($c, $bytes) = @_;
            print "client: echo of '$bytes'\n";
            return $c->close if $connects == 2;
            print "server: crashes\n";
            undef $server;
        },
        # Exactly one of these two says that there is no connection (any more):
        # on_close if there was one, on_error if there never was. A protocol
        # error calls both; on_close then does what is to be done.
        on_close => sub {
            my ($c, $code) = @_;
            print "client: closed with $code\n";
            $code == 1000 ? EV::break : try_later();
        },
        on_error => sub {
            my ($c, $text) = @_;
            return unless $c->state eq 'closed';
            print "client: no connection ($text)\n";
            if (++$failures == 3) {
                print "server: is back\n";
                start_server($port);
            }
            try_later();
        },
    );
}

sub try_later {
    # The random part keeps a thousand clients from coming back all at once.
    my $wait = $delay * (0.5 + rand 0.5);
    $delay = $delay * 2 < MAX_DELAY ? $delay * 2 : MAX_DELAY;
    printf "client: tries again in %.2f s\n", $wait;
    $timer = EV::timer $wait, 0, \&try;
}

$port = start_server(0);
try();
EV::run;
printf "connected %d times, %d attempts failed in between\n", $connects, $failures;
