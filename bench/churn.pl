#!/usr/bin/perl
# Connections that live for one echo (connect, upgrade, echo, close): the CPU time one of them takes in the server.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Getopt::Long;
use Measure qw(against line our_server whole);

my ($count, $at_once) = (20_000, 128);
GetOptions('count=s' => \$count, 'at-once=s' => \$at_once) && !@ARGV
    or die "usage: churn.pl [--count CONNECTIONS] [--at-once CONNECTIONS]\n";
$count   = whole('count',   $count,   1);
$at_once = whole('at-once', $at_once, 1);

my $got = against([our_server()], 'churn', '--count', $count, '--at-once', $at_once);
line('churn', map { $_ => $got->{$_} } qw(connections at_once wall_ns cpu_ns rss_kib));
