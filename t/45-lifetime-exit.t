use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

use EV::Websockets;
use File::Temp qw(tempfile);
use Run;
use Stage;

# The end of a program: exit inside a callback, and global destruction with
# everything still open. Nothing may be printed, and the status is the program's own.

# Runs a program in a perl of its own; its wait status and all it printed.
our $perl = $^X;

sub outcome {
    my ($program, @arguments) = @_;
    my ($fh, $file) = tempfile(UNLINK => 1);
    print {$fh} "use strict; use warnings; use EV; use EV::Websockets;\n$program";
    close $fh;
    my $pid = open my $out, '-|';
    die "fork: $!" unless defined $pid;
    if (!$pid) {
        open STDERR, '>&', \*STDOUT;
        exec { $perl } $perl, (map { "-I$_" } @INC), $file, @arguments;
        die "exec: $!";
    }
    my $printed = do { local $/; <$out> };
    close $out;
    return ($?, $printed);
}

sub ends_quietly {
    my ($what, $status, $program, @arguments) = @_;
    my ($got, $printed) = outcome($program, @arguments);
    is $got, $status << 8, "$what: status";
    is $printed, '', "$what: nothing printed";
    return;
}

for my $case (Stage::cases()) {
    my ($callback, $role) = @$case;
    ends_quietly("exit in $callback ($role)", 7, <<'PROGRAM', $callback, $role);
use Stage;
my $stage = Stage->new(callback => $ARGV[0], role => $ARGV[1], action => sub { exit 7 });
$stage->play;
exit 1;
PROGRAM
}

# exec in a callback, and what the other program finds: none of the sockets is its own.
for my $case (Stage::cases()) {
    my ($callback, $role) = @$case;
    ends_quietly("exec in $callback ($role)", 8, <<'PROGRAM', $callback, $role);
use Stage;
my $OTHER = 'my $sockets = grep { (readlink($_) || "") =~ /socket|eventfd|eventpoll/ } glob "/proc/self/fd/*";
    print "$sockets descriptors are left\n" if $sockets; exit 8';
my $stage = Stage->new(callback => $ARGV[0], role => $ARGV[1], action => sub { exec $^X, '-e', $OTHER });
$stage->play;
exit 1;
PROGRAM
}

ends_quietly('exit in on_request', 7, <<'PROGRAM');
use RawPeer;
my $context = EV::Websockets::Context->new;
my $port = $context->listen(on_request => sub { exit 7 });
my $peer = RawPeer->connect($port)->put("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
EV::run;
PROGRAM

for my $kept ('our $kept', 'my $kept') {
    ends_quietly("the end of a program with a handshake to decide, $kept", 0, <<"PROGRAM");
use RawPeer;
my \$context = EV::Websockets::Context->new;
$kept;
my \$port = \$context->listen(on_handshake => sub { \$kept = \$_[1]; EV::break; return \$_[1] });
my \$peer = RawPeer->connect(\$port)->upgrade;
EV::run;
exit 1 unless \$kept->is_pending;
PROGRAM
}

ends_quietly('the end of a program that is connected', 0, <<'PROGRAM');
my ($context, $up) = EV::Websockets::Context->new;
my $port = $context->listen(on_connect => sub { $up = 1; EV::break });
my $conn = $context->connect(url => "ws://127.0.0.1:$port/");
EV::run;
exit 1 unless $up;
PROGRAM

# A server and clients in every state, held in every kind of variable.
my $OPEN = <<'PROGRAM';
use POSIX ();
our ($context, @conn, $connected);
$SIG{ALRM} = sub { print "late\n"; POSIX::_exit(1) };
alarm 60;
sub listener {
    my ($context) = @_;
    return $context->listen(
        on_handshake => sub { 1 },
        on_connect   => sub { push @conn, $_[0]; $_[0]->stash->{self} = $_[0]; $_[0]->send('x' x 100) for 1 .. 10 },
        map { ("on_$_" => sub { print "callback\n" if ${^GLOBAL_PHASE} eq 'DESTRUCT' } ) } qw(message close error pong drain),
    );
}
sub clients {
    my ($context, $port) = @_;
    return map {
        $context->connect(
            url        => "ws://127.0.0.1:$port/",
            on_connect => sub { $connected++; $_[0]->send_binary('y' x 100_000); EV::break if $connected == 5 },
            on_message => sub { $_[0]->send('z') },
            on_close   => sub { print "closed\n" },
        )
    } 1 .. 5;
}
PROGRAM

# ${^GLOBAL_PHASE} came with 5.14.
$OPEN =~ s/\$\{\^GLOBAL_PHASE\} eq 'DESTRUCT'/0/ if $] < 5.014;

