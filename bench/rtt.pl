#!/usr/bin/perl
# The round trip of a message of 64 octets, client and server in this process, one message at a time.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Getopt::Long;
use Measure qw(line whole);
use EchoPair;

my ($count, $warm_up, $tls) = (100_000, undef, 0);
GetOptions('count=s' => \$count, 'warm-up=s' => \$warm_up, tls => \$tls) && !@ARGV
    or die "usage: rtt.pl [--count ECHOES] [--warm-up ECHOES] [--tls]\n";
$count   = whole('count', $count, 1);
$warm_up = whole('warm-up', defined $warm_up ? $warm_up : 5000, 0);

my $pair = EchoPair->new(64, $tls);
$pair->run(1, $warm_up) if $warm_up;
my ($wall, $cpu) = $pair->run(1, $count);
line('rtt', echoes => $count, wall_ns => $wall / $count * 1e9, cpu_ns => $cpu / $count * 1e9);
