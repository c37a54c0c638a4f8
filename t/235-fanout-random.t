use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Crowd;
use Compress::Raw::Zlib qw(Z_OK Z_BUF_ERROR);
use EV;
use EV::Websockets;
use Frame;
use Run;
use Test::More;

# Publications, sends, fragments, broadcasts, subscriptions and closes in any order, for peers that read fast, slowly or in
# fits, plain and compressed, against a model of what each of them is to get: everything in the order of the calls, and only
# what may be dropped is missing. EVWS_SEEDS runs more of it: "17-400".

my ($from, $to) = ($ENV{EVWS_SEEDS} || '1-4') =~ /\A(\d+)(?:-(\d+))?\z/ or die 'EVWS_SEEDS';
my $PEERS  = 6;
my $TOPICS = 5;
my @SLOW   = ('close', 'drop_new', 'drop_old', 'latest');

sub pick { return $_[ rand @_ ] }

# A message with its number. Some are short, some are cut by the kernel.
sub body {
    my ($number) = @_;
    my $size = rand() < 0.7 ? int rand 300 : rand() < 0.9 ? int rand 5000 : int rand 120_000;
    return "$number:" . join('', map { chr 97 + ($number * 7 + $_ * $_) % 26 } 1 .. 40) x ($size / 40);
}

