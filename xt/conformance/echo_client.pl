#!/usr/bin/env perl
# The client under test of script/conformance.
#
#     echo_client.pl URL [CONNECTIONS [OPTION VALUE ...]]
#
# Asks the fuzzing server at URL how many cases it has, connects for each of
# them and sends every message back as it came, a few connections at a time, and
# in the end tells the server to write its report. The options are ones of
# compression.
use strict;
use warnings;
use EV;
use EV::Websockets;

my ($base, $concurrency, %deflate) = @ARGV;
die "usage: $0 ws://HOST:PORT [CONNECTIONS [OPTION VALUE ...]]\n" if !defined $base;
$concurrency ||= 1;

my $agent   = 'EV::Websockets';
my $context = EV::Websockets::Context->new;
my $failure;

# One connection from beginning to end. An error on an open connection is
# what many cases are about: the server judges it. One before that is ours.
sub converse {
    my ($path, $on_message, $on_end) = @_;
    my $is_open = 0;
    $context->connect(
        url              => "$base/$path",
        max_message_size => 0,
        deflate          => { threshold => 0, %deflate },
        connect_timeout  => 60,
        on_connect       => sub { $is_open = 1 },
        on_message       => $on_message,
        on_error         => sub {
            my ($connection, $text) = @_;
            return if $is_open;
            $failure = "$path: $text";
            EV::break;
        },
        on_close => $on_end,
    );
    return;
}

sub echo {
    my ($connection, $bytes, $is_binary) = @_;
    return $is_binary ? $connection->send_binary($bytes) : $connection->send($bytes);
}

my ($count, $next, $running) = (0, 1, 0);

sub start_case {
    if ($next > $count) {
        finish() if !$running;
        return;
    }
    my $case = $next++;
    $running++;
    converse("runCase?case=$case&agent=$agent", \&echo, sub { $running--; start_case() });
    return;
}

sub finish {
    converse("updateReports?agent=$agent", sub { }, sub { EV::break });
    return;
}

converse('getCaseCount', sub { $count = $_[1] }, sub {
    if ($count !~ /\A[1-9][0-9]*\z/) {
        $failure = "getCaseCount: '$count' is no number of cases";
        return EV::break;
    }
    start_case() for 1 .. ($concurrency < $count ? $concurrency : $count);
});

EV::run;
die "$failure\n" if defined $failure;
