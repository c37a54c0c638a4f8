# The parts of the engine import each other one way, and the files of xs/ call each
# other one way, as docs/ARCHITECTURE.md draws it: seventeen files of the one and five
# of the other once stood in a circle.
use strict;
use warnings;
use Test::More;

sub slurp {
    my ($file) = @_;
    open my $in, '<', $file or die "$file: $!";
    local $/;
    return scalar <$in>;
}

my ($line) = slurp('docs/ARCHITECTURE.md') =~ /^    (context -> .*?)\n\n/ms or die "no line of layers\n";
my @layers = split /\s*->\s*/, $line;
my %rank   = map { $layers[$_] => $_ } 0 .. $#layers;
cmp_ok(scalar @layers, '>', 10, 'there are layers');

my $root  = 'rust/engine/src';
my @files = grep { !m{/lib\.rs\z} } split /\n/, `find $root -name '*.rs'`;
cmp_ok(scalar @files, '>', 40, 'there are files');

my (@unknown, @upwards, %seen);
for my $file (sort @files) {
    my ($own) = $file =~ m{\A$root/(\w+)};
    $seen{$own}++;
    push @unknown, $own if !exists $rank{$own};
    my $code = slurp($file);
    # Of `use crate::{error, sys};` each name counts.
    my @used = $code =~ /\bcrate::(\w+)/g;
    for my $names ($code =~ /\buse crate::\{([^}]*)\}/g) {
        push @used, map { /(\w+)/ ? $1 : () } split /,/, $names;
    }
    for my $other (grep { exists $rank{$_} && $_ ne $own } @used) {
        push @upwards, "$file: $other" if $rank{$other} <= $rank{$own};
    }
}
is_deeply(\@unknown, [], 'every part is in the line');
is_deeply([ grep { !$seen{$_} } @layers ], [], 'every part of the line is there');
is_deeply(\@upwards, [], 'imports go one way');

# INVARIANT 12: review once missed three files that called libc.
my @strays = grep { !m{\A$root/sys/} && slurp($_) =~ m{^(?!\s*//).*(?:\bunsafe\b|\blibc::)}m } @files;
is_deeply(\@strays, [], 'unsafe code and libc are in sys/ alone');

# Texts belong to the layer that owns the words: the engine once said ssl_cert, which is no
# name in C. The parameters of RFC 7692 are everybody's, and limits have one name in all layers:
# a peer that has gone beyond one is told which.
my @options = slurp('xs/options.h') =~ /^    O\(\w+,\s*"(\w+)"/mg;
cmp_ok(scalar @options, '>', 50, 'there are options');
my %common = map { $_ => 1 } qw(server_no_context_takeover client_no_context_takeover
    server_max_window_bits client_max_window_bits);
my $perls = join '|', 'EV::Websockets', 'is_final =>', grep { /_/ && !/\Amax_/ && !$common{$_} } @options;
my $label = join '|', @options;
my @words;
for my $file (sort map { split /\n/, `find rust/$_/src -name '*.rs'` } qw(proto engine capi)) {
    (my $code = slurp($file)) =~ s/^#\[cfg\(test\)\]\nmod .*//ms;
    while ($code =~ m{//[^\n]*|'\\?"'|"((?:[^"\\]|\\.)*)"}sg) {
        my $string = defined $1 ? $1 : '';
        push @words, "$file: $string" if $string =~ /\b(?:$perls)\b|\A(?:$label): /;
    }
}
is_deeply(\@words, [], "no text below XS has Perl's names of options");

# ---- xs ----

my @c_files = slurp('docs/ARCHITECTURE.md') =~ /^    (context\.c -> .*?)\n\n/ms ? split /\s*->\s*/, $1 : ();
my %c_rank  = map { $c_files[$_] => $_ } 0 .. $#c_files;
my @there   = grep { $_ ne 'Websockets.c' } map { m{\Axs/(.*)} } glob 'xs/*.c';
is_deeply([ sort @c_files ], [ sort @there ], 'every C file is in its line');

my (%code, %home);
for my $file (@c_files) {
    ($code{$file} = slurp("xs/$file")) =~ s{/\*.*?\*/}{}gs;
    $home{$_} = $file for $code{$file} =~ /^(?!static)\w[^\n;{}]*?\b(ws_\w+)\([^;{}]*\)\n\{/mg;
}
cmp_ok(scalar keys %home, '>', 80, 'there are functions');
my @up;
for my $file (@c_files) {
    my %called = map { $_ => 1 } grep { $home{$_} && $home{$_} ne $file } $code{$file} =~ /\b(ws_\w+)\b/g;
    push @up, map { "$file: $_" } grep { $c_rank{ $home{$_} } < $c_rank{$file} } sort keys %called;
}
is_deeply([ sort @up ], [ 'log.c: ws_context_unref', 'watch.c: ws_drain' ], 'calls go one way, but for two');

done_testing;
