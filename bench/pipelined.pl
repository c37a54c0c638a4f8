#!/usr/bin/perl
# Echoes of 64 octets with 1000 messages in flight, client and server in this process, against one in flight.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Getopt::Long;
use Measure qw(line whole);
use EchoPair;

my ($in_flight, $count, $single, $tls) = (1000, 1_000_000, 50_000, 0);
GetOptions('in-flight=s' => \$in_flight, 'count=s' => \$count, 'single=s' => \$single, tls => \$tls) && !@ARGV
    or die "usage: pipelined.pl [--in-flight MESSAGES] [--count ECHOES] [--single ECHOES with one in flight, or 0] [--tls]\n";
$in_flight = whole('in-flight', $in_flight, 1);
$count     = whole('count',     $count,     1);
$single    = whole('single',    $single,    0);

my $pair = EchoPair->new(64, $tls);
my @one;
if ($single) {
    $pair->run(1, 5000);
    my (undef, $cpu) = $pair->run(1, $single);
    @one = (one_in_flight_s => $single / $cpu);
}
my ($wall, $cpu) = $pair->run($in_flight, $count);
my @ratio = @one ? (ratio => $count / $cpu / $one[1]) : ();
line('pipelined', in_flight => $in_flight, echoes => $count, wall_s => $count / $wall, cpu_s => $count / $cpu, @one, @ratio);
