#!/usr/bin/env perl
# Messages that are awaited: futures and async/await, in place of a callback for
# each step. Needs Future and Future::AsyncAwait (in Debian: libfuture-perl and
# libfuture-asyncawait-perl); the module itself knows nothing of either.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../blib/lib", "$FindBin::Bin/../blib/arch";
use EV;
use EV::Websockets;
use Future;
use Future::AsyncAwait;

# A connection with an inbox. This is all that it takes: copy it, and change it
# to your taste.
package Peer;

# A future of the peer once it is connected; it fails when it cannot be.
sub connect {
    my ($class, $ctx, %options) = @_;
    my $self      = bless { messages => [] }, $class;
    my $connected = Future->new;
    $self->{conn} = $ctx->connect(
        %options,
        on_connect => sub { $connected->done($self) },
        on_message => sub { push @{ $self->{messages} }, $_[1]; $self->deliver },
        on_close   => sub { $self->{closed} = 1; $self->deliver },
        on_error   => sub {
            my ($conn, $text) = @_;
            $connected->is_ready ? ($self->{error} = $text) : $connected->fail($text, 'websocket');
        },
    );
    return $connected;
}

# A future of the next message; of nothing when the connection has been closed.
sub receive {
    my ($self) = @_;
    $self->{waiting} = my $future = Future->new;
    $self->deliver;
    return $future;
}

# While nobody asks for messages, the peer is held back: see "BACKPRESSURE" in
# the manual.
sub deliver {
    my ($self) = @_;
    my $waiting  = $self->{waiting};
    my $messages = $self->{messages};
    if ($waiting && !$waiting->is_ready && (@$messages || $self->{closed})) {
        delete $self->{waiting};
        return $waiting->fail($self->{error}, 'websocket') if !@$messages && $self->{error};
        return $waiting->done(@$messages ? shift @$messages : ());
    }
    @$messages >= 16 ? $self->{conn}->pause_recv : $self->{conn}->resume_recv;
}

sub send { my ($self, $bytes) = @_; $self->{conn}->send($bytes) }

sub close { my ($self, @why) = @_; $self->{conn}->close(@why) }

package main;

# A future that is done after so many seconds.
sub after {
    my ($seconds) = @_;
    my $future = Future->new;
    my $timer = EV::timer($seconds, 0, sub { $future->done });
    return $future->on_ready(sub { undef $timer });
}

my $ctx  = EV::Websockets::Context->new;
my $port = $ctx->listen(
    host       => '127.0.0.1',
    limits     => 'public',
    on_message => sub {
        my ($c, $bytes) = @_;
        return $c->close(1000, 'good bye') if $bytes eq 'bye';
        $c->send(scalar reverse $bytes);
    },
);

# Reads like a conversation. While it waits, the loop goes on.
async sub talk {
    my ($name, @words) = @_;
    my $peer = await Peer->connect($ctx, url => "ws://127.0.0.1:$port/");
    for my $word (@words) {
        $peer->send($word);
        my $answer = await $peer->receive;
        print "$name: '$word' backwards is '$answer'\n";
    }
    $peer->send('bye');
    my @more = await $peer->receive;
    print "$name: the server has closed\n" if !@more;
    return scalar @words;
}

async sub main {
    # Two at once. Each is as fast as its own server.
    my @counts = await Future->needs_all(talk('ann', 'stressed', 'repaid'), talk('bob', 'drawer'));
    print "together: $counts[0] + $counts[1] words\n";

    # An answer, or enough of waiting.
    my $peer = await Peer->connect($ctx, url => "ws://127.0.0.1:$port/");
    my @first = await Future->wait_any($peer->receive, after(0.1)->then(sub { Future->done('no message in time') }));
    print "$first[0]\n";
    $peer->close;

    # What fails is an exception where it is awaited.
    eval { await Peer->connect($ctx, url => 'ws://127.0.0.1:1/'); 1 } or print "failed: $@\n";
}

my $main = main();
$main->on_ready(sub { EV::break });
EV::run if !$main->is_ready;
$main->get;    # dies if main did
print "done\n";
