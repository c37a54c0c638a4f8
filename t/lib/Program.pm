package Program;

# Runs a Perl program in a process of its own, as a user would from a shell,
# and tells what came of it. One that does not end is killed: a test fails then,
# it does not hang.

use strict;
use warnings;
use Children;
use Cwd qw(abs_path);
use File::Spec;
use File::Temp;
use POSIX ();
use Test::More;
use Exporter 'import';

our @EXPORT = qw(run_program ends_well);

# The library paths of this process, so that the program loads the same build.
sub _include {
    return map { "-I$_" } grep { defined } map { abs_path($_) } grep { !ref($_) && -d $_ } @INC;
}

# run_program($seconds, $file, @arguments): a hash ref of out, err, status (as
# in $?) and timed_out.
sub run_program {
    my ($seconds, @command) = @_;
    my ($out, $err) = map { File::Temp->new } 1 .. 2;
    my $pid = fork;
    die "fork: $!" unless defined $pid;
    if (!$pid) {
        open STDIN,  '<',  File::Spec->devnull;
        open STDOUT, '>&', $out;
        open STDERR, '>&', $err;
        { no warnings 'exec'; exec { $^X } $^X, _include(), @command }
        POSIX::_exit(127);
    }
    Children::keep($pid);
    my $timed_out = 0;
    local $SIG{ALRM} = sub { $timed_out = 1; kill KILL => $pid };
    alarm $seconds;
    waitpid $pid, 0;
    my $status = $?;
    alarm 0;
    Children::ended($pid);
    return { out => _slurp($out), err => _slurp($err), status => $status, timed_out => $timed_out };
}

sub _slurp {
    my ($handle) = @_;
    open my $again, '<', $handle->filename or die "open: $!";
    local $/;
    return scalar <$again>;
}

# The program ends by itself, with status 0 and nothing on STDERR. Returns what
# it printed; when something is amiss, shows it.
sub ends_well {
    my ($name, $seconds, @command) = @_;
    my $run = run_program($seconds, @command);
    my $good = ok(!$run->{timed_out}, "$name: ends within $seconds s");
    $good = is($run->{status}, 0, "$name: exit status") && $good;
    $good = is($run->{err}, '', "$name: nothing on STDERR") && $good;
    diag("$name printed:\n$run->{out}") unless $good;
    return $run->{out};
}

1;
