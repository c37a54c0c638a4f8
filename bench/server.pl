#!/usr/bin/perl
# An echo server for a load client: prints "port=N pid=N", keeps every $conn until it is closed, and ends when its
# standard input does. --idle-timeout and --ping-interval are those of listen(); its other arguments, if there are any, are
# the option deflate: server.pl threshold 0
use strict;
use warnings;
use EV;
use EV::Websockets;
use Getopt::Long;

my ($idle_timeout, $ping_interval);
GetOptions('idle-timeout=f' => \$idle_timeout, 'ping-interval=f' => \$ping_interval)
    or die "usage: server.pl [--idle-timeout SECONDS] [--ping-interval SECONDS] [NAME VALUE]...\n";

my %conns;
my $context = EV::Websockets::Context->new(proxy => '');
my $port = $context->listen(
    port       => 0,
    deflate    => @ARGV ? {@ARGV} : 0,
    (defined $idle_timeout  ? (idle_timeout  => $idle_timeout)  : ()),
    (defined $ping_interval ? (ping_interval => $ping_interval) : ()),
    on_connect => sub { $conns{ 0 + $_[0] } = $_[0] },
    on_message => sub { $_[0]->send_binary($_[1]) },
    on_close   => sub { delete $conns{ 0 + $_[0] } },
);
my $end = EV::io(\*STDIN, EV::READ, sub { EV::break });
$| = 1;
print "port=$port pid=$$\n";
EV::run;
