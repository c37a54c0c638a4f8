use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Events;
use IO::Socket::INET;
use POSIX ();
use RawPeer;
use RawServer;
use Run;
use Socket qw(SO_REUSEPORT);
use Test::More;

# eg/prefork.pl as a server: a worker that is killed is replaced, a reload tells
# the clients and brings in new workers, and the end leaves no process behind.

plan skip_all => 'no SO_REUSEPORT here' if !defined eval { SO_REUSEPORT() };

my $port = RawServer::unused_port();
my $said = '';
my ($master, $reader) = do {
    pipe my $r, my $w or die "pipe: $!";
    my $pid = fork;
    die "fork: $!" if !defined $pid;
    if (!$pid) {
        $SIG{__WARN__} = 'DEFAULT';
        alarm 0;
        open STDOUT, '>&', $w;
        { no warnings 'exec'; exec { $^X } $^X, (map { "-I$_" } grep { !ref } @INC), "$FindBin::Bin/../eg/prefork.pl", $port }
        POSIX::_exit(127);
    }
    ($pid, $r);
};
my $eof = 0;
my $status;
my $watcher;
$watcher = EV::io($reader, EV::READ, sub {
    if (!sysread $reader, $said, 65536, length $said) { $eof = 1; undef $watcher }
});
END { kill KILL => $master if $master && !defined $status }    # its workers end with it

my $child = EV::child($master, 0, sub { $status = $_[0]->rstatus });
my $context = EV::Websockets::Context->new;

# A client that was greeted by a worker, and the worker's id and generation. One
# that is about to end may be met first.
sub client {
    my ($wanted, $name) = @_;
    my ($events, @worker);
    my $good = wait_until(sub {
        $events = undef if $events && $events->count('close') + $events->count('error');
        if (!$events) {
            $events = Events->new;
            $events->{c} = $context->connect(url => "ws://127.0.0.1:$port/",
                $events->handlers(on_connect => sub { $_[0]->send('hello') }));
        }
        @worker = map { /\Aworker (\d+), generation (\d+): hello\z/ } $events->messages;
        return @worker && $worker[1] == $wanted;
    });
    ok($good, $name);
    return ($events, $worker[0]);
}

run_until(sub { $said =~ /^master $master: \d+ workers at port $port$/m }, 'it has started');
my ($first, $victim) = client(1, 'a client is served');
isnt($victim, $master, 'by a worker');
kill KILL => $victim;
run_until(sub { $first->count('close') }, 'the worker is killed');
is_deeply($first->last_of('close'), [ 1006, undef ], 'which its client sees');
run_until(sub { $said =~ /^master: worker $victim has died \(status 9\)\nmaster: replaced$/m }, 'the master replaces it');
my ($second, $other) = client(1, 'clients are served again');
isnt($other, $victim, 'by others');

kill HUP => $master;
run_until(sub { $second->count('close') }, 'a reload');
is_deeply($second->last_of('close'), [ 1001, 'try again' ], 'tells the clients of old workers');
my ($third, $new) = client(2, 'who are served by new ones');
isnt($new, $other, 'in other processes');
run_until(sub { !kill 0, $other }, 'the old worker ends');
ok(kill(0, $new), 'the new one goes on');

kill TERM => $master;
run_until(sub { $third->count('close') && $eof && defined $status }, 'the end');
is_deeply($third->last_of('close'), [ 1001, 'try again' ], 'is told as well');
is($status, 0, 'the master ends well');
like($said, qr/^master: all workers have ended\n\z/m, 'after its workers');
ok(!kill(0, $new), 'nobody is left behind');
ok(!IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port), 'nor listens');

finish();
