use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use POSIX ();
use Pair;
use Run;
use Test::More;

# A program closes all descriptors, as some do on their way into the background.
# accept then failed for ever, in a loop of its own that nothing ended.

my %before = map { $_ => 1 } descriptors();
my $doomed = EV::Websockets::Context->new;
$doomed->listen(port => 0);
my @new = grep { !$before{$_} } descriptors();
is(scalar @new, 1, 'a listener has one descriptor');
POSIX::close($_) for @new;

# Something else takes its number, so that nobody closes what is not theirs in the end.
open my $null, '<', '/dev/null' or die "cannot open /dev/null: $!";

my $over = 0;
my $cpu = sub { my @times = times; $times[0] + $times[1] };
my $used = $cpu->();
EV::now_update();
my $timer = EV::timer(1, 0, sub { $over = 1 });
run_until(sub { $over }, 'the loop goes on');
cmp_ok($cpu->() - $used, '<', 0.5, 'without spinning');

my $pair = Pair->open(name => 'other contexts work');
$pair->shut;
finish();

sub descriptors {
    return grep {
        my $copy = POSIX::dup($_);
        POSIX::close($copy) if defined $copy;
        defined $copy;
    } 0 .. 255;
}
