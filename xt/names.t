# Each type has a name of its own: `Request`, `Response` and `Kind` once stood for two
# things each, and a reader had to look at the imports to know which was meant.
use strict;
use warnings;
use Test::More;

my %places;
for my $file (sort map { split /\n/, `find rust/$_/src -name '*.rs'` } qw(proto engine capi)) {
    open my $in, '<', $file or die "$file: $!";
    while (my $line = <$in>) {
        # An indented `type` is one that a trait asks for.
        $line =~ /^\s*(?:pub(?:\([a-z: ]+\))? )?(?:unsafe )?(?:struct|enum|union|trait) (\w+)/
            || $line =~ /^(?:pub(?:\([a-z: ]+\))? )?type (\w+)/
            or next;
        push @{ $places{$1} }, "$file:$.";
    }
}
cmp_ok(scalar keys %places, '>', 100, 'there are types');
is_deeply([ map { "$_: @{ $places{$_} }" } grep { @{ $places{$_} } > 1 } sort keys %places ],
    [], 'no two types have one name');

done_testing;
