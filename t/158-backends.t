use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

use Certificates;
use EV;
use Program;
use Run;

# libev has a backend for each way in which a system tells what is ready, and LIBEV_FLAGS picks one. They
# differ in what becomes of a descriptor that is closed, or watched for other things, within a turn.

my %flag = (select => 1, poll => 2, epoll => 4, kqueue => 8, linuxaio => 64, iouring => 128);

my $made = Certificates->new;
$made->ca('ca');
$made->issue('server', issuer => 'ca');
my %tls = $made->listen_with('server');
my $path = $made->file('socket');

my $PROGRAM = <<'PROGRAM';
use strict; use warnings;
use EV; use EV::Websockets;
use POSIX ();
$| = 1;
$SIG{ALRM} = sub { print "late\n"; POSIX::_exit(1) };
alarm 60;
my ($how, $path, $ca, %tls) = @ARGV;
my $loop = $how eq 'own' ? EV::Loop->new($ENV{LIBEV_FLAGS}) : EV::default_loop();
print "backend ", $loop->backend, "\n";

# Numbered messages that come back, over every kind of connection, while others come and go.
sub talk {
    my $server = EV::Websockets::Context->new(loop => $loop);
    my $client = EV::Websockets::Context->new(loop => $loop, ssl_ca => $ca);
    my %echo = (on_message => sub { $_[0]->send($_[1]) });
    my %url = (
        tcp     => 'ws://127.0.0.1:' . $server->listen(%echo) . '/',
        deflate => 'ws://127.0.0.1:' . $server->listen(%echo, deflate => 1) . '/',
        tls     => 'wss://127.0.0.1:' . $server->listen(%echo, %tls) . '/',
    );
    $server->listen(%echo, path => "$path.$$");
    $url{unix} = "ws+unix:$path.$$:/";
    my ($left, $brief) = (scalar keys %url, 0);
    my $next; $next = sub {
        my ($url) = @_;
        return if $brief++ >= 40;
        $client->connect(url => $url, on_connect => sub { $_[0]->send('x') }, on_error => sub { print "$_[1]\n" },
            on_message => sub { $brief % 2 ? $_[0]->close : $_[0]->abort },
            on_close => sub { $next->($url) });
    };
    for my $kind (sort keys %url) {
        my ($sent, $got) = (0, 0);
        my $more = sub {
            my ($conn) = @_;
            my $n = ++$sent;
            $conn->send($n . ' ' . 'x' x (($n * 7919) % 100_000));
        };
        $client->connect(
            url        => $url{$kind},
            deflate    => $kind eq 'deflate',
            on_connect => sub { $more->($_[0]) for 1 .. 5 },
            on_message => sub {
                my ($conn, $message) = @_;
                $got++;
                $message eq $got . ' ' . 'x' x (($got * 7919) % 100_000) or print "$kind: not message $got\n";
                if ($got % 7 == 0) {
                    $conn->pause_recv;
                    my $later; $later = $loop->timer(0, 0, sub { undef $later; $conn->resume_recv });
                }
                $got == 60 ? $conn->close : $sent < 60 && $more->($conn);
            },
            on_error => sub { print "$kind: $_[1]\n" },
            on_close => sub { print "$kind: closed with $_[1]\n" if $_[1] != 1000; $loop->break if !--$left },
        );
        $next->($url{$kind});
    }
    $loop->run;
    undef $next;
    return;
}

talk();
print "talked\n";
# A child goes on with a loop of its own kernel objects, as does the parent.
my $idle = EV::Websockets::Context->new(loop => $loop);
my $port = $idle->listen;
defined(my $pid = fork) or die "fork: $!";
if (!$pid) {
    $loop->loop_fork;
    talk();
    print "the child talked\n";
    POSIX::_exit(0);
}
waitpid $pid, 0;
print "the child: $?\n" if $?;
# libev's own parent waits for ever behind a fork with io_uring, with any watcher: the ring is shared memory.
talk() if $loop->backend != 128;
print "talked again\n";
PROGRAM

my $file = $made->file('program.pl');
open my $out, '>', $file or die "$file: $!";
print {$out} $PROGRAM;
close $out or die "$file: $!";

my $works = 0;
for my $name (sort { $flag{$a} <=> $flag{$b} } keys %flag) {
    for my $how ('default', 'own') {
        next if $how eq 'own' && !(EV::supported_backends() & $flag{$name});
        local $ENV{LIBEV_FLAGS} = $flag{$name};
        SKIP: {
            skip "$name: not on this system", 1 if !(EV::supported_backends() & $flag{$name});
            my $run = run_program(90, $file, $how, $path, $made->file('ca.pem'), %tls);
            # The kernel may not have what libev was built for.
            my ($backend) = $run->{out} =~ s/\Abackend (\d+)\n// ? $1 : 0;
            skip "$name: libev takes $backend here", 1 if $backend != $flag{$name};
            $works++;
            is "$run->{out}$run->{err}", "talked\nthe child talked\ntalked again\n", "$name, $how loop";
            is $run->{status}, 0, "$name, $how loop: status";
        }
    }
}
cmp_ok $works, '>', 0, 'there is a backend';

finish;
