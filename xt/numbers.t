# The number of a test says what it is about: no two tests have the same one, and
# each is within a band that CONTRIBUTING.md names.
use strict;
use warnings;
use ExtUtils::Manifest qw(maniread);
use Test::More;

my (%tests, @without);
for my $file (sort keys %{ maniread() }) {
    next if $file !~ m{\At/[^/]+\.t\z};
    if   ($file =~ m{\At/([0-9]+)-}) { push @{ $tests{$1} }, $file }
    else                             { push @without, $file }
}
cmp_ok(scalar keys %tests, '>', 50, 'there are tests');
is_deeply(\@without, [ 't/eg.t', 't/pod-synopsis.t' ], 'these two alone have no number');
is_deeply([ map { @$_ > 1 ? "@$_" : () } values %tests ], [], 'no number stands twice');

open my $in, '<', 'CONTRIBUTING.md' or die "CONTRIBUTING.md: $!";
my @bands = map { /\A\| ([0-9]+)-([0-9]+) \|/ ? [ $1, $2 ] : () } <$in>;
my @strays = grep { my $n = $_; !grep { $_->[0] <= $n && $n <= $_->[1] } @bands } sort keys %tests;
is_deeply(\@strays, [], 'every number is in a band of CONTRIBUTING.md');

done_testing;
