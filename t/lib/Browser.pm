package Browser;

# Chromium without a window, in a process group of its own: a browser is many
# processes. It ends with the object.

use strict;
use warnings;
use EV;
use File::Spec;
use File::Temp qw(tempdir);
use POSIX ();
use Run;
use Test::More;

# Its program, or nothing if it is not installed.
sub program {
    my ($found) = grep { -x } map { my $name = $_; map { File::Spec->catfile($_, $name) } File::Spec->path }
        qw(chromium chromium-browser google-chrome);
    return $found;
}

sub start {
    my ($class, $url) = @_;
    my $profile = tempdir(CLEANUP => 1);
    my $program = $class->program;
    my $pid = fork;
    defined $pid or die "fork: $!\n";
    if (!$pid) {
        POSIX::setpgid(0, 0);
        open STDIN, '<', File::Spec->devnull;
        open STDOUT, '>', "$profile/log";
        open STDERR, '>&', \*STDOUT;
        # It is to find no proxy and no display, whatever there is.
        delete @ENV{ grep { /_proxy\z/i } keys %ENV };
        { no warnings 'exec'; exec { $program } $program, qw(--headless --no-sandbox --disable-gpu --disable-quic
            --no-first-run --disable-background-networking --disable-component-update --disable-sync
            --disable-dev-shm-usage --disable-extensions --remote-debugging-port=0), "--user-data-dir=$profile", $url }
        POSIX::_exit(127);
    }
    return bless { pid => $pid, owner => $$, log => "$profile/log" }, $class;
}

# What it has said so far.
sub said {
    my ($self) = @_;
    open my $log, '<', $self->{log} or return '';
    local $/;
    my $text = <$log>;
    return defined $text ? $text : '';
}

sub show_log {
    my ($self) = @_;
    my @lines = split /^/, $self->said;
    diag @lines > 15 ? @lines[ -15 .. -1 ] : @lines;
    return;
}

sub end {
    my ($self) = @_;
    my $pid = delete $self->{pid};
    return if !$pid || $self->{owner} != $$;
    local ($?, $!);
    kill 'TERM', -$pid;
    my $over = 0;
    my $timer = EV::timer(10, 0, sub { kill 'KILL', -$pid; });
    my $child = EV::child($pid, 0, sub { $over = 1 });
    wait_until(sub { $over });
    kill 'KILL', -$pid;
    return;
}

sub DESTROY { $_[0]->end; return }

1;
