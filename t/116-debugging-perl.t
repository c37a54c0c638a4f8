use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

use Config;
use Run;

# A perl that was built with -DDEBUGGING loads the modules of the other one, and keeps
# a header before all memory it allocates. The bug: memory of the engine became the
# buffer of a large message's scalar, and "free from wrong pool" ended the program.

sub says {
    my ($perl, $program) = @_;
    my $pid = open my $out, '-|';
    die "fork: $!" if !defined $pid;
    if (!$pid) {
        open STDERR, '>&', \*STDOUT;
        exec { $perl } $perl, (map { "-I$_" } @INC), '-e', $program;
        die "exec: $!";
    }
    my $said = do { local $/; <$out> };
    close $out;
    return $said;
}

my ($other) = grep { -x } map { "$_/debugperl" } split /:/, $ENV{PATH} || '';
my $which = 'use Config; print "$^V $Config{archlibexp}"';
plan skip_all => 'no debugperl here' if !$other;
plan skip_all => 'debugperl is not of this perl' if says($other, $which) ne says($^X, $which);

is says($other, <<'PROGRAM'), "300000 60000 20000 5000 closed\n", 'large messages in a debugging perl';
use strict; use warnings; use EV; use EV::Websockets;
$| = 1;
alarm 60;
my $context = EV::Websockets::Context->new;
my (@kept, $conn);
my $port = $context->listen(
    host       => '127.0.0.1',
    on_message => sub { push @kept, $_[1]; print length $kept[-1], ' '; $conn->close if @kept == 4 },
    on_close   => sub { @kept = (); print "closed\n"; EV::break },
);
$conn = $context->connect(
    url        => "ws://127.0.0.1:$port/",
    on_connect => sub { my ($c) = @_; $c->send('x' x $_) for 300_000, 60_000, 20_000, 5_000 },
);
EV::run;
PROGRAM

finish();
