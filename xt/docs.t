# The pages are true to the tree: every source file is in the map of
# docs/ARCHITECTURE.md, every function of the C interface in docs/c-abi.md, every
# example in a page, and links between the pages lead somewhere.
use strict;
use warnings;
use ExtUtils::Manifest qw(maniread);
use Pod::Simple::SimpleTree;
use Test::More;

my @distributed = sort keys %{ maniread() };
my @pods        = ('lib/EV/Websockets.pm', glob 'lib/EV/Websockets/*.pod');

sub slurp {
    my ($file) = @_;
    open my $in, '<', $file or die "$file: $!";
    local $/;
    return scalar <$in>;
}

# ---- the map ----

# The files of a table's row, which are written below the directory of its
# section; one without a directory is in that of the one before it.
sub files_of_row {
    my ($directory, $row) = @_;
    my ($first) = $row =~ /\A\|([^|]*)\|/;
    my @names   = $first =~ /`([^`]+)`/g;
    @names = map { "sys/$_" } $row =~ /`(\w+\.rs)`/g if "@names" eq 'sys/';
    my ($below, @files) = ('');
    for my $name (@names) {
        $below = $1 if $name =~ m{\A(.*/)};
        my $path = $name =~ m{/} ? $name : "$below$name";
        push @files, -e "$directory/src/$path" ? "$directory/src/$path" : "$directory/$path";
    }
    return @files;
}

my (%listed, $directory);
for my $line (split /\n/, slurp('docs/ARCHITECTURE.md')) {
    if ($line =~ /\A#/) {
        ($directory) = $line =~ m{\A### ((?:rust/)?\w+): };
    }
    elsif ($directory && $line =~ /\A\| `/) {
        $listed{$_}++ for files_of_row($directory, $line);
    }
}
my %source = map { $_ => 1 } grep { m{\Axs/|\Arust/\w+/(?:src/|cbindgen)} } @distributed;
cmp_ok(scalar keys %source, '>', 50, 'there are sources');
is_deeply(\%listed, \%source, 'docs/ARCHITECTURE.md lists every file once, and none that is gone');

# ---- the C interface ----

my $header = slurp('include/evws.h');
$header =~ s{/\*.*?\*/}{}gs;
my %function = map { $_ => 1 } $header =~ /\b(evws_\w+)\s*\(/g;
my %told     = map { $_ => 1 } slurp('docs/c-abi.md') =~ /\b(evws_\w+)/g;
cmp_ok(scalar keys %function, '>', 30, 'there are functions');
is_deeply([ grep { !$told{$_} } sort keys %function ], [], 'docs/c-abi.md names every function');

# ---- the examples ----

my $pages = join '', map { slurp($_) } @pods, 'README.md';
is_deeply([ grep { my ($name) = m{\Aeg/(.*)}; $name && $pages !~ /\b\Q$name\E\b/ } @distributed ],
    [], 'every example is mentioned in the manual');

# An example opens nobody's machine to the network: most of them listened on every
# address.
my @open;
for my $file (grep { m{\Aeg/} } @distributed) {
    my $program = slurp($file);
    push @open, $file for grep { !/^\s*(?:host|path) +=>/m } $program =~ /->listen\(\n(.*?)^\s*\);/msg;
}
is_deeply(\@open, [], 'every example says where it listens');

# ---- links, and lines ----

my (%target, @links);

sub text_of {
    my ($node) = @_;
    return $node unless ref $node;
    my (undef, undef, @inside) = @$node;
    return join '', map { text_of($_) } @inside;
}

sub look_at {
    my ($page, $node) = @_;
    return unless ref $node;
    my ($kind, $attributes, @inside) = @$node;
    $target{$page}{ text_of($node) } = 1 if $kind =~ /\A(?:head|item-text)/;
    push @links, [ $page, $attributes ] if $kind eq 'L' && $attributes->{type} eq 'pod';
    look_at($page, $_) for @inside;
}

for my $file (@pods) {
    (my $page = $file) =~ s{\Alib/|\.(?:pm|pod)\z}{}g;
    $page =~ s{/}{::}g;
    look_at($page, Pod::Simple::SimpleTree->new->parse_file($file)->root);
}
my @broken;
for my $link (@links) {
    my ($page, $to) = @$link;
    my $other   = defined $to->{to} ? "$to->{to}" : $page;
    my $section = $to->{section};
    next if $other !~ /\AEV::Websockets\b/;
    push @broken, "$page: $to->{raw}"
        if !$target{$other} || defined $section && !$target{$other}{"$section"};
}
cmp_ok(scalar @links, '>', 50, 'there are links');
is_deeply(\@broken, [], 'links between the pages lead somewhere');

# What 'public' stands for is a table of the manual and one of the code.
my %method = (
    WS_FOR_CONNECTIONS => [qw(listen adopt connect)],
    WS_FOR_UPGRADES    => [qw(listen adopt)],
    WS_FOR_LISTEN      => ['listen'],
    WS_FOR_CONNECT     => ['connect'],
);
my ($public) = slurp('xs/options.h') =~ /^#define WS_PUBLIC_LIMITS\(P\)(.*?)\n\n/ms;
my (%code, %manual);
while ($public =~ /P\((\w+),\s*(\w+), (\d+), (\d+)\)/g) {
    my ($option, $methods, $value) = (lc $1, $2, $4 ? "[$3, $4]" : $3);
    $code{$option}{$_} = $value for @{ $method{$methods} };
}
my ($table) = slurp('lib/EV/Websockets/Limits.pod') =~ /^    option +listen +adopt +connect\n(.*?)\n\n/ms;
for my $row (split /\n/, $table || '') {
    my ($option, @values) = $row =~ /(\[[^]]*\]|\S+)/g;
    my %row;
    @row{qw(listen adopt connect)} = @values;
    $manual{$option} = { map { $_ => $row{$_} } grep { $row{$_} ne '-' } keys %row };
}
is_deeply(\%manual, \%code, 'the manual says what the public limits are');

my @servers   = grep { m{\Aeg/} && slurp($_) =~ /->(?:listen|adopt)\(/ } @distributed;
my @unlimited = grep { slurp($_) !~ /^\s+limits\s+=> 'public',$/m } @servers;
is_deeply(\@unlimited, [], 'every example that listens, or adopts, has limits');

my @long;
for my $file (@pods) {
    my $number = 0;
    my $pod    = 0;
    for my $line (split /\n/, slurp($file)) {
        $number++;
        $pod = $line !~ /\A=cut\b/ if $line =~ /\A=[a-z]/;
        push @long, "$file: $number" if $pod && length $line > 100;
    }
}
is_deeply(\@long, [], 'no line of a page is longer than 100 characters');

done_testing;
