package Leaks;

# leaks_nothing($what, $code): no Perl value is left behind by it. The whole test
# file is skipped where Test::LeakTrace is not installed.

use strict;
use warnings;
use EV;
use Run;
use Test::More;
use Exporter 'import';

our @EXPORT = qw(leaks_nothing);

BEGIN {
    plan(skip_all => 'Test::LeakTrace is not installed') if !eval { require Test::LeakTrace; 1 };
    Test::LeakTrace->import(qw(no_leaks_ok));
}

# The first run fills caches (method lookup, pads of the helpers), as first runs do. EV has one as well: the two arguments of
# a watcher's callback, for the next one. On a busy machine the ticks of wait_until were the first that filled it, at any time.
sub leaks_nothing {
    my ($what, $code) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    # The warnings that t/lib/Run.pm keeps are no leak.
    my $run = sub { $code->(); warned() };
    $run->() for 1 .. 2;
    my $filled;
    my $timer = EV::timer(0, 0, sub { $filled = 1 });
    EV::run(EV::RUN_ONCE()) until $filled;
    undef $timer;
    no_leaks_ok(sub { $run->() }, $what);
    return;
}

1;
