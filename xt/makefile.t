# What Makefile.PL makes of other systems and of a packager's arguments: in a copy
# of the distribution, with a cargo that does not compile but hands out what was
# compiled here.
use strict;
use warnings;
use Cwd qw(getcwd);
use ExtUtils::Manifest qw(maniread);
use File::Basename qw(dirname);
use File::Copy qw(copy);
use File::Path qw(make_path);
use File::Temp qw(tempdir);
use Test::More;

my $root   = getcwd;
my ($engine) = glob "$root/blib/arch/auto/EV/Websockets/libevws.*";
plan skip_all => 'the module has not been built' if !$engine;

my $copy = tempdir(CLEANUP => 1);
for my $file (sort keys %{ maniread() }) {
    make_path(dirname("$copy/$file"));
    copy($file, "$copy/$file") or die "$file: $!";
}

sub program {
    my ($name, $text) = @_;
    open my $out, '>', "$copy/$name" or die "$name: $!";
    print $out "#!/bin/sh\n$text";
    close $out or die "$name: $!";
    chmod 0755, "$copy/$name";
    return "$copy/$name";
}

sub slurp {
    my ($file) = @_;
    open my $in, '<', $file or die "$file: $!";
    local $/;
    return scalar <$in>;
}

# What this command says, run in the copy.
sub says {
    my (@command) = @_;
    my $quoted = join ' ', map { "'$_'" } @command;
    return scalar `cd '$copy' && $quoted 2>&1 </dev/null`;
}

(my $file = $engine) =~ s{.*/}{};
delete @ENV{ grep { /\A(?:CARGO|RUST|MAKE|MFLAGS|LD_|PERL_M[MB]_OPT)/ } keys %ENV };
$ENV{CARGO} = program('cargo', <<"SH");
case \$1 in --version) echo 'cargo 1.85.0'; exit ;; esac
echo "\$*" >'$copy/arguments'
echo "\$RUSTFLAGS" >'$copy/rustflags'
mkdir -p '$copy/target/'\$3 && cp '$engine' '$copy/target/'\$3/$file
SH
$ENV{RUSTC} = program('rustc', <<'SH');
case $1 in --version) echo 'rustc 1.85.0' ;; esac
echo "host: ${HOST-x86_64-unknown-linux-gnu}"
SH

# Windows: Makefile.PL looked for cargo and wrote a Makefile that no nmake can read.
my $text = says($^X, '-MExtUtils::MakeMaker', '-e', '$^O = "MSWin32"; do "./Makefile.PL"');
is $?, 0, 'on Windows, Makefile.PL ends without an error';
like $text, qr/OS unsupported/, '... and says why';
ok !-e "$copy/Makefile", '... and leaves no Makefile';

# LDDLFLAGS from a packager took the place of the path to the engine, and the
# installed module did not find it.
$text = says($^X, 'Makefile.PL', 'OPTIMIZE=-O0', 'LDDLFLAGS=-shared');
is $?, 0, 'LDDLFLAGS can be given' or diag $text;
$text = says('make', 'OTHERLDFLAGS=-Wl,--as-needed');
is $?, 0, '... and it builds' or diag $text;
like slurp("$copy/arguments"), qr/\Arustc --profile release /, 'cargo builds for release';
is slurp("$copy/rustflags"), "\n", '... with no flags for rustc';
my $installed = tempdir(CLEANUP => 1);
system "cp -r '$copy/blib/.' '$installed'";
system "rm -rf '$copy/target' '$copy/blib'";
is says($^X, "-I$installed/lib", "-I$installed/arch", '-MEV::Websockets', '-e', 'print "it loads\n"'),
    "it loads\n", 'the module finds its engine beside itself';
SKIP: {
    my $module = "$installed/arch/auto/EV/Websockets/Websockets.so";
    my $dynamic = -e $module ? `readelf -d '$module' 2>&1` : '';
    skip 'no readelf', 1 if $dynamic !~ /NEEDED/;
    like $dynamic, qr/R(?:UN)?PATH\).*\[\$ORIGIN\]/, '... by its run path';
}

# musl: cargo left out the shared library with a warning, since programs are static there.
{
    local $ENV{HOST} = 'x86_64-alpine-linux-musl';
    local $ENV{RUSTFLAGS} = '-C opt-level=3';
    says($^X, 'Makefile.PL');
    says('make', "target/release/$file");
    is slurp("$copy/rustflags"), "-C opt-level=3 -C target-feature=-crt-static\n",
        'on musl the libraries are shared, and RUSTFLAGS stay';
}

$text = says($^X, 'Makefile.PL', 'DEBUG=1');
unlike $text, qr/DEBUG/, 'DEBUG=1 is an argument of ours';
says('make', "target/debugging/$file");
like slurp("$copy/arguments"), qr/\Arustc --profile debugging /, '... for a build with symbols';
like slurp("$copy/Makefile"), qr/^OPTIMIZE = -Og -g$/m, '... in C too';
like slurp("$copy/Makefile"), qr/Makefile\.PL "DEBUG=1"$/m, '... which it still is when Makefile.PL has changed';

done_testing;
