#!/usr/bin/env perl
# A PSGI application for Twiggy, AnyEvent's server, that serves pages and
# WebSockets on one port.
#
#   perl eg/twiggy_psgi.pl 5000      and then http://localhost:5000/
#   perl eg/twiggy_psgi.pl           a free port; a client of its own tries it
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../blib/lib", "$FindBin::Bin/../blib/arch";
BEGIN { $ENV{PERL_ANYEVENT_MODEL} = 'EV' }    # one loop for all
use EV;
use EV::Websockets;
use Twiggy::Server;

my $ctx = EV::Websockets::Context->new;

sub page {
    my ($env) = @_;
    return [200, ['Content-Type' => 'text/plain'], ["The WebSocket is here, too.\n"]];
}

# The argument of the inner sub is for a response: it is called only when the
# request is no acceptable upgrade.
sub websocket {
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
}

my $port   = $ARGV[0] || 0;
my $twiggy = Twiggy::Server->new(
    host         => '127.0.0.1',
    port         => $port,
    server_ready => sub { $port = $_[0]{port} },
);
$twiggy->register_service(sub {
    my ($env) = @_;
    return lc($env->{HTTP_UPGRADE} || '') eq 'websocket' ? websocket($env) : page($env);
});

if (!@ARGV) {
    $ctx->connect(
        url        => "ws://127.0.0.1:$port/chat",
        on_connect => sub { $_[0]->send('hello') },
        on_message => sub { print "client: $_[1]\n"; $_[0]->close },
        on_error   => sub { print "client: $_[1]\n"; EV::break },
        on_close   => sub { print "client: closed with $_[1]\n"; EV::break },
    );
}
EV::run;
