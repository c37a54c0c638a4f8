package Heap;

# Heap::used(), from bench/heap.c. Needs a C compiler, perl's headers and the C library of GNU.

use strict;
use warnings;
use Config;
use DynaLoader ();
use File::Basename qw(dirname);
use File::Spec;
use File::Temp;

my $source = File::Spec->rel2abs(dirname(dirname(__FILE__))) . '/heap.c';
my $folder = File::Temp->newdir;
my @command = (
    (split ' ', $ENV{CC} || $Config{cc}), (split ' ', $Config{ccflags}), (split ' ', $Config{cccdlflags}),
    "-I$Config{archlibexp}/CORE", '-shared', '-o', "$folder/heap.so", $source,
);
system(@command) == 0 or die "failed: @command\n";
my $library = DynaLoader::dl_load_file("$folder/heap.so") or die DynaLoader::dl_error(), "\n";
my $symbol  = DynaLoader::dl_find_symbol($library, 'heap_used') or die DynaLoader::dl_error(), "\n";
DynaLoader::dl_install_xsub('Heap::used', $symbol, $source);

1;
