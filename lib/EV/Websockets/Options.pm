package EV::Websockets::Options;

use strict;
use warnings;
use 5.010;

use Carp ();
use overload ();

# Whether a value is a text or has one: a reference, and an object that overloads something else, has but its address.
sub has_text {
    my ($value) = @_;
    return 1 if !ref $value;
    return scalar grep { overload::Method($value, $_) } '""', '0+', 'bool', 'nomethod';
}

# The names in a text with commas. Only blanks are cut off: a line break is for the engine to refuse.
sub names_of {
    my ($text) = @_;
    return [ grep { length } map { /\A[ \t]*(.*?)[ \t]*\z/s } split /,/, "$text" ];
}

# ---- the environment of adopt ----

# A value of a PSGI environment, in octets: one for each character, however perl keeps them.
sub _text {
    my ($env, $key) = @_;
    my $value = $env->{$key};
    Carp::croak("adopt: env: $key must be a string") if !has_text($value);
    return undef if !defined $value;
    my $text = "$value";
    utf8::downgrade($text, 1) or utf8::encode($text);
    return $text;
}

# The request that a PSGI environment tells of. Only what is asked for is read: other values
# may be magical.
sub request_of {
    my ($env) = @_;
    my $target = _text($env, 'REQUEST_URI') // '';
    # Some servers leave it out. The path is percent-encoded, but for what one may contain
    # (RFC 3986 section 3.3).
    if (!length $target) {
        $target = join '', map { _text($env, $_) // '' } qw(SCRIPT_NAME PATH_INFO);
        $target =~ s{([^A-Za-z0-9_/\-.~!\$&'()*+,;=:\@])}{sprintf '%%%02X', ord $1}ge;
        my $query = _text($env, 'QUERY_STRING') // '';
        $target = (length $target ? $target : '/') . (length $query ? "?$query" : '');
    }
    my %header;
    for my $key (keys %$env) {
        next if $key !~ /\A(?:HTTP_(.+)|(CONTENT_(?:LENGTH|TYPE)))\z/s;
        (my $name = $1 // $2) =~ tr/_/-/;
        my $value = _text($env, $key);
        $header{$name} = $value if defined $value;
    }
    my ($method, $version) = map { _text($env, $_) // '' } qw(REQUEST_METHOD SERVER_PROTOCOL);
    return [ $method, $target, $version, \%header ];
}

# ---- names that are no option's ----

# How many letters are to be added, taken away, changed or swapped with the next
# to make one word of the other (optimal string alignment).
sub _distance {
    my ($from, $to) = @_;
    my @from = split //, lc $from;
    my @to   = split //, $to;
    my ($before, @row) = (undef, 0 .. @to);
    my $last = [@row];
    for my $i (1 .. @from) {
        @row = ($i);
        for my $j (1 .. @to) {
            my @ways = ($last->[$j - 1] + ($from[$i - 1] ne $to[$j - 1]), $last->[$j] + 1, $row[$j - 1] + 1);
            push @ways, $before->[$j - 2] + 1
                if $i > 1 && $j > 1 && $from[$i - 1] eq $to[$j - 2] && $from[$i - 2] eq $to[$j - 1];
            ($row[$j]) = sort { $a <=> $b } @ways;
        }
        ($before, $last) = ($last, [@row]);
    }
    return $last->[-1];
}

# The name that was meant, perhaps. Less than half of a short name is left to know
# it by. `ssl_certificate` is for `ssl_cert`, `origin` for `origins`.
sub _nearest {
    my ($name, $known) = @_;
    return undef if length $name > 40;
    my $limit = int(length($name) / 3);
    $limit = 3 if $limit > 3;
    my ($nearest, $begins);
    for my $candidate (@$known) {
        my $distance = _distance($name, $candidate);
        ($nearest, $limit) = ($candidate, $distance - 1) if $distance <= $limit;
        my ($short, $long) = sort { length $a <=> length $b } $name, $candidate;
        $begins //= $candidate if $short =~ /...[^_]\z/ && index($long, $short) == 0;
    }
    return $nearest // $begins;
}

# A name that is mistyped is an option that is not set. Where that would leave a
# door open it croaks; elsewhere it warns, as 0.10 took any name in silence: once for
# each name, so that a program that connects a thousand times stays readable.
my %warned;

sub unknown {
    my ($where, $name, $shown, $known, $elsewhere) = @_;
    my $nearest = defined $elsewhere ? undef : _nearest($name, $known);
    my $text = "$where: unknown option '$shown'"
        . (defined $elsewhere ? ": it is an option of $elsewhere"
        : defined $nearest    ? ": did you mean '$nearest'?" : '');
    Carp::croak($text) if $where !~ /\A(?:new|connect|shutdown)\z/ || $name =~ /\A(?:ssl_|on_|origin)/i;
    Carp::carp("EV::Websockets: $text") if !$warned{$text}++;
    return;
}

1;

__END__

=encoding UTF-8

=head1 NAME

EV::Websockets::Options - what the module itself does with options in Perl

=head1 DESCRIPTION

This file is a part of L<EV::Websockets>, and has nothing for programs. The options are
described in L<EV::Websockets::Context>.

=cut
