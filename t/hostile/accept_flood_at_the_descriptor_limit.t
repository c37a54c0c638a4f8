# More connections than there are descriptors. A classic of loops whose accept fails, and
# which are told at once that there is something to accept.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Children;
use EV;
use Hostile;
use RawPeer;
use Run;
use ServerProgram;
use Test::More;

my $prlimit = ServerProgram::find('prlimit');
plan(skip_all => 'the program prlimit is not installed') if !$prlimit;
my $victim = victim();
my $pid = $victim->{pid};
system $prlimit, "--pid=$pid", '--nofile=48:48';
is($?, 0, 'the victim may have 48 descriptors');
attack($victim, '200 connections', times => 200, limit => 256, cpu => 2, sub {
    my ($times) = @_;
    my @peers = map { $victim->peer->upgrade } 1 .. $times;
    $victim->meanwhile for 1 .. 10;
    settle() for 1 .. 4;
    cmp_ok(scalar(grep { defined $_->head } @peers), '<', 48, 'most of them wait');
    # Those that go make room for the others, all of which come to their turn.
    run_until(sub { $_->hang_up for grep { defined $_->head && !$_->eof } @peers; @peers == grep { defined $_->head } @peers }, 'all have their turn');
});

finish();
