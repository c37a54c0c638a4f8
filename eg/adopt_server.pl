#!/usr/bin/env perl
# A server that accepts its connections itself, reads the requests as it likes,
# and hands those that ask for a WebSocket to adopt().
#
#   perl eg/adopt_server.pl 5000      and then http://localhost:5000/
#   perl eg/adopt_server.pl           a free port; a client of its own tries it
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../blib/lib", "$FindBin::Bin/../blib/arch";
use EV;
use EV::Websockets;
use IO::Socket::INET;

my $ctx = EV::Websockets::Context->new;
my $listen = IO::Socket::INET->new(
    LocalAddr => '127.0.0.1', LocalPort => $ARGV[0] || 0, Listen => 128, ReuseAddr => 1, Blocking => 0,
) or die "cannot listen: $@\n";

my %reading;    # descriptor => watcher, of clients whose request is not complete

my $accept = EV::io $listen, EV::READ, sub {
    my $fh = $listen->accept or return;
    $fh->blocking(0);
    my $bytes = '';
    $reading{ fileno $fh } = EV::io $fh, EV::READ, sub {
        my $got = sysread $fh, $bytes, 4096, length $bytes;
        return if !defined $got && $!{EAGAIN};
        my $whole = $bytes =~ /\r?\n\r?\n/;
        return if $got && !$whole && length $bytes < 16_384;
        delete $reading{ fileno $fh };    # from here on the socket is not ours to watch
        request($fh, $bytes) if $whole;
    };
};

sub request {
    my ($fh, $bytes) = @_;
    return page($fh) if $bytes !~ /^Upgrade:\s*websocket\s*$/im;
    eval {
        $ctx->adopt(
            fh               => $fh,
            initial_data     => $bytes,    # the request, and whatever came behind it
            limits           => 'public',
            max_message_size => 64 * 1024,
            on_connect       => sub { print "server: a client of $_[1]{Path}\n" },
            on_message       => sub { my ($c, $message, $is_binary) = @_;
                $is_binary ? $c->send_binary($message) : $c->send($message) },
            on_error => sub { print "server: $_[1]\n" },
            on_close => sub { print "server: closed with $_[1]\n" },
        );
    } or respond($fh, '400 Bad Request', $@);
}

sub page { respond($_[0], '200 OK', "The WebSocket is here, too.\n") }

# Short enough for the socket to take it at once.
sub respond {
    my ($fh, $status, $text) = @_;
    syswrite $fh, "HTTP/1.1 $status\r\nContent-Type: text/plain\r\nContent-Length: "
        . length($text) . "\r\nConnection: close\r\n\r\n$text";
}

if (!@ARGV) {
    $ctx->connect(
        url        => 'ws://127.0.0.1:' . $listen->sockport . '/chat',
        on_connect => sub { $_[0]->send('hello') },
        on_message => sub { print "client: $_[1]\n"; $_[0]->close },
        on_error   => sub { print "client: $_[1]\n"; EV::break },
        on_close   => sub { print "client: closed with $_[1]\n"; EV::break },
    );
}
else {
    $| = 1;
    print 'listening on port ', $listen->sockport, "\n";
}
EV::run;
