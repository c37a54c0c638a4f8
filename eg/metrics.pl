#!/usr/bin/env perl
# What a monitoring system asks a server: all its statistics at /metrics, in the text
# format of Prometheus, on the port of the WebSocket connections.
#
#     scrape_configs:
#       - job_name: chat
#         static_configs: [{ targets: ['127.0.0.1:8080'] }]
#
# Here a few clients talk first, and then the server is asked as Prometheus asks it.
# With --print nothing else is printed than the answer: metrics.pl --print | promtool check metrics
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../blib/lib", "$FindBin::Bin/../blib/arch";
use EV;
use EV::Websockets;
use HTTP::Tiny;

my $quiet = @ARGV && $ARGV[0] eq '--print';

# Every figure of $ctx->stats: what stands behind its name here, and what it is. One that ends with _total is a counter
# then, any other a gauge. Of those that are hashes: what their keys are.
my @METRICS = (
    [ messages_received    => '_total',       'Messages from clients.' ],
    [ messages_sent        => '_total',       'Messages to clients.' ],
    [ messages_dropped     => '_total',       'Messages to clients that were let go.' ],
    [ messages_droppable   => '',             'Messages that wait and may be dropped.' ],
    [ frames_received      => '_total',       'Frames from clients.' ],
    [ frames_sent          => '_total',       'Frames to clients.' ],
    [ payload_received     => '_bytes_total', 'Messages from clients, inflated.' ],
    [ payload_sent         => '_bytes_total', 'Messages to clients, before compression.' ],
    [ wire_received        => '_bytes_total', 'Frames from clients, as they came.' ],
    [ wire_sent            => '_bytes_total', 'Frames to clients, as they were sent.' ],
    [ compression_received => '_ratio',       'Payload from clients divided by wire.' ],
    [ compression_sent     => '_ratio',       'Payload to clients divided by wire.' ],
    [ send_queue           => '_bytes',       'Payload that waits to be sent.' ],
    [ send_queue_peak      => '_bytes',       'The most payload that has waited on one connection.' ],
    [ opened               => '_total',       'Connections that were opened.' ],
    [ open                 => '',             'Open connections.' ],
    [ closed               => '_total',       'Connections that were closed, by code.', 'code' ],
    [ rejected             => '_total',       'Clients that were turned away, by cause.', 'cause' ],
    [ handshakes           => '',             'Clients on their way, this one included.' ],
    [ loop_turns           => '_total',       'Turns of the event loop with something to do.' ],
    [ events               => '_total',       'What happened in these turns.' ],
    [ events_per_turn      => '',             'Events divided by turns.' ],
);

# A ratio of nothing is undef, and has no sample. Codes and causes have no characters that a label would have to escape.
sub metrics {
    my ($stats) = @_;
    my $page = '';
    for my $metric (@METRICS) {
        my ($figure, $suffix, $help, $label) = @$metric;
        my ($name, $value) = ("websocket_$figure$suffix", $stats->{$figure});
        my $type   = $suffix =~ /_total\z/ ? 'counter' : 'gauge';
        my %sample = $label ? (map { (qq({$label="$_"}) => $value->{$_}) } keys %$value) : ('' => $value);
        $page .= "# HELP $name $help\n# TYPE $name $type\n";
        $page .= "$name$_ $sample{$_}\n" for grep { defined $sample{$_} } sort keys %sample;
    }
    return $page;
}

my $ctx  = EV::Websockets::Context->new;
my $port = $ctx->listen(
    host             => '127.0.0.1',
    limits           => 'public',
    name             => 'chat',
    max_message_size => 64 * 1024,
    on_handshake     => sub { my ($headers) = @_; return $headers->{Path} ne '/private' },
    on_message       => sub { my ($c, $text) = @_; $c->send("you said: $text") },
    on_request       => sub {
        my ($request) = @_;
        return [ 404, [], [] ] if $request->{path} ne '/metrics';
        return [ 200, [ 'Content-Type' => 'text/plain; version=0.0.4; charset=utf-8' ], [ metrics($ctx->stats) ] ];
    },
);

# Four clients, which are not counted: two say something, one of which leaves, the third only listens, and the fourth is
# turned away.
my $clients = EV::Websockets::Context->new;
my $busy    = 4;
for my $client (1 .. 4) {
    $clients->connect(
        url        => "ws://127.0.0.1:$port/" . ($client < 4 ? '' : 'private'),
        on_connect => sub { my ($c) = @_; $client < 3 ? $c->send("hello from $client") : scrape() },
        on_message => sub {
            my ($c, $text) = @_;
            print "client $client: $text\n" if !$quiet;
            $client == 1 ? $c->close(1000) : scrape();
        },
        on_close => sub { scrape() },
        on_error => sub { scrape() },
    );
}

# A program of its own: a process that waits for itself would wait for ever.
sub scrape {
    return if --$busy;
    pipe my $answer, my $out or die "pipe: $!\n";
    my $pid = fork;
    die "fork: $!\n" if !defined $pid;
    if (!$pid) {
        close $answer;
        my $response = HTTP::Tiny->new(timeout => 10)->get("http://127.0.0.1:$port/metrics");
        syswrite $out, $response->{success} ? $response->{content} : "failed: $response->{status} $response->{reason}\n";
        require POSIX;
        POSIX::_exit(0);
    }
    close $out;
    my $page = '';
    my $reader;
    $reader = EV::io $answer, EV::READ, sub {
        return if sysread $answer, $page, 65536, length $page;
        undef $reader;
        waitpid $pid, 0;
        print $page;
        EV::break;
    };
    return;
}

EV::run;
