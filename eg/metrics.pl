#!/usr/bin/env perl
# What a monitoring system asks a server: its statistics at /metrics, in the text
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

# name => [type, help, what it is of the statistics]; a hash has a label for each key.
my @METRICS = (
    [ messages_received_total => 'counter', 'Messages from clients.',                    sub { $_->{messages_received} } ],
    [ messages_sent_total     => 'counter', 'Messages to clients.',                      sub { $_->{messages_sent} } ],
    [ received_bytes_total    => 'counter', 'Frames from clients, in bytes.',            sub { $_->{wire_received} } ],
    [ sent_bytes_total        => 'counter', 'Frames to clients, in bytes.',              sub { $_->{wire_sent} } ],
    [ connections             => 'gauge',   'Open connections.',                         sub { $_->{open} } ],
    [ connections_total       => 'counter', 'Connections that were opened.',             sub { $_->{opened} } ],
    [ handshakes              => 'gauge',   'Clients on their way, this one included.',  sub { $_->{handshakes} } ],
    [ send_queue_bytes        => 'gauge',   'Payload that waits to be sent.',            sub { $_->{send_queue} } ],
    [ closed_total            => 'counter', 'Connections that were closed, by code.',    sub { $_->{closed} }, 'code' ],
    [ rejected_total          => 'counter', 'Clients that were turned away, by cause.',  sub { $_->{rejected} }, 'cause' ],
);

# A label's value may contain anything.
sub escaped {
    my ($text) = @_;
    $text =~ s/([\\"])/\\$1/g;
    $text =~ s/\n/\\n/g;
    return $text;
}

sub metrics {
    my (%statistics) = @_;    # name of a listener => its statistics
    my $page = '';
    for my $metric (@METRICS) {
        my ($name, $type, $help, $value, $label) = @$metric;
        $page .= "# HELP websocket_$name $help\n# TYPE websocket_$name $type\n";
        for my $listener (sort keys %statistics) {
            local $_ = $statistics{$listener};
            my $of = $value->();
            my $where = sprintf 'listener="%s"', escaped($listener);
            if (!$label) {
                $page .= "websocket_$name\{$where} $of\n";
                next;
            }
            $page .= sprintf qq(websocket_%s{%s,%s="%s"} %s\n), $name, $where, $label, escaped($_), $of->{$_} for sort keys %$of;
        }
    }
    return $page;
}

my $ctx = EV::Websockets::Context->new;
my $port;
$port = $ctx->listen(
    host             => '127.0.0.1',
    limits           => 'public',
    name             => 'chat',
    max_message_size => 64 * 1024,
    on_handshake     => sub { my ($headers) = @_; return $headers->{Path} ne '/private' },
    on_message       => sub { my ($c, $text) = @_; $c->send("you said: $text") },
    on_request       => sub {
        my ($request) = @_;
        return [ 404, [], [] ] if $request->{path} ne '/metrics';
        my $page = metrics(chat => $ctx->stats($port));
        return [ 200, [ 'Content-Type' => 'text/plain; version=0.0.4; charset=utf-8' ], [$page] ];
    },
);

# Four clients: two say something, one of which leaves, the third only listens, and the fourth is turned away.
my $busy = 4;
for my $client (1 .. 4) {
    $ctx->connect(
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
