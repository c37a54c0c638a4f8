use strict;
use warnings;
use FindBin;
use File::Temp ();
use Test::More;

# eg/metrics.pl serves the text format of Prometheus, version 0.0.4: read here as
# strictly as its rules are, and by promtool where that is installed.

my $page = `$^X $FindBin::Bin/../eg/metrics.pl --print`;
is $?, 0, 'the example ends well';
like $page, qr/\n\z/, 'the last line ends, as every line must';

my $NAME  = qr/[a-zA-Z_:][a-zA-Z0-9_:]*/;
my $LABEL = qr/[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*"/;
my (%type, %help, %sample, $current, @wrong);
for my $line (split /\n/, $page) {
    if ($line =~ /\A# HELP ($NAME) \S.*\z/) {
        push @wrong, "$line: twice, or after its samples" if $help{$1}++ || $type{$1};
        $current = $1;
    }
    elsif ($line =~ /\A# TYPE ($NAME) (counter|gauge)\z/) {
        push @wrong, "$line: not behind its HELP" if $1 ne $current || $type{$1};
        my ($name, $type) = ($1, $2);
        my $is_total = $name =~ /_total\z/ ? 'counter' : 'gauge';
        push @wrong, "$line: the name of a counter ends with _total, and that of a gauge does not" if $type ne $is_total;
        $type{$name} = $type;
    }
    elsif ($line =~ /\A($NAME)\{($LABEL(?:,$LABEL)*)\} ([0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)\z/) {
        push @wrong, "$line: among the lines of $current" if $1 ne $current || !$type{$1};
        push @wrong, "$line: twice" if $sample{"$1 $2"}++;
    }
    else {
        push @wrong, "$line: no line of the format";
    }
}
is_deeply \@wrong, [], 'every line has its form and its place';
is_deeply [ grep { my $name = $_; !grep { /\A\Q$name\E / } keys %sample } sort keys %type ], [], 'every metric has a sample';
cmp_ok scalar keys %type, '>=', 9, 'there are some';
is $sample{'websocket_rejected_total listener="chat",cause="program"'}, 1, '... so are clients that were turned away';
is $sample{'websocket_closed_total listener="chat",code="1000"'}, 1, 'what is counted by code has it as a label';

SKIP: {
    my $file = File::Temp->new;
    print {$file} $page;
    close $file;
    my $said = `promtool check metrics <"$file" 2>&1`;
    skip 'promtool is not installed', 1 if !defined $said || $? == -1 || $? >> 8 == 127;
    is "$?: $said", '0: ', 'promtool finds nothing';
}

done_testing;
