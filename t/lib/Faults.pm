# The library by which system calls fail (faults.c), compiled for this machine.
package Faults;
use strict;
use warnings;
use Config;
use Exporter qw(import);
use File::Basename qw(dirname);
use File::Spec;
use Test::More;

our @EXPORT_OK = qw(faults_library);

# Its path, in this folder. Without a compiler, or beside another preloaded library, the test is skipped.
sub faults_library {
    my ($folder) = @_;
    plan skip_all => 'another library is preloaded' if $ENV{LD_PRELOAD};
    my $library = "$folder/faults.so";
    my $source  = dirname(__FILE__) . '/faults.c';
    my $null    = File::Spec->devnull;
    system("$Config{cc} -O1 -shared -fPIC -o '$library' '$source' -ldl -lpthread >$null 2>&1") == 0
        or plan skip_all => "there is no compiler ($Config{cc})";
    return $library;
}

1;
