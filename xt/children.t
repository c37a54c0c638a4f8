# The programs that a test starts end with it, whichever way it goes: a browser
# whose object lived until global destruction was stopped by way of EV, which
# crashed, and outlived the test.
use strict;
use warnings;
use Cwd qw(abs_path);
use File::Temp qw(tempdir);
use POSIX ();
use Test::More;

my $folder = tempdir(CLEANUP => 1);
my $root   = abs_path('.');

# A browser that ignores a polite request, and has a process of its own.
open my $out, '>', "$folder/chromium" or die "chromium: $!";
print $out <<"SH";
#!/bin/sh
trap '' TERM
sleep 300 &
echo "\$\$ \$!" >'$folder/pids.new'
mv '$folder/pids.new' '$folder/pids'
wait
wait
SH
close $out or die "chromium: $!";
chmod 0755, "$folder/chromium";

# Runs a program with that browser in a variable of a package; [status, pids].
sub run_test {
    my ($name, $ending) = @_;
    unlink "$folder/pids";
    my $program = <<"PERL";
use lib '$root/t/lib';
use Chromium;
our \$browser = Chromium->start('about:blank');
select undef, undef, undef, 0.02 until -s '$folder/pids';
$ending
PERL
    defined(my $pid = fork) or die "fork: $!";
    if (!$pid) {
        open STDERR, '>', "$folder/stderr";
        # What runs in the background of a shell inherits that it is ignored.
        $SIG{INT} = 'DEFAULT';
        $ENV{PATH} = "$folder:$ENV{PATH}";
        { no warnings 'exec'; exec $^X, '-Mblib', '-e', $program }
        POSIX::_exit(127);
    }
    waitpid $pid, 0;
    my $status = $?;
    open my $in, '<', "$folder/pids" or die "pids: $!";
    my @pids = <$in> =~ /(\d+)/g;
    is(scalar @pids, 2, "$name: the browser was there");
    # The keeper works beside us; an orphan is gone when init has waited for it.
    my $left = 10;
    while (grep({ is_alive($_) } @pids) && $left > 0) {
        select undef, undef, undef, 0.05;
        $left -= 0.05;
    }
    my @alive = grep { is_alive($_) } @pids;
    is("@alive", '', "$name: and is gone");
    kill KILL => @alive;
    return $status;
}

# A zombie is none, whoever does not wait for it.
sub is_alive {
    my ($pid) = @_;
    return 0 if !kill 0, $pid;
    open my $in, '<', "/proc/$pid/stat" or return -d '/proc/self' ? 0 : 1;
    return <$in> !~ /\) [ZX] /;
}

is(run_test('a test that ends', '1;'), 0, '... without a crash');
is(run_test('a test with a status', 'exit 3;'), 3 << 8, '... which stays');
isnt(run_test('a test that dies', 'die "for some reason\n";'), 0, '... which is told');
is(run_test('a test that is interrupted', 'kill INT => $$; sleep 60;') & 127, 2, '... by SIGINT');
is(run_test('a test that is killed', 'kill KILL => $$; sleep 60;') & 127, 9, '... by SIGKILL');
is(run_test('the watchdog of Run', 'POSIX::_exit(124);'), 124 << 8, '... ends it');

done_testing;
