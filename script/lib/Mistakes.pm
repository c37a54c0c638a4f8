# The mistakes that cargo-mutants knows to make, compiled into one program, each with a
# switch (rust/mutants): what script/mutants runs tests on.
package Mistakes;
use strict;
use warnings;
use 5.010;

use Cwd qw(getcwd);
use File::Basename qw(dirname);
use File::Find qw(find);
use File::Path qw(make_path);
use JSON::PP ();

use Crates qw(slurp);

my $SWITCHES = 'rust/mutants';
# What tells the process which mistake it makes.
my $MODULE   = "\n/// Which mistake is made.\npub mod mistake;\n";
my $SWITCHED = qr{\Arust/(?:proto|engine)/src/};

# In a copy of the checkout: what is compiled there is kept for the next time.
sub new {
    my ($class, %self) = @_;
    my $self = bless {%self, tree => "$self{dir}/tree"}, $class;
    make_path($self->{tree});
    my %there = map { $_ => 1 } grep { -f } split /\0/, `git ls-files -z --cached --others --exclude-standard`;
    for my $file (keys %there) {
        # These are written when the switches are put in.
        next if $file =~ $SWITCHED;
        my $copied = spew("$self->{tree}/$file", slurp($file));
        chmod((stat $file)[2] & 07777, "$self->{tree}/$file") if $copied;
    }
    # A module that has become a folder since would be there twice.
    find({no_chdir => 1, wanted => sub {
        return if !-f;
        my $file = substr $_, length "$self->{tree}/";
        unlink if $file =~ $SWITCHED && !$there{$file};
    }}, $self->{tree});
    my $target = "$self->{dir}/switches";
    system('cargo', 'build', '--quiet', '--locked', '--release', '--manifest-path', "$SWITCHES/Cargo.toml", '--target-dir', $target) == 0
        or die "$SWITCHES cannot be built\n";
    $self->{program} = "$target/release/evws-mutants";
    return $self;
}

# Reads which mistakes there are: what cargo-mutants lists for these arguments.
sub list {
    my ($self, @arguments) = @_;
    open my $in, '-|', 'cargo', 'mutants', '--list', '--json', '--no-config', @arguments or die "cargo mutants: $!\n";
    my $json = do { local $/; <$in> };
    close $in or die "cargo mutants --list failed\n";
    spew("$self->{dir}/list.json", $json);
    my $number = 0;
    my @mistakes = map { { %$_, number => ++$number } } @{ JSON::PP->new->utf8->decode($json) };
    $self->{mistakes} = \@mistakes;
    return @mistakes;
}

# The environment that compiles the copy.
sub environment {
    my ($self) = @_;
    return (
        # A mistake is compiled once and tested by millions of cases: some optimization pays.
        CARGO_PROFILE_DEV_OPT_LEVEL => 1, CARGO_PROFILE_DEV_DEBUG => 0, CARGO_PROFILE_RELEASE_LTO => 'off',
        CARGO_PROFILE_RELEASE_CODEGEN_UNITS => 16, CARGO_PROFILE_RELEASE_OPT_LEVEL => 1,
        # Some mistakes are what lints deny.
        RUSTFLAGS => '--cap-lints=allow', CARGO_TARGET_DIR => getcwd() . "/$self->{dir}/target",
    );
}

