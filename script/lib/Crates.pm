# What cargo knows of the crates that the library is compiled from. Shared by the
# scripts that ship them, list their licences and count them.
package Crates;
use strict;
use warnings;
use Cwd qw(getcwd);
use Exporter qw(import);
use File::Copy qw(copy);
use File::Path qw(make_path);
use File::Temp qw(tempdir);
use JSON::PP ();

our @EXPORT_OK = qw(crates_of_library crates_of_checkout cut_workspace read_lock run slurp spew);

# Those of the workspace that are the library.
my @ours = qw(rust/proto rust/engine rust/capi);

# Of the systems that the module runs on, one of each kind that decides which
# crates are compiled. A crate that none of them needs is there in name only.
my @platforms = qw(
    x86_64-unknown-linux-gnu i686-unknown-linux-gnu aarch64-unknown-linux-gnu armv7-unknown-linux-gnueabihf
    powerpc64le-unknown-linux-gnu riscv64gc-unknown-linux-gnu s390x-unknown-linux-gnu loongarch64-unknown-linux-gnu
    x86_64-unknown-linux-musl aarch64-unknown-linux-musl x86_64-apple-darwin aarch64-apple-darwin
    x86_64-unknown-freebsd x86_64-unknown-openbsd x86_64-unknown-netbsd x86_64-unknown-dragonfly
    x86_64-unknown-illumos
);

sub run {
    my @command = @_;
    open my $out, '-|', @command or die "$command[0]: $!\n";
    my $text = do { local $/; <$out> };
    close $out or die "failed: @command\n";
    return $text;
}

sub slurp {
    my ($path) = @_;
    open my $in, '<:raw', $path or die "$path: $!\n";
    local $/;
    return scalar <$in>;
}

sub spew {
    my ($path, $text) = @_;
    open my $out, '>:raw', $path or die "$path: $!\n";
    print {$out} $text;
    close $out or die "$path: $!\n";
    return;
}

sub replace {
    my ($path, $change) = @_;
    local $_ = slurp($path);
    my $before = $_;
    $change->();
    # manicopy has made the copies read-only.
    unlink $path;
    spew($path, $_);
    return $before ne $_;
}

# Every package as [[package]] has it: "name version" to its checksum.
sub read_lock {
    my ($path) = @_;
    my %package;
    for my $entry (split /^\[\[package\]\]\n/m, slurp($path)) {
        my ($name, $version, $checksum) = map { $entry =~ /^$_ = "(.*)"$/m ? $1 : '' } qw(name version checksum);
        $package{"$name $version"} = $checksum if $name ne '';
    }
    return \%package;
}

# Leaves of the workspace in the current directory, a copy, what the library is
# compiled from: without its tests, which have crates and features of their own.
# Gives the names of our crates' folders.
sub cut_workspace {
    my $members = join ', ', map { qq{"$_"} } @ours;
    replace('Cargo.toml', sub { s/^members = \[.*\]$/members = [$members]/m })
        or die "Cargo.toml: no line of members\n";
    for my $crate (@ours) {
        replace("$crate/Cargo.toml", sub { s/^\[dev-dependencies\]\n(?:[^\[\n].*\n|\n)*//m });
    }
    cut_lock(read_lock('Cargo.lock'));
    return @ours;
}

# cargo takes out of the lock what is not needed any more, and changes no version.
# That is checked all the same: what is shipped is what has been tested.
sub cut_lock {
    my ($whole) = @_;
    replace('Cargo.lock', sub { });
    run(cargo(), qw(metadata --quiet --format-version 1));
    my $cut = read_lock('Cargo.lock');
    for my $package (sort keys %$cut) {
        my $checksum = $whole->{$package};
        die "Cargo.lock of the distribution has $package, which the repository's has not\n"
            if !defined $checksum || $checksum ne $cut->{$package};
    }
    return;
}

sub cargo { return $ENV{CARGO} || 'cargo' }

# Those of the checkout in the current directory, as a distribution would have them.
sub crates_of_checkout {
    my $from = getcwd;
    my $to   = tempdir(CLEANUP => 1);
    for my $file (qw(Cargo.toml Cargo.lock), map { "$_/Cargo.toml" } @ours) {
        (my $folder = "$to/$file") =~ s{/[^/]+\z}{};
        make_path($folder);
        copy($file, "$to/$file") or die "$file: $!\n";
    }
    for my $crate (@ours) {
        make_path("$to/$crate/src");
        spew("$to/$crate/src/lib.rs", '');
    }
    chdir $to or die "$to: $!\n";
    my @crates = eval { cut_workspace(); crates_of_library() };
    my $error  = $@;
    chdir $from or die "$from: $!\n";
    die $error if $error;
    return @crates;
}

# All that cargo resolves, as with crates_of_library(everywhere => 1), are more: those
# that only a system compiles on which the module does not run.
#
# The crates that are compiled into the library on one of the platforms or
# another, or into a program that runs while it is built, sorted: what cargo
# metadata says of each, with {use} "library" or "build", {is_ours}, and {needs},
# the ids of those it depends on.
sub crates_of_library {
    my %how      = @_;
    my $metadata = JSON::PP->new->utf8->decode(run(cargo(), qw(metadata --quiet --locked --format-version 1),
        $how{everywhere} ? () : map { ('--filter-platform', $_) } @platforms));
    my %package = map { $_->{id} => $_ } @{ $metadata->{packages} };
    my %node    = map { $_->{id} => $_ } @{ $metadata->{resolve}{nodes} };
    $package{$_}{is_ours} = 1 for @{ $metadata->{workspace_members} };

    # What a crate of the build needs is of the build, and what the library needs
    # is of the library even if the build needs it too.
    my @todo = map { [ $_, 'library' ] } grep { $package{$_}{name} eq 'evws-capi' } keys %package;
    my %use;
    while (my $next = pop @todo) {
        my ($id, $use) = @$next;
        $use = 'build' if grep { "@{ $_->{kind} }" =~ /proc-macro/ } @{ $package{$id}{targets} };
        next if $use{$id} && ($use{$id} eq 'library' || $use eq 'build');
        $use{$id} = $use;
        for my $dependency (@{ $node{$id}{deps} }) {
            my @kinds = grep { $_ ne 'dev' } map { defined $_->{kind} ? $_->{kind} : 'normal' } @{ $dependency->{dep_kinds} };
            next if !@kinds;
            $package{$id}{needs}{ $dependency->{pkg} } = 1;
            push @todo, [ $dependency->{pkg}, (grep { $_ eq 'normal' } @kinds) ? $use : 'build' ];
        }
    }
    for my $id (keys %use) {
        $package{$id}{use}   = $use{$id};
        $package{$id}{needs} = [ sort keys %{ $package{$id}{needs} || {} } ];
    }
    return sort { $a->{name} cmp $b->{name} || $a->{version} cmp $b->{version} } map { $package{$_} } keys %use;
}

1;
