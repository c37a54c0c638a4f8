#!/usr/bin/env perl
# A WebSocket gateway: it takes connections, opens one to a backend for each,
# and relays both ways, never holding more than a bounded queue: whoever sends
# faster than the other side reads is not read from until the queue is empty.
#
#     proxy.pl --port 8080 --to ws://backend.example:9000
#
# runs until Ctrl-C. Without arguments it relays between a backend and a slow
# client of its own, shows the queue, and ends.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../blib/lib", "$FindBin::Bin/../blib/arch";
use EV;
use EV::Websockets;
use Getopt::Long;

use constant HIGH_WATER => 512 * 1024;    # bytes queued towards one side
use constant MAX_MESSAGE => 1024 * 1024;

GetOptions('port=i' => \my $port, 'to=s' => \my $backend)
    or die "usage: $0 [--port PORT --to URL]\n";
die "--port and --to go together\n" if defined $port xor defined $backend;

my $ctx = EV::Websockets::Context->new;
my ($relayed, $pauses, $peak) = (0, 0, 0);

# These three serve both directions: "the other one" is in the stash.
my %relay = (
    max_message_size => MAX_MESSAGE,
    on_message       => sub {
        my ($c, $bytes, $is_binary) = @_;
        my $other = $c->stash->{other};
        return unless $other && $other->is_connected;
        $is_binary ? $other->send_binary($bytes) : $other->send($bytes);
        $relayed++;
        my $queued = $other->send_queue_size;
        $peak = $queued if $queued > $peak;
        if ($queued >= HIGH_WATER) {
            $c->pause_recv;
            $pauses++;
        }
    },
    # My queue is empty again: read from the other one.
    on_drain => sub {
        my ($c) = @_;
        $c->stash->{other}->resume_recv if $c->stash->{other};
    },
    on_close => sub {
        my ($c, $code, $reason) = @_;
        part($c, $code, $reason);
    },
);

# Each stash refers to the other connection, which is a cycle: it is broken here,
# or neither of the two would ever be freed.
sub part {
    my ($c, $code, $reason) = @_;
    my $other = delete $c->stash->{other} or return;
    delete $other->stash->{other};
    # 1005 and 1006 mean that there was no code and no Close frame: never sent.
    $code = $code == 1005 ? 1000 : $code == 1006 ? 1011 : $code;
    $other->resume_recv;    # it has to read the answer to our Close
    $other->close($code, defined $reason ? $reason : '');
}

sub gateway {
    my ($on_port, $to) = @_;
    return $ctx->listen(
        host       => '127.0.0.1',
        limits     => 'public',
        %relay,
        name       => 'gateway',
        port       => $on_port,
        on_connect => sub {
            my ($client, $headers) = @_;
            $client->pause_recv;    # until there is a backend to relay to
            my $other = $ctx->connect(
                %relay,
                url             => $to . $headers->{URI},
                connect_timeout => 10,
                on_connect      => sub {
                    my ($c) = @_;
                    my $client = $c->stash->{other} or return $c->close;    # left meanwhile
                    $client->resume_recv;
                },
                on_error => sub {
                    my ($c, $text) = @_;
                    print "gateway: backend: $text\n";
                    part($c, 1014, 'bad gateway');
                },
            );
            $client->stash->{other} = $other;
            $other->stash->{other}  = $client;
        },
    );
}

if (defined $port) {
    gateway($port, $backend);
    print "relaying port $port to $backend - Ctrl-C ends it\n";
    my $ctrl_c = EV::signal INT => sub { EV::break };
    EV::run;
    exit 0;
}

# The demonstration: a backend that streams, and a client that dawdles.
use constant CHUNKS => 512;
use constant CHUNK  => 'x' x 65536;

sub stream {
    my ($c) = @_;
    my $stash = $c->stash;
    while ($stash->{asked} && $c->send_queue_size < HIGH_WATER) {
        return $c->close(1000, 'that was all') if $stash->{sent}++ == CHUNKS;
        $c->send_binary(CHUNK);
    }
}
my $backend_port = $ctx->listen(
    host             => '127.0.0.1',
    limits           => 'public',
    name             => 'backend',
    max_message_size => MAX_MESSAGE,
    on_message       => sub { my ($c) = @_; $c->stash->{asked} = 1; stream($c) },
    on_drain         => \&stream,
);
my $gateway_port = gateway(0, "ws://127.0.0.1:$backend_port");

my ($received, $nap) = (0);
$ctx->connect(
    url        => "ws://127.0.0.1:$gateway_port/stream",
    on_connect => sub { my ($c) = @_; $c->send('go') },
    on_message => sub {
        my ($c, $bytes) = @_;
        $received += length $bytes;
        return if $nap;
        print "client: has the first chunk, takes a nap\n";
        $c->pause_recv;
        $nap = EV::timer 0.5, 0, sub {
            printf "gateway: %d messages relayed, %d KiB queued at most, backend paused %s\n",
                $relayed, $peak / 1024, $pauses ? 'meanwhile' : 'never';
            print "client: reads on\n";
            $c->resume_recv;
        };
    },
    on_close => sub {
        my ($c, $code, $reason) = @_;
        printf "client: %d of %d MiB, closed with %d (%s)\n",
            $received / 2**20, CHUNKS * length(CHUNK) / 2**20, $code, $reason;
        EV::break;
    },
    on_error => sub { my ($c, $text) = @_; print "client: failed: $text\n"; EV::break },
);
EV::run;

printf "gateway: the backend was paused %s, the queue never passed %d KiB: %s\n",
    $pauses ? 'now and then' : 'never', (HIGH_WATER + length CHUNK) / 1024,
    $peak < HIGH_WATER + length CHUNK ? 'true' : 'false';
