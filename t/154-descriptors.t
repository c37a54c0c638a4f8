use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Errno ();
use Pair;
use RawPeer;
use RawServer;
use Run;
use Test::More;
use Time::HiRes ();

# Running out of file descriptors: accepting waits and goes on, nothing spins.

# The file runs itself again with a limit of its own.
if (!$ENV{EVWS_TEST_LIMITED}) {
    $ENV{EVWS_TEST_LIMITED} = 1;
    my @perl = ($^X, (map { "-I$_" } @INC), $0);
    exec 'sh', '-c', 'ulimit -n 64; exec "$@"', 'sh', @perl or die "cannot run sh: $!";
}

my $pair = Pair->open(listen => { on_message => sub { $_[0]->send($_[1]) } });
my @waiting = map { RawPeer->connect($pair->port)->upgrade } 1 .. 5;

# They are in the listener's backlog; now there is no descriptor left.
my @fillers;
while (open my $null, '<', '/dev/null') { push @fillers, $null }
cmp_ok(scalar @fillers, '<', 64, 'out of descriptors');

{
    my ($before, $over) = (0, 0);
    EV::now_update();
    my $timer = EV::timer(1, 0, sub { $over = 1 });
    my $cpu = sub { my @times = times; $times[0] + $times[1] };
    $before = $cpu->();
    run_until(sub { $over }, 'a second passes');
    cmp_ok($cpu->() - $before, '<', 0.5, 'without spinning');
    is($pair->server->count('connect'), 1, 'nobody was accepted');
    $pair->c->send('served');
    run_until(sub { $pair->client->count('message') }, 'a connection that is there is served');
}

# A connect has no descriptor either: it croaks or fails, with the reason.
{
    my $why = do { local $! = Errno::EMFILE(); "$!" };
    my $events = Events->new;
    if (eval { $pair->context->connect(url => 'ws://127.0.0.1:' . $pair->port, $events->handlers); 1 }) {
        run_until(sub { @{ $events->log } }, 'a connect without a descriptor');
        is($events->order, 'error', 'fails');
        like($events->last_of('error')->[0], qr/\Q$why\E/, 'and says why');
    }
    else {
        like($@, qr/\Q$why\E/, 'a connect without a descriptor says why');
    }
    croaks_like { $pair->context->listen } qr/listen: failed to bind port: .*\Q$why\E/, 'and so does a listen';
}

@fillers = ();
run_until(sub { 5 == grep { $_->head } @waiting }, 'with descriptors again, all five are accepted');
is(scalar(grep { $_->status == 101 } @waiting), 5, 'and upgraded');
run_until(sub { $pair->server->count('connect') == 6 }, 'as on_connect says');

# One after the other becoming free is enough.
{
    my @more = map { RawPeer->connect($pair->port)->upgrade } 1 .. 5;
    while (open my $null, '<', '/dev/null') { push @fillers, $null }
    settle();
    for my $n (1 .. 5) {
        shift @fillers;
        run_until(sub { $n == grep { $_->head } @more }, "one descriptor more, one connection more: $n");
    }
}

finish();
