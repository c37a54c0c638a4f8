package Interop::Child;

# A peer in a process of its own. It reports one event a line on its standard
# output, and ends when its standard input does, so that nothing survives a test
# that died.

use strict;
use warnings;

use Children;
use EV;
use IPC::Open2 qw(open2);

sub new {
    my ($class, @command) = @_;
    my $self = bless { lines => [], buffer => '', owner => $$ }, $class;
    $self->{pid} = open2($self->{out}, $self->{in}, @command);
    Children::keep($self->{pid});
    binmode $self->{out};
    my ($lines, $buffer, $ended) = @$self{qw(lines buffer)};
    my $out = $self->{out};
    $self->{watcher} = EV::io($out, EV::READ, sub {
        my ($w) = @_;
        if (!sysread $out, $buffer, 65536, length $buffer) {
            push @$lines, "ended\n";
            return $w->stop;
        }
        push @$lines, $1 while $buffer =~ s/\A(.*\n)//;
    });
    return $self;
}

# The fields of the next line, which must be of this kind.
sub next_line {
    my ($self, $kind) = @_;
    my $lines = $self->{lines};
    Interop::await(sub { @$lines }, "a '$kind' line of the peer");
    chomp(my $line = shift @$lines);
    my ($got, @fields) = split /\t/, $line, -1;
    die "the peer said '$line' instead of '$kind'\n" if $got ne $kind;
    return @fields;
}

# [code, reason] of the next connection that the peer saw end.
sub closed { return [$_[0]->next_line('closed')] }

sub DESTROY {
    my ($self) = @_;
    return if $self->{owner} != $$ || Children::is_global_destruction();
    undef $self->{watcher};
    Children::end($self->{pid}, 'TERM', 10);
    return;
}

1;
