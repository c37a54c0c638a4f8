#!/usr/bin/env perl
# The life of a connection: its state, and what the methods say, at each step.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../blib/lib", "$FindBin::Bin/../blib/arch";
use EV;
use EV::Websockets;

my $ctx  = EV::Websockets::Context->new;
my $port = $ctx->listen(
    host             => '127.0.0.1',
    limits           => 'public',
    max_message_size => 64 * 1024,
    protocol         => 'demo',
    on_message       => sub { my ($c, $bytes) = @_; $c->send($bytes) },
);

sub show {
    my ($when, $c) = @_;
    my ($peer, $protocol) = map { defined $_ ? $_ : '-' } $c->peer_address, $c->get_protocol;
    printf "%-20s %-10s connected=%d connecting=%d queue=%d peer=%s protocol=%s\n", $when,
        $c->state, $c->is_connected ? 1 : 0, $c->is_connecting ? 1 : 0,
        $c->send_queue_size, $peer, $protocol;
}

# send croaks unless the state is "connected".
sub try_to_send {
    my ($when, $c) = @_;
    my ($why) = eval { $c->send('x'); 1 } ? 'sent' : $@ =~ /\A(.*?) at /;
    print "  send $when: $why\n";
}

my $conn = $ctx->connect(
    url        => "ws://127.0.0.1:$port/",
    protocol   => 'demo',
    on_connect => sub {
        my ($c) = @_;
        show('in on_connect', $c);
        $c->stash->{since} = EV::now;
        $c->send('hello');
        show('after send', $c);      # queued: it is written when this callback has returned
    },
    on_drain   => sub { my ($c) = @_; show('in on_drain', $c) },
    on_message => sub {
        my ($c) = @_;
        show('in on_message', $c);
        $c->close;
        show('after close', $c);     # "closing", until the peer has answered
        try_to_send('while closing', $c);
        $c->close;                   # a second time: nothing happens
    },
    on_close => sub {
        my ($c, $code) = @_;
        show("in on_close ($code)", $c);
        EV::break;
    },
    on_error => sub { my ($c, $text) = @_; print "failed: $text\n"; EV::break },
);
show('after connect', $conn);
try_to_send('while connecting', $conn);
EV::run;

# The object stays usable for as long as there is a reference to it.
try_to_send('when closed', $conn);
print "  its stash is still there: ", (defined $conn->stash->{since} ? 'yes' : 'no'), "\n";

# Nobody listens there now: on_error, and no on_close.
undef $ctx;
$ctx = EV::Websockets::Context->new;
my $failed = $ctx->connect(
    url      => "ws://127.0.0.1:$port/",
    on_close => sub { print "never called\n" },
    on_error => sub { my ($c, $text) = @_; show('in on_error', $c); print "  $text\n" },
);
show('after connect', $failed);
EV::run;    # returns by itself: no listener, no connection, nothing to wait for
print "end of the loop\n";
