# A distribution counts what it ships: sbom.cdx.json has every crate in rust/vendor,
# and no other, and THIRD-PARTY.md every one of them that is compiled somewhere.
use strict;
use warnings;
use ExtUtils::MakeMaker ();
use ExtUtils::Manifest qw(maniread manicopy);
use File::Temp qw(tempdir);
use JSON::PP ();
use Test::More;

plan skip_all => 'for a checkout' if !-f 'script/distribution';

sub slurp {
    my ($file) = @_;
    open my $in, '<:raw', $file or die "$file: $!";
    local $/;
    return scalar <$in>;
}

my $copy = tempdir(CLEANUP => 1);
{
    local $ExtUtils::Manifest::Quiet = 1;
    manicopy(maniread(), $copy, 'cp');
}
is(system($^X, 'script/distribution', $copy), 0, 'script/distribution works') or BAIL_OUT('no distribution');

my (%shipped, %compiled);
for my $folder (glob "$copy/rust/vendor/*") {
    my ($crate) = $folder =~ m{([^/]+)\z};
    $shipped{$crate} = 1;
    next if -f "$folder/src/lib.rs" && slurp("$folder/src/lib.rs") =~ /\A\/\/ Nothing:/;
    $compiled{$crate} = 1;
    ok((grep { /(?:LICEN[CS]E|COPYING)/i } glob "$folder/*"), "$crate comes with its licence");
}
cmp_ok(scalar keys %shipped, '>', 50, 'there are crates');

# ---- the bill of materials ----

my $text = slurp("$copy/sbom.cdx.json");
my $bom  = JSON::PP->new->utf8->decode($text);
is($bom->{bomFormat}, 'CycloneDX', 'bomFormat');
is($bom->{specVersion}, '1.5', 'specVersion');
like($bom->{serialNumber}, qr/\Aurn:uuid:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\z/, 'serialNumber');
is($bom->{metadata}{component}{name}, 'EV-Websockets', 'it is of this distribution');
is($bom->{metadata}{component}{version}, MM->parse_version('lib/EV/Websockets.pm'), '... and of this version');
is_deeply([ sort map { "$_->{name}-$_->{version}" } @{ $bom->{components} } ], [ sort keys %shipped ],
    'its components are the crates in rust/vendor');
is_deeply([ sort map { "$_->{name}-$_->{version}" } grep { $_->{properties}[0]{value} !~ /\Anamed/ } @{ $bom->{components} } ],
    [ sort keys %compiled ], '... and those that are hollow are said to be in name only');

my $lock = slurp('Cargo.lock');
my @wrong;
for my $component (@{ $bom->{components} }) {
    my $hash = $component->{hashes}[0];
    push @wrong, $component->{name}
        if grep { !defined $component->{$_} } qw(type name version purl bom-ref scope)
        or $component->{purl} !~ m{\Apkg:cargo/\Q$component->{name}\E\@[\w.%-]+\z}
        or $hash->{alg} ne 'SHA-256' || $lock !~ /^checksum = "\Q$hash->{content}\E"$/m
        or $component->{scope} !~ /\A(?:required|optional|excluded)\z/
        or $component->{licenses}[0]{expression} !~ /\A[\w.()-]+(?: (?:OR|AND|WITH) [\w.()-]+)*\z/;
}
is_deeply(\@wrong, [], 'every component has what its kind asks for, and the checksum of the lock');

my @references = map { $_->{'bom-ref'} } $bom->{metadata}{component}, @{ $bom->{metadata}{component}{components} },
    @{ $bom->{components} };
my %reference = map { $_ => 1 } @references;
is(scalar keys %reference, scalar @references, 'every reference is of one component');
is_deeply([ sort map { $_->{ref} } @{ $bom->{dependencies} } ], [ sort @references ], 'every component has its line in the graph');
is_deeply([ grep { !$reference{$_} } map { @{ $_->{dependsOn} } } @{ $bom->{dependencies} } ], [], '... which leads to components');
my %needed = map { $_ => 1 } map { @{ $_->{dependsOn} } } @{ $bom->{dependencies} };
is_deeply([ grep { !$needed{$_} } @references ], [ $references[0] ], '... each of which something needs');

# ---- the licences ----

my $page = slurp('THIRD-PARTY.md');
my %told;
$told{"$1-$2"} = 1 while $page =~ /^\| (\S+) \| (\d\S*) \| (?:library|build) \|/mg;
is_deeply(\%told, \%compiled, 'THIRD-PARTY.md tells of the crates that are compiled');

done_testing;
