#!/usr/bin/perl
# Idle connections to a server that keeps each $conn: the memory (VmRSS) one of them takes there, before and after a
# message on each.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Getopt::Long;
use Measure qw(against line our_server whole);

my $connections = 10_000;
GetOptions('connections=s' => \$connections) && !@ARGV or die "usage: idle.pl [--connections N]\n";
$connections = whole('connections', $connections, 1);

my $got = against([our_server()], 'idle', '--connections', $connections);
line('idle', map { $_ => $got->{$_} } qw(connections rss_kib bytes bytes_after_message));
