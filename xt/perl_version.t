# Nothing that is shipped needs a Perl later than the one Makefile.PL asks for.
use strict;
use warnings;
use Test::More;
use ExtUtils::Manifest qw(maniread);
use version;

eval { require Perl::MinimumVersion; 1 }
    or plan skip_all => 'Perl::MinimumVersion is needed';

my $stated = version->parse('5.10.0');
for my $file (sort keys %{ maniread() }) {
    next if $file !~ /\.(?:pl|pm|t|PL)\z/ && $file ne 'script/conformance';
    my $perl = Perl::MinimumVersion->new($file);
    ok($perl, "$file is understood") or next;
    my $needed = $perl->minimum_syntax_version;
    my $reason = $perl->minimum_syntax_reason;
    cmp_ok($needed, '<=', $stated, "$file: syntax")
        or diag 'first in line ' . $reason->element->location->[0] . ': ' . $reason->element;
}

done_testing;
