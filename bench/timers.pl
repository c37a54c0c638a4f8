#!/usr/bin/perl
# What a timer costs that each message moves: the CPU time of an echo in a server with many connections, all of which have
# idle_timeout, beside the same without any timer. The messages go round the connections, so that each is idle
# most of the time.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Getopt::Long;
use Measure qw(against line median our_server whole);

my ($connections, $count, $rounds) = (10_000, 200_000, 3);
GetOptions('connections=s' => \$connections, 'count=s' => \$count, 'rounds=s' => \$rounds) && !@ARGV
    or die "usage: timers.pl [--connections N] [--count ECHOES] [--rounds N]\n";
$connections = whole('connections', $connections, 1);
$count       = whole('count',       $count,       1);
$rounds      = whole('rounds',      $rounds,      1);

# In turn, so that what disturbs the machine disturbs both.
my %options = (without => [ '--idle-timeout', 0 ], with => [ '--idle-timeout', 60 ]);
my %cpu;
for my $round (1 .. $rounds) {
    for my $mode (sort keys %options) {
        my @server = (our_server(), '--ping-interval', 0, @{ $options{$mode} });
        my $got = against(\@server, 'echo', '--connections', $connections, '--count', $count);
        push @{ $cpu{$mode} }, $got->{cpu_ns};
    }
}
my ($without, $with) = map { median(@{ $cpu{$_} }) } qw(without with);
line('timers', connections => $connections, without_ns => $without, with_ns => $with, ratio => $with / $without);
