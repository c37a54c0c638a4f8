#!/usr/bin/perl
# One message to 1000 subscribers: CPU time of the server for each delivery, bare C beside publish and beside a loop over
# send, in turn. --messages N: so many in one turn of the loop; --only floor,publish,loop; --topics N: each connection
# subscribes to N topics. The side deflate is publish to subscribers that have agreed on compression.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Getopt::Long;
use Measure qw(against line median whole);

my ($connections, $messages, $rounds, $turns, $size, $topics, $only) = (1000, 1, 300, 5, 128, 1, 'floor,publish,loop');
GetOptions(
    'connections=s' => \$connections, 'messages=s' => \$messages, 'rounds=s' => \$rounds, 'turns=s' => \$turns,
    'size=s' => \$size, 'topics=s' => \$topics, 'only=s' => \$only,
) && !@ARGV
    or die "usage: fanout.pl [--connections N] [--messages N] [--rounds N] [--turns N] [--size BYTES] [--topics N] [--only SIDES]\n";
$_->[1] = whole(@$_, 1)
    for [ connections => $connections ], [ messages => $messages ], [ rounds => $rounds ], [ turns => $turns ], [ size => $size ],
    [ topics => $topics ];

my @perl   = ($^X, (map { "-I$_" } grep { !ref } @INC), "$Measure::BENCH/fanout_server.pl", '--topics', $topics);
my %server = (floor => [ $Measure::FLOOR, 'fanout' ], publish => [@perl], loop => [ @perl, '--loop' ], deflate => [ @perl, '--deflate' ]);
my @sides  = split /,/, $only;
my %taken;
for my $turn (1 .. $turns) {
    for my $side (@sides) {
        my $got = against($server{$side} || die("--only: '$side' is no side\n"), 'fanout', '--connections', $connections,
            '--messages', $messages, '--rounds', $rounds, '--size', $size, $side eq 'deflate' ? ('--deflate', 'true') : ());
        push @{ $taken{$side} }, $got->{cpu_ns};
    }
}
my %median = map { $_ => median(@{ $taken{$_} }) } @sides;
line('fanout', connections => $connections, messages => $messages, map({ ("${_}_ns" => $median{$_}) } @sides),
    $median{floor} && $median{publish} ? (ratio => $median{publish} / $median{floor}) : ());
