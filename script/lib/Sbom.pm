# The bill of materials of a distribution: which crates it contains, in the format of
# CycloneDX (https://cyclonedx.org), for programs that look for known mistakes in them.
package Sbom;
use strict;
use warnings;
use Digest::SHA qw(sha1);
use Exporter qw(import);
use JSON::PP ();
use Crates qw(crates_of_library read_lock slurp);

our @EXPORT_OK = qw(bill_of_materials);

# What CycloneDX calls the part that a crate has, and how we say it.
my %scope = (library => 'required', build => 'excluded', none => 'excluded');
my %part  = (
    library => 'compiled into the library',
    build   => 'runs while the library is compiled',
    none    => 'named in Cargo.lock, and compiled on no system that the module runs on',
);

# Of the distribution in the current directory. Its bytes depend on nothing else.
sub bill_of_materials {
    my $checksums = read_lock('Cargo.lock');
    my %use       = map { $_->{id} => $_->{use} } crates_of_library();
    my @crates    = crates_of_library(everywhere => 1);
    my %reference = map { $_->{id} => reference($_) } @crates;
    my @ours      = grep { $_->{is_ours} } @crates;
    my @others    = grep { !$_->{is_ours} } @crates;
    my ($version) = slurp('lib/EV/Websockets.pm') =~ /^our \$VERSION = '([^']+)'/m
        or die "lib/EV/Websockets.pm: no \$VERSION\n";
    my $root = "EV-Websockets\@$version";
    my %bom  = (
        '$schema'    => 'http://cyclonedx.org/schema/bom-1.5.schema.json',
        bomFormat    => 'CycloneDX',
        specVersion  => '1.5',
        serialNumber => 'urn:uuid:' . uuid(slurp('Cargo.lock') . $root),
        version      => 1,
        metadata     => {
            component => {
                type       => 'library',
                'bom-ref'  => $root,
                name       => 'EV-Websockets',
                version    => $version,
                licenses   => [ { expression => 'Artistic-1.0-Perl OR GPL-1.0-or-later' } ],
                components => [ map { component($_, 'library') } @ours ],
            },
            # A time of their own would make two distributions of the same sources differ.
            $ENV{SOURCE_DATE_EPOCH} ? (timestamp => time_of($ENV{SOURCE_DATE_EPOCH})) : (),
        },
        components => [
            map { component($_, $use{ $_->{id} } || 'none', $checksums->{"$_->{name} $_->{version}"}) } @others
        ],
        dependencies => [
            { ref => $root, dependsOn => [ sort map { $reference{ $_->{id} } } grep { $_->{name} eq 'evws-capi' } @ours ] },
            map { { ref => $reference{ $_->{id} }, dependsOn => [ sort map { $reference{$_} } @{ $_->{needs} } ] } } @crates,
        ],
    );
    return JSON::PP->new->utf8->canonical->pretty->indent_length(1)->encode(\%bom);
}

# A plus sign in a version would be a space to some.
sub reference {
    my ($crate) = @_;
    (my $version = $crate->{version}) =~ s/\+/%2B/g;
    return ($crate->{is_ours} ? '' : 'pkg:cargo/') . "$crate->{name}\@$version";
}

sub component {
    my ($crate, $use, $checksum) = @_;
    (my $licence = $crate->{license}) =~ s{/}{ OR }g;
    my %component = (
        type       => 'library',
        'bom-ref'  => reference($crate),
        name       => $crate->{name},
        version    => $crate->{version},
        scope      => $scope{$use},
        licenses   => [ { expression => $licence } ],
        properties => [ { name => 'EV-Websockets:part', value => $part{$use} } ],
    );
    return \%component if $crate->{is_ours};
    $component{purl}   = reference($crate);
    $component{hashes} = [ { alg => 'SHA-256', content => $checksum } ];
    $component{externalReferences} = [ { type => 'vcs', url => $crate->{repository} } ] if $crate->{repository};
    return \%component;
}

# A UUID of version 5 (RFC 9562), in the name space of URLs.
sub uuid {
    my ($name) = @_;
    my @bytes = unpack 'C16', sha1(pack('H*', '6ba7b8119dad11d180b400c04fd430c8') . $name);
    $bytes[6] = $bytes[6] & 0x0f | 0x50;
    $bytes[8] = $bytes[8] & 0x3f | 0x80;
    return sprintf '%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x', @bytes;
}

sub time_of {
    my ($seconds) = @_;
    my ($s, $m, $h, $day, $month, $year) = gmtime $seconds;
    return sprintf '%04d-%02d-%02dT%02d:%02d:%02dZ', $year + 1900, $month + 1, $day, $h, $m, $s;
}

1;
