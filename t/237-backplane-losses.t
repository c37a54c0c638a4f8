use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use ServerProgram;
use Test::More;

BEGIN {
    plan skip_all => 'redis-server is not installed' unless ServerProgram::find('redis-server');
}

use Cluster;
use EV;
use Run;

# Processes publish numbered messages to one topic, and a WebSocket client of each writes down what it gets. In the
# middle one process is killed and another one begins; then Redis is killed, and comes back with nothing. Nobody gets
# a message twice, all get them in one order, and where one is missing a loss was announced just there.
#
# EVWS_BACKPLANE_MESSAGES: how many messages; 12,000 unless it says otherwise, which a busy machine can do as well.

my $total = $ENV{EVWS_BACKPLANE_MESSAGES} || 12_000;
my $each  = $total / 4;

# What is wrong with a list of what was received. A process that begins late gets what is published from then on.
sub mistakes {
    my ($got, $begins_late, @publishers) = @_;
    my (%seen, %last, %gaps_at, @mistakes);
    my $gaps = 0;
    for my $line (@$got) {
        if ($line eq 'GAP') {
            $gaps++;
            next;
        }
        my ($publisher, $number) = split / /, $line;
        push @mistakes, "$line is there twice" if $seen{$line}++;
        my $before = $last{$publisher};
        my $is_next = defined $before ? $number == $before + 1 : $number == 1 || $begins_late;
        push @mistakes, "$line comes after " . ($before || 'nothing') if !$is_next && $gaps == ($gaps_at{$publisher} || 0);
        $last{$publisher} = $number;
        $gaps_at{$publisher} = $gaps;
    }
    for my $publisher (@publishers) {
        next if ($last{$publisher} || 0) == $each || $begins_late && !defined $last{$publisher};
        push @mistakes, "the end of $publisher is missing" if $gaps == ($gaps_at{$publisher} || 0);
    }
    return "@mistakes[0 .. ($#mistakes < 5 ? $#mistakes : 5)]";
}

sub in_both {
    my ($one, $other) = @_;
    my %is_there = map { $_ => 1 } @$other;
    return join "\n", grep { $is_there{$_} && $_ ne 'GAP' } @$one;
}

sub run_cluster {
    my ($title, $client, $history, $kills_redis, @redis_options) = @_;
    my $cluster = Cluster->new(@redis_options) or return ok(0, "$title: redis-server starts");
    my @options = (history => $history, ping_interval => 1, timeout => 20);
    $cluster->start($_, $client, @options) for qw(a b c);
    ok($cluster->await($_, 'up'), "$title: $_ is up") or return for qw(a b c);
    for my $name (qw(a b c)) {
        $cluster->have($name, 'use', 'numbers');
        ok($cluster->await($name, 'used'), "$title: $name has subscribed") or return;
    }
    $cluster->have('a', 'publish', 'a', 'numbers', 1, $each);
    $cluster->have('b', 'publish', 'b', 'numbers', 1, $each);
    $cluster->have('c', 'publish', 'c', 'numbers', 1, 10 * $total);
    wait_until(sub { $cluster->count('b', 'numbers') > $total / 10 });
    $cluster->kill('c');
    $cluster->start('d', $client, @options);
    ok($cluster->await('d', 'up'), "$title: another process is up") or return;
    $cluster->have('d', 'use', 'numbers');
    ok($cluster->await('d', 'used'), "$title: and has subscribed") or return;
    $cluster->have('d', 'publish', 'd', 'numbers', 1, $each);
    if ($kills_redis) {
        wait_until(sub { $cluster->count('d', 'numbers') > $total / 20 });
        $cluster->kill_redis;
        ok($cluster->await($_, 'down'), "$title: $_ is told that Redis is gone") for qw(a b d);
        ok($cluster->start_redis, "$title: Redis is back");
        ok($cluster->await($_, 'up'), "$title: $_ is told so") for qw(a b d);
    }
    ok($cluster->await($_, 'published'), "$title: $_ has published all") or return for qw(a b d);
    $cluster->wait_for_quiet('numbers', qw(a b d));
    my %got = map { $_ => $cluster->got($_, 'numbers') } qw(a b d);
    is(mistakes($got{$_}, $_ eq 'd', qw(a b d)), '', "$title: $_ got each once, and every loss was announced") for qw(a b d);
    cmp_ok(scalar @{ $got{a} }, '>', $total / 2, "$title: most came");
    ok(in_both(@got{qw(a b)}) eq in_both(@got{qw(b a)}), "$title: in one order (a and b)");
    ok(in_both(@got{qw(a d)}) eq in_both(@got{qw(d a)}), "$title: in one order (a and d)");
    if (!$kills_redis) {
        ok(!grep({ $_ eq 'GAP' } map { @$_ } values %got), "$title: nothing was lost");
        is(scalar(grep { /^[abd]/ } @{ $got{a} }), 3 * $each, "$title: all numbers are there");
    }
    return;
}

for my $client (Cluster::clients()) {
    run_cluster("$client, pub/sub", $client, 0, 1);
    run_cluster("$client, streams", $client, $total, 1);
}
run_cluster('only a process is killed', (Cluster::clients())[-1], 1000, 0);

finish();
