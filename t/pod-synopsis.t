use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use File::Temp;
use Program;
use Test::More;

# The synopsis of the manual is a program: it runs as it is printed.

my $manual = "$FindBin::Bin/../lib/EV/Websockets.pm";
open my $pod, '<', $manual or die "$manual: $!";
my $text = do { local $/; <$pod> };

my ($section) = $text =~ /^=head1 SYNOPSIS\n(.*?)^=/ms;
ok(defined $section, 'the manual has a synopsis');

# Its indented lines are the program.
my $code = join '', map { "$_\n" } grep { /^(?:    |$)/ } split /\n/, defined $section ? $section : '';
like($code, qr/^    use strict;$/m, 'it runs under strict');

my $file = File::Temp->new(SUFFIX => '.pl');
print {$file} $code;
close $file or die "close: $!";

my $out = ends_well('synopsis', 60, $file->filename);
like($out, qr/^server says: HELLO$/m, 'synopsis: the message came back in capitals');
like($out, qr/^closed with code 1000$/m, 'synopsis: the connection was closed as it should be');

done_testing();
