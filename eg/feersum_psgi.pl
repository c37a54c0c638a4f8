#!/usr/bin/env perl
# A PSGI application for Feersum that serves pages and WebSockets on one port.
#
#   perl eg/feersum_psgi.pl 5000      and then http://localhost:5000/
#   perl eg/feersum_psgi.pl           a free port; a client of its own tries it
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../blib/lib", "$FindBin::Bin/../blib/arch";
use EV;
use EV::Websockets;
use Feersum;
use IO::Socket::INET;

my $ctx = EV::Websockets::Context->new;

my $page = sub {
    my ($env) = @_;
    return [200, ['Content-Type' => 'text/plain'], ["This is $env->{PATH_INFO}. The WebSocket is here, too.\n"]];
};

# The inner sub is what Feersum wants from applications that take its socket. Its
# argument is for a response: it is called only when the request is no acceptable upgrade.
my $websocket = sub {
    my ($env) = @_;
    return sub {
        my ($respond) = @_;
        eval {
            $ctx->adopt(
                env              => $env,
                limits           => 'public',
                max_message_size => 64 * 1024,
                on_connect       => sub { print "server: a client of $_[1]{Path}\n" },
                on_message       => sub { $_[0]->send("$_[1], too") },
                on_error         => sub { print "server: $_[1]\n" },
                on_close         => sub { print "server: closed with $_[1]\n" },
            );
        } or $respond->([400, ['Content-Type' => 'text/plain'], [$@]]);
    };
};

my $app = sub {
    my ($env) = @_;
    return lc($env->{HTTP_UPGRADE} || '') eq 'websocket' ? $websocket->($env) : $page->($env);
};

my $listen = IO::Socket::INET->new(
    LocalAddr => '127.0.0.1', LocalPort => $ARGV[0] || 0, Listen => 128, ReuseAddr => 1, Blocking => 0,
) or die "cannot listen: $@\n";
my $feersum = Feersum->new;
$feersum->use_socket($listen);
$feersum->psgi_request_handler($app);

if (!@ARGV) {
    $ctx->connect(
        url        => 'ws://127.0.0.1:' . $listen->sockport . '/chat',
        on_connect => sub { $_[0]->send('hello') },
        on_message => sub { print "client: $_[1]\n"; $_[0]->close },
        on_error   => sub { print "client: $_[1]\n"; EV::break },
        on_close   => sub { print "client: closed with $_[1]\n"; EV::break },
    );
}
EV::run;
