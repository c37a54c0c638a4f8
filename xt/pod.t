# The POD has no faults, and documents every option and every method.
use strict;
use warnings;
use Test::More;

use EV::Websockets;
eval { require Test::Pod; Test::Pod->VERSION('1.41'); 1 }
    or plan skip_all => 'Test::Pod 1.41 is needed';

my @files = map { glob } qw(lib/EV/*.pm lib/EV/Websockets/*.pod);
Test::Pod::pod_file_ok($_) for @files;

# The commands of the POD with their texts, in order: [level, text], where an
# =item has level 9.
my @commands;
for my $file (@files) {
    open my $in, '<', $file or die "$file: $!";
    while (my $line = <$in>) {
        push @commands, [$1, $2] if $line =~ /\A=head([1-4])\s+(.*\S)/;
        push @commands, [9,  $1] if $line =~ /\A=item\s+(.*\S)/;
    }
}

# The commands from the one with that text to the next of its level or above.
sub section {
    my ($heading) = @_;
    my ($level, @inside);
    for my $command (@commands) {
        last if defined $level && $command->[0] <= $level;
        push @inside, $command->[1] if defined $level;
        $level = $command->[0] if !defined $level && $command->[1] eq $heading;
    }
    return @inside;
}

# ---- options ----

my @callbacks = qw(on_connect on_message on_close on_error on_pong on_drain);
my @common    = qw(max_message_size validate_utf8);
my %options   = (
    new     => [qw(loop proxy proxy_port ssl_cert ssl_key ssl_ca ssl_init)],
    connect => [qw(url protocol headers ssl_verify connect_timeout), @common, @callbacks],
    listen  => [qw(port name protocol ssl_cert ssl_key ssl_ca headers on_handshake), @common],
    adopt   => [qw(fh env initial_data protocol headers deflate origins on_handshake handshake_timeout upgraded role), @common],
);

for my $method (sort keys %options) {
    my $items = join ' ', section($method);
    like($items, qr/\b$_\b/, "$method: option $_ is documented") for @{ $options{$method} };
}

# What is documented is known, and so does not warn; the calls need not succeed.
# An item reads "name => $value, name => $value" or just "name, name".
for my $method (sort keys %options) {
    my %documented = map { $_ => 1 }
        map { /(?:\A|,\s*)([a-z_0-9]+)(?=\s*(?:=>|,|\z))/g } section($method);
    my $context = EV::Websockets::Context->new(proxy => '');
    for my $option (sort keys %documented) {
        my @warnings;
        local $SIG{__WARN__} = sub { push @warnings, @_ };
        eval {
            $method eq 'new'
                ? EV::Websockets::Context->new($option => undef)
                : $context->$method($option => undef);
        };
        is_deeply([grep { /unknown option/ } @warnings], [],
            "$method: documented option $option is known");
    }
}

# ---- methods ----

my %headings = map { $_ => 1 } map { split /\s*,\s*/, $_->[1] } grep { $_->[0] < 9 } @commands;
for my $class (qw(EV::Websockets::Context EV::Websockets::Connection)) {
    no strict 'refs';
    my @methods = grep { defined &{"${class}::$_"} && /\A[a-z]/ } sort keys %{"${class}::"};
    cmp_ok(scalar @methods, '>', 3, "$class has methods");
    ok($headings{$_}, "$class: $_ is documented") for @methods;
}

done_testing;
