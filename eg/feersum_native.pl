#!/usr/bin/env perl
# The native interface of Feersum, and WebSockets on the same port.
#
#   perl eg/feersum_native.pl 5000      and then http://localhost:5000/
#   perl eg/feersum_native.pl           a free port; clients of its own try it
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../blib/lib", "$FindBin::Bin/../blib/arch";
use EV;
use EV::Websockets;
use Feersum;
use IO::Socket::INET;

my $ctx = EV::Websockets::Context->new;

# A request that is dropped without a response is given up by Feersum, which
# closes its descriptor: adopt gets another one of the same socket. (Newer
# versions have $req->io, which hands the socket itself out.)
sub websocket {
    my ($req) = @_;
    my $fh;
    if ($req->can('io')) {
        $fh = $req->io;
    }
    else {
        open $fh, '+<&', $req->fileno or return respond($req, 503, "No descriptor: $!\n");
    }
    eval {
        $ctx->adopt(
            env              => $req->env,
            fh               => $fh,
            limits           => 'public',
            max_message_size => 64 * 1024,
            on_connect       => sub { print "server: a client of $_[1]{Path}\n" },
            on_message       => sub { $_[0]->send("$_[1], too") },
            on_error         => sub { print "server: $_[1]\n" },
            on_close         => sub { print "server: closed with $_[1]\n" },
        );
    } or respond($req, 400, $@);    # nothing was sent: there can be a response
}

sub respond {
    my ($req, $status, $text) = @_;
    $req->send_response($status, ['Content-Type' => 'text/plain'], [$text]);
}

my $listen = IO::Socket::INET->new(
    LocalAddr => '127.0.0.1', LocalPort => $ARGV[0] || 0, Listen => 128, ReuseAddr => 1, Blocking => 0,
) or die "cannot listen: $@\n";
my $feersum = Feersum->new;
$feersum->use_socket($listen);
$feersum->request_handler(sub {
    my ($req) = @_;
    my $upgrade = $req->env->{HTTP_UPGRADE};
    return websocket($req) if defined $upgrade && lc $upgrade eq 'websocket';
    respond($req, 200, "The WebSocket is here, too.\n");
});

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
