package InChild;

# in_child($name, $code, $how): runs $code in a child; its true value is the child's success. The child leaves by _exit, or
# by exit when $how says so: then its objects are destroyed.

use strict;
use warnings;
use POSIX ();
use Test::More;
use Exporter 'import';

our @EXPORT = qw(in_child);

sub in_child {
    my ($name, $code, $how) = @_;
    pipe my $in, my $out or die "pipe: $!";
    my $pid = fork;
    die "fork: $!" unless defined $pid;
    if (!$pid) {
        close $in;
        # Of the harness only the end is the child's, and that without a word.
        Test::More->builder->no_ending(1);
        open STDERR, '>&', $out;
        alarm 60;
        my $fine = eval { $code->() };
        print STDERR $@ if $@;
        $how && $how eq 'exit' ? exit($fine ? 0 : 1) : POSIX::_exit($fine ? 0 : 1);
    }
    close $out;
    # The parent does not run its loop meanwhile: what the child writes to a
    # shared socket stays there to be found.
    my $said = do { local $/; <$in> };
    waitpid $pid, 0;
    is $?, 0, "$name: the child succeeds";
    is $said, '', "$name: and prints nothing";
    return;
}

1;
