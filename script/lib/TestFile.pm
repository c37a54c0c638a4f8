# What is to be known of a file of t/ to run it without prove.
package TestFile;
use strict;
use warnings;
use 5.010;

use Exporter 'import';

our @EXPORT_OK = qw(taint_switch);

# perl does not take a -T of the first line unless it was called with it.
sub taint_switch {
    my ($test) = @_;
    open my $in, '<', $test or die "$test: $!\n";
    return (<$in> || '') =~ /\A#!perl -T$/ ? '-T' : ();
}

1;
