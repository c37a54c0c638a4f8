use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV::Websockets;
use File::Temp ();
use Program;
use Test::More;

# eg/metrics.pl serves the text format of Prometheus, version 0.0.4: read here as
# strictly as its rules are, and by promtool where that is installed.

use constant SECONDS => 60;

my $example = "$FindBin::Bin/../eg/metrics.pl";
my $NAME    = qr/[a-zA-Z_:][a-zA-Z0-9_:]*/;
my $LABEL   = qr/[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*"/;

# The types and the samples of a page, every line of which has its form and its place.
sub read_page {
    my ($what, $page) = @_;
    my (%type, %help, %sample, @wrong);
    my $current = '';
    like $page, qr/\n\z/, "$what: the last line ends, as every line must";
    for my $line (split /\n/, $page) {
        if ($line =~ /\A# HELP ($NAME) \S.*\z/) {
            push @wrong, "$line: twice, or after its samples" if $help{$1}++ || $type{$1};
            $current = $1;
        }
        elsif ($line =~ /\A# TYPE ($NAME) (counter|gauge)\z/) {
            push @wrong, "$line: not behind its HELP" if $1 ne $current || $type{$1};
            my ($name, $type) = ($1, $2);
            my $is_total = $name =~ /_total\z/ ? 'counter' : 'gauge';
            push @wrong, "$line: the name of a counter ends with _total, and that of a gauge does not" if $type ne $is_total;
            $type{$name} = $type;
        }
        elsif ($line =~ /\A($NAME)((?:\{$LABEL(?:,$LABEL)*\})?) ([0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)\z/) {
            push @wrong, "$line: among the lines of $current" if $1 ne $current || !$type{$1};
            push @wrong, "$line: twice" if exists $sample{"$1$2"};
            $sample{"$1$2"} = $3;
        }
        else {
            push @wrong, "$line: no line of the format";
        }
    }
    is_deeply \@wrong, [], "$what: every line has its form and its place";
    return (\%type, \%sample);
}

sub without_samples {
    my ($type, $sample) = @_;
    return [ grep { my $name = $_; !grep { /\A\Q$name\E(?:\{|\z)/ } keys %$sample } sort keys %$type ];
}

my $page = ends_well('the example', SECONDS, $example, '--print');
my ($type, $sample) = read_page('a server', $page);
is_deeply without_samples($type, $sample), [], 'every metric has a sample';

# What a context counts is served, under its own name with a unit and _total behind it.
my $stats = EV::Websockets::Context->new->stats;
my %metric;
for my $name (keys %$type) {
    my ($figure) = $name =~ /\Awebsocket_(.+?)(?:_bytes|_ratio)?(?:_total)?\z/;
    $metric{$figure} = $name;
}
is_deeply [ sort keys %metric ], [ sort keys %$stats ], 'all that stats has, and nothing else';
is_deeply [ grep { $type->{ $metric{$_} } eq 'gauge' } sort keys %metric ],
    [ qw(compression_received compression_sent events_per_turn handshakes messages_droppable open send_queue send_queue_peak) ],
    'what does not only grow is a gauge, and all else a counter';
is_deeply [ grep { $metric{$_} =~ /_bytes/ } sort keys %metric ],
    [ qw(payload_received payload_sent send_queue send_queue_peak wire_received wire_sent) ], 'what is bytes says so';

my %expected = (
    'websocket_messages_received_total'         => 2,
    'websocket_messages_sent_total'             => 2,
    'websocket_payload_received_bytes_total'    => 24,
    'websocket_payload_sent_bytes_total'        => 44,
    'websocket_opened_total'                    => 3,
    'websocket_open'                            => 2,
    'websocket_closed_total{code="1000"}'       => 1,
    'websocket_rejected_total{cause="program"}' => 1,
    'websocket_handshakes'                      => 1,
);
is_deeply +{ map { ($_ => $sample->{$_}) } keys %expected }, \%expected, 'the figures are the server\'s alone';

# Of a context that nothing has come to yet.
my $program = 'use EV; no warnings; *EV::run = sub { }; do shift; print metrics(EV::Websockets::Context->new->stats)';
($type, $sample) = read_page('a new context', ends_well('the page of a new context', SECONDS, '-e', $program, $example));
is_deeply [ sort keys %$type ], [ sort values %metric ], 'it has the same metrics';
is_deeply without_samples($type, $sample),
    [ map { "websocket_$_" } qw(closed_total compression_received_ratio compression_sent_ratio rejected_total) ],
    '... and no sample of ratios of nothing, and of codes and causes that have not occurred';

SKIP: {
    my $file = File::Temp->new;
    print {$file} $page;
    close $file;
    my $said = `promtool check metrics <"$file" 2>&1`;
    skip 'promtool is not installed', 1 if !defined $said || $? == -1 || $? >> 8 == 127;
    is "$?: $said", '0: ', 'promtool finds nothing';
}

done_testing;
