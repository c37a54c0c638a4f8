use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

use File::Temp ();
use Program;
use Run;

# Programs that perl only compiles, debugs or taints. Callbacks are called in other ways then: by DB::sub, with $^P set,
# or in BEGIN, and a program that was compiled ends with objects that it made meanwhile.

my $folder = File::Temp->newdir;

sub program {
    my ($name, $text) = @_;
    my $file = "$folder/$name.pl";
    open my $out, '>', $file or die "$file: $!";
    print {$out} "use strict; use warnings; use EV; use EV::Websockets;\n$text";
    close $out or die "$file: $!";
    return $file;
}

# One of each: a client, a server, a handshake, a request, errors, and one that dies.
my $EVERYTHING = <<'PROGRAM';
our ($context, @kept);
BEGIN {
    $| = 1;
    $SIG{__WARN__} = sub { print "warned: $_[0]" };
}
sub everything {
    $context = EV::Websockets::Context->new(proxy => '');
    my $port = $context->listen(
        host         => '127.0.0.1',
        on_handshake => sub { print "handshake\n"; 1 },
        on_connect   => sub { print "connect\n"; push @kept, $_[0] },
        on_message   => sub { my ($conn, $message) = @_; print "message $message\n"; $conn->send($message); die "thrown\n" },
        on_close     => sub { print "close $_[1]\n"; EV::break() },
    );
    push @kept, $context->connect(
        url        => "ws://127.0.0.1:$port/",
        on_connect => sub { $_[0]->send('text') },
        on_message => \&got,
    );
    EV::run();
}
sub got { my ($conn, $message) = @_; print "got $message\n"; $conn->close(4000) }
PROGRAM
my $PRINTED = "handshake\nconnect\nmessage text\nwarned: EV::Websockets: exception in message handler: thrown\ngot text\nclose 4000\n";

my $normal = program('normal', "$EVERYTHING\neverything();\nprint \"end\\n\";\n");
my $begins = program('begins', "$EVERYTHING\nBEGIN { everything(); print \"end\\n\" }\n");

sub prints {
    my ($name, $expected, $switches, $file) = @_;
    my $run = run_program(60, @$switches, $file);
    is $run->{out}, $expected, "$name: what it prints" or diag $run->{err};
    is $run->{status}, 0, "$name: status";
    return $run->{err};
}

is prints('no switch', "${PRINTED}end\n", [], $normal), '', 'and nothing else';
is prints('in BEGIN', "${PRINTED}end\n", [], $begins), '', 'and nothing else';
is prints($_, "${PRINTED}end\n", [$_], $normal), '', 'and nothing else' for qw(-w -X -T -t);

subtest '-c' => sub {
    is prints('-c', '', ['-c'], $normal), "$normal syntax OK\n", 'only compiled';
    is prints('-c with BEGIN', "${PRINTED}end\n", ['-c'], $begins), "$begins syntax OK\n", 'what is open at its end says nothing';
    my $others = program('others', "$EVERYTHING\nCHECK { everything() } INIT { print \"init\\n\" } END { print \"end\\n\" }\n");
    is prints('-c with CHECK', $PRINTED, ['-c'], $others), "$others syntax OK\n", 'nor at this';
};

# perl's debugger, which runs to the end, and a debugger of a user, by whose DB::sub all calls go.
subtest '-d' => sub {
    local $ENV{HOME}        = "$folder";
    local $ENV{PERLDB_OPTS} = "NonStop=1 noTTY=1 ReadLine=0 LineInfo=$folder/lines";
    is prints("perl's", "${PRINTED}end\n", ['-d'], $normal), '', 'and nothing else';
    local $ENV{PERL5DB} = '{ package DB; sub DB { } '
        . 'sub sub { print "by DB::sub\n" if $DB::sub eq "main::got"; return &$DB::sub } }';
    (my $expected = "${PRINTED}end\n") =~ s/^(?=got)/by DB::sub\n/m;
    is prints('another', $expected, ['-d'], $normal), '', 'and nothing else';
};

# Each statement is run by a runops loop of somebody else: B and Carp look at frames while we are called.
subtest 'callers' => sub {
    my $file = program('callers', <<'PROGRAM');
use Carp ();
my $context = EV::Websockets::Context->new;
my $port = $context->listen(host => '127.0.0.1', on_handshake => sub { print Carp::longmess('here') =~ /here at / ? "named\n" : "nothing\n"; 1 },
    on_connect => sub { my @c = caller 0; print "$c[3]\n"; EV::break });
my $conn = $context->connect(url => "ws://127.0.0.1:$port/");
EV::run;
PROGRAM
    is prints('a callback that asks who called it', "named\nmain::__ANON__\n", [], $file), '', 'and nothing else';
};

finish;
