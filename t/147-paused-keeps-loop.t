use strict;
use warnings;
use EV;
use EV::Websockets;
use Test::More;

# A paused connection waits for nothing, and yet it keeps EV::run going: the loop of a program that pauses its
# only connection for a while would end under it. Its keepalive is off: that alone has a timer, behind which nobody saw
# whether the connection was enough.

$SIG{__WARN__} = sub { fail("no warning: $_[0]") };

pipe(my $read, my $write) or die "pipe: $!";
my $child = fork;
defined $child or die "fork: $!";
if (!$child) {
    EV::default_loop()->loop_fork;
    close $read;
    my $server = EV::Websockets::Context->new(proxy => '');
    my $port = $server->listen(port => 0, on_close => sub { EV::break });
    syswrite $write, "$port\n";
    my $patience = EV::timer(60, 0, sub { EV::break });
    EV::run;
    exit 0;
}
close $write;
chomp(my $port = <$read>);

my $context = EV::Websockets::Context->new(proxy => '');
ok(!EV::run(EV::RUN_NOWAIT), 'nothing keeps the loop');
my $closed;
my $conn = $context->connect(
    url           => "ws://127.0.0.1:$port/",
    ping_interval => 0,
    on_connect    => sub { $_[0]->pause_recv; EV::break },
    on_error      => sub { diag $_[1]; EV::break },
    on_close      => sub { $closed = 1 },
);
EV::run;
ok($conn->is_connected, 'connected');
ok(EV::run(EV::RUN_NOWAIT), 'paused, it keeps the loop') for 1 .. 3;
$conn->resume_recv;
ok(EV::run(EV::RUN_NOWAIT), 'resumed as well');
$conn->close;
EV::run;
ok($closed, 'closed');
ok(!EV::run(EV::RUN_NOWAIT), 'and then it does not');
waitpid $child, 0;
done_testing;