# Puts the switches in, without those that do not compile. Returns the numbers of the mistakes
# that have none.
sub put {
    my ($self) = @_;
    # An opaque type is that of one value, so there is no other to return.
    my %without = map { $_->{number} => 'opaque type' }
        grep { $_->{genre} eq 'FnValue' && $_->{function}{return_type} =~ /\bimpl\b/ } @{ $self->{mistakes} };
    # What did not compile the last time will not do so now.
    my %before = map { $_ => 1 } -f "$self->{dir}/does_not_compile" ? split /\n/, slurp("$self->{dir}/does_not_compile") : ();
    $without{ $_->{number} } //= 'does not compile' for grep { $before{ $_->{name} } } @{ $self->{mistakes} };
    $self->{without} = \%without;
    my $proto = "$self->{tree}/rust/proto/src";
    spew("$proto/mistake.rs", slurp("$SWITCHES/mistake.rs"));
    my %has_mistakes = map { $_->{file} => 1 } @{ $self->{mistakes} };
    make_path(map { dirname("$self->{tree}/$_") } keys %has_mistakes);
    for my $file (grep { $_ =~ $SWITCHED && !$has_mistakes{$_} && -f } split /\0/, `git ls-files -z --cached --others --exclude-standard`) {
        my $text = slurp($file);
        $text .= $MODULE if $file eq 'rust/proto/src/lib.rs';
        spew("$self->{tree}/$file", $text);
    }
    while (1) {
        spew("$self->{dir}/left_out", join '', map { "$_\n" } sort { $a <=> $b } keys %without);
        open my $in, '-|', $self->{program}, "$self->{dir}/list.json", "$self->{dir}/left_out", '.', $self->{tree}
            or die "$self->{program}: $!\n";
        while (<$in>) { chomp; $without{$_} = 'no place' }
        close $in or die "the switches cannot be put in\n";
        # What is compiled for tests alone comes last: it takes longest.
        my @errors = $self->errors('check');
        @errors = $self->errors('test --no-run') if !@errors;
        last if !@errors;
        my %more = map { $_ => 1 } map { $self->mistakes_at($_) } @errors;
        my @more = grep { !$without{$_} } keys %more;
        if (!@more) {
            print map { $_->{rendered} } @errors;
            die "the copy does not compile\n";
        }
        $without{$_} = 'does not compile' for @more;
        printf "%d errors, %d mistakes are left out\n", scalar @errors, scalar @more;
    }
    my @uncompiled = grep { ($without{ $_->{number} } // '') eq 'does not compile' } @{ $self->{mistakes} };
    spew("$self->{dir}/does_not_compile", join '', map { "$_->{name}\n" } @uncompiled);
    return sort { $a <=> $b } keys %without;
}

# What the compiler does not like.
sub errors {
    my ($self, $how) = @_;
    my %environment = $self->environment;
    local @ENV{keys %environment} = values %environment;
    my @packages = map { ('--package', $_) } @{ $self->{packages} };
    open my $in, '-|', "cd $self->{tree} && cargo $how --locked --message-format=json @packages 2>/dev/null" or die "cargo: $!\n";
    my @errors;
    while (<$in>) {
        my $message = JSON::PP->new->utf8->decode($_);
        next if $message->{reason} ne 'compiler-message' || $message->{message}{level} ne 'error';
        push @errors, $message->{message} if @{ $message->{message}{spans} };
    }
    close $in;
    return @errors;
}

# The numbers of the mistakes whose text has an error: the innermost ones.
sub mistakes_at {
    my ($self, $error) = @_;
    my @spans = sort { !!$b->{is_primary} <=> !!$a->{is_primary} } @{ $error->{spans} };
    for my $span (@spans) {
        my $path = "$self->{tree}/$span->{file_name}";
        next if !-f $path;
        my $text = slurp($path);
        my %range;
        while ($text =~ m{/\*<(\d+)\*/}g)  { push @{ $range{$1} }, [ $-[0], undef ] }
        while ($text =~ m{/\*(\d+)>\*/}g) {
            my ($number, $end) = ($1, $+[0]);
            # Those of one mistake are one within the other.
            my ($begin) = grep { !defined $_->[1] && $_->[0] < $end } reverse @{ $range{$number} };
            $begin->[1] = $end if $begin;
        }
        my ($shortest, @numbers) = (1e9);
        for my $number (keys %range) {
            for my $range (@{ $range{$number} }) {
                next if $span->{byte_start} < $range->[0] || $span->{byte_end} > $range->[1];
                my $length = $range->[1] - $range->[0];
                # Marks of those that belong together differ by their own length.
                @numbers  = () if $length < $shortest - 80;
                push @numbers, $number if $length < $shortest + 80;
                $shortest = $length if $length < $shortest;
            }
        }
        return @numbers if @numbers;
    }
    return;
}

# What is the same keeps its time, and is not compiled again.
sub spew {
    my ($path, $text) = @_;
    return 0 if -f $path && slurp($path) eq $text;
    make_path(dirname($path));
    open my $out, '>:raw', $path or die "$path: $!\n";
    print $out $text;
    close $out or die "$path: $!\n";
    return 1;
}

1;
