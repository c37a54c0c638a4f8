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
    chmod +(stat $file)[2] & 0777, "$copy/$file";
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
my $cargo_home = $ENV{CARGO_HOME};
delete @ENV{ grep { /\A(?:CARGO|RUST|MAKE|MFLAGS|LD_|PERL_M[MB]_OPT)/ } keys %ENV };
$ENV{CARGO} = program('cargo', <<"SH");
case \$1 in --version) echo 'cargo 1.85.0'; exit ;; esac
echo "\$*" >'$copy/arguments'
echo "\$RUSTFLAGS" >'$copy/rustflags'
echo "\$RUSTC_WRAPPER|\$EVWS_WRAPPER" >'$copy/wrappers'
profile=\$3
while test \$# != 0; do test "\$1" != --target-dir || folder=\$2; shift; done
folder=\$folder\${CARGO_BUILD_TARGET:+/\$CARGO_BUILD_TARGET}/\$profile
mkdir -p "\$folder" && cp '$engine' "\$folder/$file"
SH
make_path("$copy/std");
open my $std, '>', "$copy/std/libstd-0.rlib" or die "libstd: $!";
$ENV{RUSTC} = program('rustc', <<'SH');
case "$1 $4" in
--version*) echo 'rustc 1.85.0' ;;
-vV*) echo "host: ${HOST-x86_64-unknown-linux-gnu}" ;;
'--print riscv'*) echo "$PWD/no-std" ;;
--print*) echo "$PWD/std" ;;
esac
SH

# Windows: Makefile.PL looked for cargo and wrote a Makefile that no nmake can read.
my $text = says($^X, '-MExtUtils::MakeMaker', '-e', '$^O = "MSWin32"; do "./Makefile.PL"');
is $?, 0, 'on Windows, Makefile.PL ends without an error';
like $text, qr/OS unsupported/, '... and says why';
ok !-e "$copy/Makefile", '... and leaves no Makefile';

# A target without a standard library: Makefile.PL was content, and make failed.
{
    local $ENV{CARGO_BUILD_TARGET} = 'riscv64gc-unknown-linux-gnu';
    $text = says($^X, 'Makefile.PL');
    is $?, 0, 'without a standard library for the target, Makefile.PL ends without an error';
    like $text, qr/\ACannot build EV::Websockets: \S+ has no standard library for riscv64gc-unknown-linux-gnu: .*\n\z/,
        '... and says so in one sentence';
    ok !-e "$copy/Makefile", '... and leaves no Makefile';
}

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

# Symbols that perl's own -g had asked for were two thirds of the module. Who says how
# to optimize says that too.
says($^X, 'Makefile.PL');
$text = says('make', '-n');
like $text, qr/ -Wl,-s /, 'by default the module has no symbols';
unlike $text, qr/ -c .* -g /, '... and no data of a debugger is compiled';
{
    local $ENV{RUSTC_WRAPPER} = 'of a user';
    says('make', "target/release/$file");
    is slurp("$copy/wrappers"), "$copy/rust/rustc-without-paths|of a user\n", '... rustc leaves out paths, and a wrapper stays';
}
for my $how ([ 'OPTIMIZE=-O1 -g' ], []) {
    local $ENV{PERL_MM_OPT} = @$how ? '' : 'OPTIMIZE=-O1';
    says($^X, 'Makefile.PL', @$how);
    unlike says('make', '-n'), qr/ -Wl,-s /, 'with OPTIMIZE' . (@$how ? '' : ' in PERL_MM_OPT') . ' symbols stay';
}

$text = says($^X, 'Makefile.PL', 'DEBUG=1');
unlike $text, qr/DEBUG/, 'DEBUG=1 is an argument of ours';
says('make', "target/debugging/$file");
like slurp("$copy/arguments"), qr/\Arustc --profile debugging /, '... for a build with symbols';
is slurp("$copy/wrappers"), "|\n", '... and with the paths of the sources';
like slurp("$copy/Makefile"), qr/^OPTIMIZE = -Og -g$/m, '... in C too';
unlike says('make', '-n'), qr/ -Wl,-s | -ffile-prefix-map/, '... where nothing is left out either';
like slurp("$copy/Makefile"), qr/Makefile\.PL "DEBUG=1"$/m, '... which it still is when Makefile.PL has changed';

# cargo built where these variables say, and make looked for the library in target/.
for my $variables ([ CARGO_TARGET_DIR => "$copy/else where" ], [ CARGO_BUILD_TARGET => 'x86_64-unknown-linux-gnu' ],
    [ CARGO_TARGET_DIR => "$copy/target", CARGO_BUILD_TARGET => 'x86_64-unknown-linux-gnu' ], [ CARGO_TARGET_DIR => "$copy/target" ]) {
    my %variable = @$variables;
    local @ENV{ keys %variable } = values %variable;
    system 'rm', '-rf', "$copy/target";
    says($^X, 'Makefile.PL');
    $text = says('make', "target/release/$file");
    ok $? == 0 && -e "$copy/target/release/$file", 'the library is built with ' . join ' and ', sort keys %variable
        or diag $text;
}

