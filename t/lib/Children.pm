package Children;

# Processes that a test starts do not outlive it, however it ends: an END block
# ends those that are left, and where none runs (a signal, a crash, _exit), a
# keeper does, which sees the end of the test by the end of a pipe.
#
# Nothing here needs EV, so that all of it can be called from DESTROY and END.

use strict;
use warnings;
use File::Spec;
use IO::Handle;
use POSIX ();

my (%kept, $pipe, $owner);

my $KEEPER = 'my %kept; while (<STDIN>) { /(.)(-?\d+)/; $1 eq "+" ? $kept{$2} = 1 : delete $kept{$2} } kill KILL => keys %kept';

# From now on this process is ended with the test. -$pid: its whole group.
sub keep {
    my ($pid) = @_;
    _start_keeper() if !$owner || $owner != $$;
    $kept{$pid} = 1;
    _tell("+$pid");
    return;
}

# Sends it this signal, and KILL when it is there still after so many seconds;
# waits for its end. Its status, as in $?.
sub end {
    my ($pid, $signal, $patience) = @_;
    local ($?, $!);
    kill $signal, $pid;
    my $there = 1;
    for (my $left = $patience; $there && $left > 0; $left -= 0.02) {
        $there = !waitpid abs $pid, POSIX::WNOHANG();
        select undef, undef, undef, 0.02 if $there;
    }
    my $status = $?;
    # Others of the group may be there still.
    kill 'KILL', $pid if $there || $pid < 0;
    if ($there) {
        waitpid abs $pid, 0;
        $status = $?;
    }
    ended($pid);
    return $status;
}

# Who has waited for it says so: its number can become another's.
sub ended {
    my ($pid) = @_;
    _tell("-$pid") if delete $kept{$pid};
    return;
}

# Whether perl is taking everything apart, EV too.
sub is_global_destruction { return defined ${^GLOBAL_PHASE} && ${^GLOBAL_PHASE} eq 'DESTRUCT' }

sub _tell {
    my ($line) = @_;
    return if !$owner || $owner != $$;
    local ($SIG{PIPE}, $!) = ('IGNORE');
    syswrite $pipe, "$line\n";
    return;
}

# In a process that is not our child: nobody who waits for any child meets it.
sub _start_keeper {
    %kept  = ();
    $owner = $$;
    pipe my $in, $pipe or die "pipe: $!";
    defined(my $pid = fork) or die "fork: $!";
    if (!$pid) {
        close $pipe;
        POSIX::_exit(0) if fork;
        POSIX::setsid();
        open STDIN,  '<&', $in;
        open STDOUT, '>',  File::Spec->devnull;
        open STDERR, '>',  File::Spec->devnull;
        { no warnings 'exec'; exec { $^X } $^X, '-e', $KEEPER }
        POSIX::_exit(127);
    }
    local $?;
    waitpid $pid, 0;
    return;
}

END {
    if ($owner && $owner == $$) {
        end($_, 'KILL', 10) for keys %kept;
    }
}

1;
