#!/usr/bin/perl
# What a subscription takes: 10 topics on each of 10,000 connections. CPU time of subscribe and unsubscribe, and the memory
# that is in use for one (mallinfo2).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Getopt::Long;
use Heap;
use Measure qw(all_descriptors clocks line on_cpu whole);

my ($connections, $topics) = (10_000, 10);
GetOptions('connections=s' => \$connections, 'topics=s' => \$topics) && !@ARGV
    or die "usage: topics.pl [--connections N] [--topics N]\n";
$connections = whole('connections', $connections, 1);
$topics      = whole('topics',      $topics,      1);
all_descriptors();

my @conns;
my $context = EV::Websockets::Context->new(proxy => '');
my $port    = $context->listen(
    port       => 0,
    host       => '127.0.0.1',
    on_connect => sub { push @conns, $_[0]; EV::break if @conns > $connections },
    on_message => sub { $_[0]->send_binary($_[1]) },
);
my $load = fork;
defined $load or die "fork: $!\n";
if (!$load) {
    open STDOUT, '>', '/dev/null';
    exec on_cpu(1, $Measure::LOAD, 'idle', '--connections', $connections, '--port', $port, '--hold', 60);
    die "cannot run $Measure::LOAD: $!\n";
}
EV::run;
EV::run(EV::RUN_NOWAIT) for 1 .. 100;

my @names = map { "room:$_" } 1 .. $topics;
# The first time brings what is there for all of them.
$_->subscribe('warm'), $_->unsubscribe('warm') for @conns[ 0 .. 99 ];
my ($subscribed, $unsubscribed, $heap) = (0, 0, -Heap::used());
for my $name (@names) {
    my ($before) = (clocks())[1];
    $_->subscribe($name) for @conns;
    $subscribed += (clocks())[1] - $before;
}
$heap += Heap::used();
for my $name (@names) {
    my ($before) = (clocks())[1];
    $_->unsubscribe($name) for @conns;
    $unsubscribed += (clocks())[1] - $before;
}
kill TERM => $load;
waitpid $load, 0;
my $count = @conns * @names;
line('topics', subscriptions => $count, bytes => $heap / $count, subscribe_ns => $subscribed / $count * 1e9,
    unsubscribe_ns => $unsubscribed / $count * 1e9);