# What packagers say to Makefile.PL and make; and every rule names what it needs.
says('make', 'clean');
$text = says($^X, 'Makefile.PL', 'INSTALLDIRS=vendor', 'PREFIX=/opt/perl', 'OPTIMIZE=-O0 -DOF_A_PACKAGER', 'LD=cc -DLINKED_BY_IT');
$text = says('make', '-j4');
is $?, 0, 'make -j' or diag $text;
like $text, qr/-O0 -DOF_A_PACKAGER.* -o xs/, 'OPTIMIZE is honoured';
like $text, qr/^cc -DLINKED_BY_IT /m, 'LD is honoured';
my $root_of_package = tempdir(CLEANUP => 1);
$text = says('make', 'install', "DESTDIR=$root_of_package");
is $?, 0, 'DESTDIR and PREFIX are honoured' or diag $text;
my @installed = map { chomp; $_ } `find '$root_of_package' -name '$file'`;
ok @installed == 1 && $installed[0] =~ m{\A\Q$root_of_package\E/opt/perl/}, '... by the engine too' or diag "@installed";
# MakeMaker made everything read-only, and libraries programs.
my @odd = map { chomp; $_ } `find '$root_of_package' -type f ! -perm 644 -o -type d ! -perm 755 ! -path '$root_of_package'`;
is_deeply \@odd, [], 'files are installed with the mode 0644, folders with 0755';
says($^X, 'Makefile.PL', "INSTALL_BASE=$root_of_package/base", 'OPTIMIZE=-O0');
$text = says('make', 'install');
ok -e "$root_of_package/base/lib/perl5/EV/Websockets.pm" || -e glob("$root_of_package/base/lib/perl5/*/EV/Websockets.pm"),
    'INSTALL_BASE is honoured' or diag $text;

# A Makefile.PL that has changed: make removed what was built, failed, and wanted to be run again.
says($^X, 'Makefile.PL', 'OPTIMIZE=-O0');
says('make');
utime 1, 1, "$copy/Makefile";
$text = says('make');
is $?, 0, 'make renews the Makefile and goes on' or diag $text;
like $text, qr/has been rebuilt/, '... and says so';
unlike $text, qr/rerun/, '... in one go';
ok -e "$copy/target/release/$file" && -e "$copy/blib/arch/auto/EV/Websockets/$file", '... and the library is there';

SKIP: {
    skip 'no bmake', 2 if !grep { -x "$_/bmake" } split /:/, $ENV{PATH};
    says('make', 'realclean');
    says($^X, 'Makefile.PL', 'OPTIMIZE=-O0');
    $text = says('bmake', '-n');
    is $?, 0, 'bmake reads the Makefile' or diag $text;
    $text = says('bmake');
    ok $? == 0 && -e "$copy/blib/arch/auto/EV/Websockets/$file", 'bmake builds' or diag $text;
}

# Panics named the folder of every crate on the machine that the library was built on.
SKIP: {
    skip 'built with DEBUG=1', 2 if slurp("$root/Makefile") !~ /^EVWS_WITHOUT_PATHS = \S/m;
    for my $library ($engine, glob "$root/blib/arch/auto/EV/Websockets/Websockets.*") {
        my $octets = slurp($library);
        my @named = grep { defined && m{/..} && $octets =~ m{\Q$_\E/} } $root, $ENV{HOME}, $cargo_home;
        is_deeply \@named, [], "$library names no folder of who built it";
    }
}

# What is written into META.json.
{
    require JSON::PP;
    says($^X, 'Makefile.PL');
    my $meta = JSON::PP::decode_json(slurp("$copy/MYMETA.json"));
    is_deeply [ sort keys %{ $meta->{provides} } ],
        [ 'EV::Websockets', map { "EV::Websockets::$_" } qw(Connection Context Handshake) ], 'every package is provided';
    is_deeply [ sort keys %{ $meta->{prereqs} } ], [qw(build configure runtime test)], 'prerequisites of each phase';
    is $meta->{prereqs}{test}{recommends}{Mojolicious}, 9, 'the peers of the tests are recommended';
    unlike "@{ $meta->{author} }", qr/unknown/, 'there is an author';
    my %times;
    $times{$_}++ for @{ $meta->{no_index}{directory} };
    is_deeply [ grep { $times{$_} > 1 } keys %times ], [], 'no folder is left out of the index twice';
}

done_testing;