my %ends = (
    'lexicals of the file'    => 'my $c = EV::Websockets::Context->new; my @x = clients($c, listener($c)); EV::run;',
    'package variables'       => '$context = EV::Websockets::Context->new; push @conn, clients($context, listener($context)); EV::run;',
    'a context in a closure'  => 'my $c = EV::Websockets::Context->new; my $p = listener($c); my $k = sub { $c }; my @x = clients($k->(), $p); EV::run;',
    'a cycle'                 => 'my $c = EV::Websockets::Context->new; my $h = { c => $c }; $h->{h} = $h; my ($x) = clients($c, listener($c)); $x->stash->{x} = $x; EV::run;',
    'never run'               => 'my $c = EV::Websockets::Context->new; my @x = clients($c, listener($c));',
    'connections only'        => 'my $c = EV::Websockets::Context->new; @conn = clients($c, listener($c)); EV::run; undef $c;',
    'connecting by name'      => 'my $c = EV::Websockets::Context->new; my $p = listener($c); $c->connect(url => "ws://localhost:$p/"); EV::run(EV::RUN_NOWAIT);',
    'after a name'            => 'my $c = EV::Websockets::Context->new; my $p = listener($c); $c->connect(url => "ws://localhost:$p/", on_connect => sub { EV::break }); EV::run;',
    'closing'                 => 'my $c = EV::Websockets::Context->new; my @x = clients($c, listener($c)); EV::run; $_->close for @x;',
    'a loop of its own'       => 'my $l = EV::Loop->new; my $c = EV::Websockets::Context->new(loop => $l); my @x = clients($c, listener($c)); my $t = $l->timer(0.05, 0, sub { $l->break }); $l->run;',
    'a loop that goes first'  => 'my $l = EV::Loop->new; our $c = EV::Websockets::Context->new(loop => $l); our @x = clients($c, listener($c)); undef $l;',
    'a callback still to run' => 'my $c = EV::Websockets::Context->new; my @x = clients($c, listener($c)); $_->send("x") for grep { $_->is_connected } @x;',
    'in an END block'         => 'my $c = EV::Websockets::Context->new; my @x = clients($c, listener($c)); EV::run; END { $_->send("bye") for $c->connections; EV::run(EV::RUN_NOWAIT) }',
);
for my $what (sort keys %ends) {
    ends_quietly("global destruction: $what", 0, $OPEN . $ends{$what});
}

# A perl that was built with -DDEBUGGING takes everything apart if it is told to, and says
# what it finds twice.
SKIP: {
    my ($other) = grep { -x } map { "$_/debugperl" } split /:/, $ENV{PATH} || '';
    skip 'no debugperl here', 1 if !$other;
    my $which = 'use Config; print "$^V $Config{archlibexp}"';
    skip 'debugperl is not of this perl', 1 if `$other -e '$which'` ne `$^X -e '$which'`;
    local $perl = $other;
    local $ENV{PERL_DESTRUCT_LEVEL} = 2;
    for my $what (sort keys %ends) {
        ends_quietly("PERL_DESTRUCT_LEVEL=2: $what", 0, $OPEN . $ends{$what});
    }
}

finish;
