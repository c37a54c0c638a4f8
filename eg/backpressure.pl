#!/usr/bin/env perl
# Sending a lot without filling the memory: the server streams 500 chunks of
# 64 KiB, and never has more than 256 KiB of them in its queue. It sends until
# the queue is that long, and goes on when on_drain says that it is down to 64 KiB.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../blib/lib", "$FindBin::Bin/../blib/arch";
use EV;
use EV::Websockets;

use constant CHUNKS     => 500;
use constant CHUNK_SIZE => 64 * 1024;
use constant HIGH_WATER => 256 * 1024;
use constant LOW_WATER  => 64 * 1024;

$| = 1;

# Chunk number $n: its number, and a piece of a fixed pattern that begins at
# another place for each, so that a lost, doubled or torn chunk is noticed.
my $pattern = pack 'N*', map { $_ * 2654435761 % 2**32 } 1 .. CHUNK_SIZE / 2;

sub chunk {
    my ($n) = @_;
    return pack('N', $n) . substr $pattern, $n * 251 % CHUNK_SIZE, CHUNK_SIZE - 4;
}

# --- the server ---
my ($peak, $refills) = (0, 0);

sub fill_queue {
    my ($c) = @_;
    my $stash = $c->stash;
    $refills++;
    while ($c->is_writable) {
        # close() sends what is queued before it closes.
        return $c->close(1000, 'end of stream') if $stash->{sent} == CHUNKS;
        $c->send_binary(chunk($stash->{sent}++));
        my $queued = $c->send_queue_size;
        $peak = $queued if $queued > $peak;
    }
}

my $ctx  = EV::Websockets::Context->new;
my $port = $ctx->listen(
    host             => '127.0.0.1',
    limits           => 'public',
    max_message_size => 4096,    # what a client may send us; it has nothing to say
    on_connect       => sub {
        my ($c) = @_;
        $c->stash->{sent} = 0;
        fill_queue($c);
    },
    send_high_water  => HIGH_WATER,      # from here on is_writable is false ...
    send_low_water   => LOW_WATER,       # ... and here on_drain comes
    on_drain         => \&fill_queue,
);

# --- the client ---
my ($received, $bytes_received, $wrong, $start) = (0, 0, 0);
my $closed = '';

$ctx->connect(
    url              => "ws://127.0.0.1:$port/",
    max_message_size => CHUNK_SIZE,
    on_connect       => sub { $start = EV::time },
    on_message       => sub {
        my ($c, $bytes) = @_;
        $wrong++ if $bytes ne chunk($received);
        $bytes_received += length $bytes;
        return if ++$received % (CHUNKS / 10);
        printf "received %3d chunks, %5.1f MiB\n", $received, $bytes_received / 2**20;
    },
    on_close => sub {
        my ($c, $code, $reason) = @_;
        $closed = "$code (" . (defined $reason ? $reason : '') . ')';
        EV::break;
    },
    on_error => sub {
        my ($c, $text) = @_;
        print "failed: $text\n";
        EV::break;
    },
);
EV::run;

my $seconds = EV::time - ($start || 0);
printf "total    %d chunks, %d bytes, closed with %s\n", $received, $bytes_received, $closed;
printf "speed    %.0f MB/s (%.3f s)\n", $bytes_received / 1e6 / $seconds, $seconds;
printf "queue    %d KiB at most, %d KiB allowed, filled %d times\n",
    $peak / 1024, HIGH_WATER / 1024, $refills;

my $good = $received == CHUNKS && !$wrong && $peak <= HIGH_WATER;
print $good ? "verified: every chunk came once, in order and unchanged\n"
    : "NOT as sent: $wrong chunks differ, " . (CHUNKS - $received) . " are missing\n";
exit($good ? 0 : 1);
