package Run;

# Runs the loop until something holds, and never longer than a generous
# limit: a test that waits in vain fails, it does not hang. Also collects the
# warnings of the whole file, so that one nobody expected is a failure.

use strict;
use warnings;
use EV;
use POSIX ();
use Test::More;
use Exporter 'import';

our @EXPORT = qw(run_until wait_until run_unticked run_through settle croaks_with croaks_like warned finish rss_kib is_slowed);

# Whether this process runs under valgrind or AddressSanitizer, with which everything takes many times as long, and memory
# says nothing: valgrind keeps what was freed.
sub is_slowed { return ($ENV{LD_PRELOAD} || '') =~ /vgpreload|asan/ }

my $times      = is_slowed() ? 10 : 1;
my $patience   = 30 * $times;     # seconds one wait may take
my $file_limit = 170 * $times;    # seconds one test file may take
my @warnings;

$SIG{__WARN__} = sub { push @warnings, $_[0] };
$SIG{PIPE} = 'IGNORE';

# A handler that perl runs at once, not at its next safe point: the process
# may be stuck inside compiled code.
sub _arm_watchdog {
    my $bark = sub {
        syswrite STDERR, "# $0: still running after $file_limit s, giving up\n";
        POSIX::_exit(124);
    };
    POSIX::sigaction(POSIX::SIGALRM(), POSIX::SigAction->new($bark));
    alarm $file_limit;
}
_arm_watchdog();

# run_until($condition, $name, $loop): a test of its own.
sub run_until {
    my ($condition, $name, $loop) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return ok(wait_until($condition, $loop), $name);
}

# The same without a test: whether the condition came to hold.
sub wait_until {
    my ($condition, $loop) = @_;
    my $late = 0;
    EV::now_update();
    # The ticks are there because a callback may run just before the loop goes
    # to sleep, and what it changed has to be looked at.
    my $deadline = EV::time() + $patience;
    my $tick = sub { $late = 1 if EV::time() > $deadline };
    $loop->now_update if $loop;
    my $timer = $loop ? $loop->timer(0.02, 0.02, $tick) : EV::timer(0.02, 0.02, $tick);
    until ($condition->() or $late) {
        $loop ? $loop->run(EV::RUN_ONCE()) : EV::run(EV::RUN_ONCE());
    }
    # What follows a wait in vain will most likely wait in vain as well.
    $patience = 3 if $late;
    return !$late;
}

# The same as run_until, but nothing wakes the loop except what is tested: with ticks, a deadline
# that nobody has armed is kept all the same.
sub run_unticked {
    my ($condition, $name, $loop) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $late = 0;
    EV::now_update();
    $loop->now_update if $loop;
    my $give_up = sub { $late = 1 };
    my $timer = $loop ? $loop->timer($patience, 0, $give_up) : EV::timer($patience, 0, $give_up);
    until ($condition->() or $late) {
        $loop ? $loop->run(EV::RUN_ONCE()) : EV::run(EV::RUN_ONCE());
    }
    $patience = 3 if $late;
    return ok(!$late, $name);
}

# The same in one EV::run, which a server's program never leaves: what is let go of only when that returns is still there.
sub run_through {
    my ($condition, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $holds;
    my $deadline = EV::time() + $patience;
    EV::now_update();
    my $timer = EV::timer(0, 0.02, sub { EV::break() if ($holds = $condition->()) || EV::time() > $deadline });
    EV::run();
    $patience = 3 if !$holds;
    return ok($holds, $name);
}

# Lets the loop go on for a moment, for tests that something does not happen.
sub settle {
    my $over = 0;
    EV::now_update();
    my $timer = EV::timer(0.15, 0, sub { $over = 1 });
    EV::run(EV::RUN_ONCE()) until $over;
}

# croaks_with { CODE } $text, $name: the exact text, and the caller's place.
sub croaks_with (&$$) {
    my ($code, $text, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return _croaks($code, qr/\A\Q$text\E at \Q$0\E line \d+\.?\n\z/, $name);
}

# croaks_like { CODE } $regex, $name
sub croaks_like (&$$) {
    my ($code, $regex, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return _croaks($code, $regex, $name);
}

sub _croaks {
    my ($code, $regex, $name) = @_;
    my $lived = eval { $code->(); 1 };
    my $error = $@;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return ok(0, "$name: did not croak") if $lived;
    return like($error, $regex, $name);
}

# The warnings since the last call.
sub warned {
    my @seen = @warnings;
    @warnings = ();
    return @seen;
}

sub finish {
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is(join('', warned()), '', 'no warning that was not asked for');
    alarm 0;
    done_testing();
}

# Resident memory of this process in KiB, undef where /proc does not tell.
sub rss_kib {
    return undef if is_slowed();
    open my $status, '<', '/proc/self/status' or return undef;
    while (my $line = <$status>) {
        return $1 if $line =~ /^VmRSS:\s+(\d+)/;
    }
    return undef;
}

1;