for my $seed ($from .. $to || $from) {
    srand $seed;
    my $limit  = pick(0, 0, 20_000, 300_000);
    my $takes_over = pick(0, 1);
    my $ctx    = EV::Websockets::Context->new;
    my $crowd  = Crowd->new(peers => 0, ctx => $ctx, listen => {
        ($limit ? (max_send_queue => $limit, send_queue_policy => 'drop') : ()),
        ($seed % 3 ? (on_drain => sub { }) : ()), on_drop => sub { },
        deflate => { threshold => 64, server_no_context_takeover => !$takes_over },
    });
    my @peer = map { { expected => [], topics => {} } } 1 .. $PEERS;
    $crowd->join_in($_ % 2 ? (headers => { 'Sec-WebSocket-Extensions' => 'permessage-deflate' }) : ()) for 1 .. $PEERS;
    my ($number, %loses, @body) = (0);
    my $expect = sub {
        my ($who, $what, $may_drop) = @_;
        my $peer = $peer[$who];
        return if $peer->{closed};
        # What comes into a fragmented message follows it.
        if ($peer->{fragments}) { push @{ $peer->{held} }, [ $what, $may_drop ] }
        else                    { push @{ $peer->{expected} }, [ $what, $may_drop ] }
        return;
    };
    my $open = sub { return grep { !$peer[$_]{closed} } 0 .. $PEERS - 1 };
    my $fail = 0;
    for my $step (1 .. 1500) {
        my ($what, $topic) = (rand, 't' . int rand $TOPICS);
        my @open = $open->() or last;
        my $who  = pick(@open);
        my ($peer, $conn) = ($peer[$who], $crowd->conn($who));
        if ($what < 0.15) {
            my $on_slow = $limit ? pick(@SLOW[ 1 .. 3 ]) : pick(@SLOW);
            $conn->subscribe($topic, on_slow => $on_slow);
            $peer->{topics}{$topic} = 1;
        }
        elsif ($what < 0.2) {
            my $was = $conn->unsubscribe($topic);
            $was == !!delete $peer->{topics}{$topic} or $fail++;
        }
        elsif ($what < 0.55) {
            my $body = body(++$number);
            $body[$number] = $body;
            my $except = rand() < 0.2 ? $who : -1;
            my @for = grep { $peer[$_]{topics}{$topic} && $_ != $except } @open;
            my $data = rand() < 0.3 ? $ctx->prepare($body) : $body;
            my $count = $ctx->publish($topic, $data, $except < 0 ? () : (except => $conn), key => int rand 3);
            $count == @for or $fail++;
            $expect->($_, $number, $limit) for @for;
        }
        elsif ($what < 0.65) {
            my $body = body(++$number);
            $body[$number] = $body;
            my @to = grep { rand() < 0.5 } @open;
            $ctx->broadcast($body, [ map { $crowd->conn($_) } @to, $to[0] // () ]);
            $expect->($_, $number, $limit) for @to;
        }
        elsif ($what < 0.8) {
            next if $peer->{fragments};
            my $body = body(++$number);
            $body[$number] = $body;
            my $prepared = rand() < 0.3;
            $conn->send($prepared ? $ctx->prepare($body) : $body) || $limit or $fail++;
            $expect->($who, $number, $limit);
        }
        elsif ($what < 0.86) {
            if (my $begun = $peer->{fragments}) {
                my $last = rand() < 0.7;
                my $part = 'part' x int rand 50;
                # A message whose first part was dropped is dropped to its end.
                $conn->send_fragment($part, 0, $last);
                $body[$begun] .= $part;
                next if !$last;
                $peer->{fragments} = 0;
                push @{ $peer->{expected} }, [ $begun, $limit ], splice @{ $peer->{held} || [] };
            }
            elsif (!$limit) {
                $number++;
                $body[$number] = "$number:";
                $conn->send_fragment($body[$number], 0, 0);
                $peer->{fragments} = $number;
            }
        }
        elsif ($what < 0.9) { $conn->send_queue_size }
        elsif ($what < 0.905 && $step > 300) {
            my $how = pick(qw(close peer destroy));
            next if $peer->{fragments};
            if ($how eq 'close') { $conn->close(1000, 'bye'); $peer->{says_bye} = 1 }
            elsif ($how eq 'peer') { $crowd->peer($who)->send_close(1000); wait_until(sub { $conn->state ne 'connected' }) or $fail++ }
            else                   { $conn->abort }
            $peer->{closed} = $how;
        }
        else {
            $_->{stopped} = rand() < 0.5 for @peer;
            $peer[$_]{stopped} ? $crowd->peer($_)->stop_reading : $crowd->peer($_)->start_reading for 0 .. $PEERS - 1;
            run_once();
        }
    }
    for my $who ($open->()) {
        my $peer = $peer[$who];
        if (my $begun = $peer->{fragments}) {
            $crowd->conn($who)->send_fragment('', 0, 1);
            push @{ $peer->{expected} }, [ $begun, $limit ], splice @{ $peer->{held} || [] };
        }
        $peer->{last} = 1;
        $crowd->conn($who)->close(1000, 'bye');
        $peer->{says_bye} = 1;
    }
    $crowd->peer($_)->start_reading for 0 .. $PEERS - 1;
    for my $who (0 .. $PEERS - 1) {
        my $peer = $peer[$who];
        my $raw  = $crowd->peer($who);
        wait_until(sub { $raw->close_read || $raw->eof }) or $fail++;
        my @problem = compare($peer, [ @{ $raw->frames } ], \@body);
        is("@problem", '', "seed $seed: peer $who" . ($peer->{closed} ? " ($peer->{closed})" : ''));
    }
    is($fail, 0, "seed $seed: every call returns what it should");
}

sub run_once { EV::run(EV::RUN_NOWAIT); return }

sub inflated {
    my ($stream, $message) = @_;
    my ($text, $in) = ('', "$message\0\0\xFF\xFF");
    my $status = $stream->inflate($in, $text);
    return $status == Z_OK || $status == Z_BUF_ERROR ? $text : "zlib: $status";
}

# What a peer has got, as far as it is not what the model says.
sub compare {
    my ($peer, $frames, $body) = @_;
    my ($inflate) = Compress::Raw::Zlib::Inflate->new(-WindowBits => -15, -AppendOutput => 1);
    my ($message, $compressed, @got, $closed);
    for my $frame (@$frames) {
        if ($frame->{opcode} == CLOSE) { $closed = 1; next }
        return "a frame behind the Close" if $closed;
        next if $frame->{opcode} >= 8;
        if ($frame->{opcode}) { return 'a message within another' if defined $message; $message = ''; $compressed = $frame->{rsv} }
        return 'a fragment of nothing' if !defined $message;
        $message .= $frame->{payload};
        next if !$frame->{fin};
        push @got, $compressed ? inflated($inflate, $message) : $message;
        undef $message;
    }
    my $at = 0;
    my @expected = @{ $peer->{expected} };
    for my $text (@got) {
        my ($number) = $text =~ /\A(\d+):/ or return 'not a message';
        return "message $number is damaged: " . length($text) . ' octets, not ' . length $body->[$number] if $text ne $body->[$number];
        $at++ while $at < @expected && $expected[$at][0] != $number && $expected[$at][1];
        return "message $number is out of order" if $at >= @expected || $expected[$at][0] != $number;
        $at++;
    }
    return 'no Close' if $peer->{says_bye} && !$closed;
    return () if ($peer->{closed} || '') eq 'destroy';
    my ($missing) = grep { !$_->[1] } @expected[ $at .. $#expected ];
    return $missing ? "message $missing->[0] is missing" : ();
}

finish();
