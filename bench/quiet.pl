#!/usr/bin/perl
# Does a context at rest stay at rest? Ten seconds with an empty context, a listener, and an idle connection with both
# ends here; then the number of times this process was woken, and of its threads. The one wake-up that is this
# program's own timer is not counted; under a tracer, which stops the process all the time, the count means nothing.
# With --marks it touches two names that do not exist, quiet-begin and quiet-end, so that a trace of its system calls
# shows where to look.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Getopt::Long;
use Measure qw(line whole);

my ($seconds, $marks) = (10, 0);
GetOptions('seconds=s' => \$seconds, 'marks' => \$marks) && !@ARGV or die "usage: quiet.pl [--seconds N] [--marks]\n";
$seconds = whole('seconds', $seconds, 1);

my $empty   = EV::Websockets::Context->new(proxy => '');
my $context = EV::Websockets::Context->new(proxy => '');
my $port    = $context->listen(port => 0, on_message => sub { $_[0]->send_binary($_[1]) });
my $client  = $context->connect(
    url        => "ws://127.0.0.1:$port/",
    on_connect => sub { $_[0]->send_binary('one message, so that everything has been in use') },
    on_message => sub { EV::break },
    on_error   => sub { warn "$_[1]\n"; EV::break },
);
EV::run;
$client->is_connected or die "no connection\n";

sub tasks { return glob "/proc/$$/task/*" }

# How often the threads of this process have gone to sleep so far.
sub sleeps {
    my $sleeps = 0;
    for my $task (tasks()) {
        open my $status, '<', "$task/status" or next;
        /\Avoluntary_ctxt_switches:\s*(\d+)/ and $sleeps += $1 while <$status>;
    }
    return $sleeps;
}

my $timer  = EV::timer($seconds, 0, sub { EV::break });
my $before = sleeps();
-e "$FindBin::Bin/quiet-begin" if $marks;
EV::run;
-e "$FindBin::Bin/quiet-end" if $marks;
my $sleeps = sleeps() - $before;
my @tasks  = tasks();
line('quiet', seconds => $seconds, wakeups => $sleeps - 1, threads => scalar @tasks);
