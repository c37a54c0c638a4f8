use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Events;
use Errno ();
use Pair;
use POSIX ();
use RawServer;
use Run;
use Socket ();
use Test::More;
use Time::HiRes ();

# Host names: looked up without holding up the loop.

# localhost, and the upper case of it.
for my $host (qw(localhost LocalHost)) {
    my $listening = Pair->listen(listen => { on_message => sub { $_[0]->send($_[1]) } });
    my $events = Events->new;
    my $conn = $listening->context->connect(
        url => "ws://$host:" . $listening->port . '/',
        $events->handlers(on_connect => sub { $_[0]->send('found') }),
    );
    is($conn->state, 'connecting', "$host: connecting");
    run_until(sub { $events->count('message') || $events->count('error') }, "$host: looked up");
    is($events->order, 'connect message', "$host: connected");
    like($conn->peer_address, qr/\A(?:127\.0\.0\.1|::1)\z/, "$host: the address it has");
    $conn->close;
    run_until(sub { $events->count('close') }, "$host: closed");
}

# A name that does not exist ends in on_error, and timers go on meanwhile.
{
    my $events  = Events->new;
    my $context = EV::Websockets::Context->new;
    my $ticks   = 0;
    my $timer   = EV::timer(0.01, 0.01, sub { $ticks++ });
    my $before  = Time::HiRes::time();
    my $conn = $context->connect(url => 'ws://no-such-host.invalid/', $events->handlers);
    is_deeply($events->log, [], 'no callback inside connect');
    run_until(sub { @{ $events->log } }, 'an unknown name');
    my $took = Time::HiRes::time() - $before;
    settle();
    is($events->order, 'error', 'ends in one on_error');
    like($events->last_of('error')->[0], qr/no-such-host\.invalid/, 'that names it');
    is($conn->state, 'closed', 'closed');
    ok($ticks > 0 || $took < 1, 'a timer ran meanwhile, unless there was no time to');
}

# Names that no resolver can know.
for my $host ('a' x 64 . '.invalid', 'x.' x 130 . 'invalid', '256.256.256.256', '-.invalid') {
    my $events = Events->new;
    my $context = EV::Websockets::Context->new;
    my $shown = length $host > 30 ? substr($host, 0, 20) . '...' : $host;
    my $made = eval { $context->connect(url => "ws://$host:9/", $events->handlers); 1 };
    if ($made) {
        run_until(sub { @{ $events->log } }, "$shown: decided");
        is($events->order, 'error', "$shown: on_error");
    }
    else {
        like($@, qr/url/i, "$shown: refused by connect");
    }
}

# A deadline covers the lookup too, and a connection that was given up does not
# come back when the answer does.
{
    my $events = Events->new;
    my $context = EV::Websockets::Context->new;
    $context->connect(url => 'ws://no-such-host.invalid/', connect_timeout => 0.001, $events->handlers);
    run_until(sub { @{ $events->log } }, 'a lookup under a deadline');
    settle();
    is($events->order, 'error', 'one on_error');
}

# A context that goes away during a lookup.
{
    my $events = Events->new;
    my $context = EV::Websockets::Context->new;
    my $conn = $context->connect(url => 'ws://no-such-host.invalid/', $events->handlers);
    undef $context;
    settle();
    is_deeply($events->log, [], 'no callback once the context is gone');
    is($conn->state, 'closed', 'the connection is closed');
}

# A server at one of the addresses of a name is found there; one at none of them is told of with all.
# Where localhost has both families, this is a race of the two.
sub addresses_of_localhost {
    my ($error, @found) = eval { Socket::getaddrinfo('localhost', 9, { socktype => Socket::SOCK_STREAM() }) };
    my %seen;
    return grep { !$seen{$_}++ } map { (eval { Socket::getnameinfo($_->{addr}, 1) })[1] || () } @found;    # 1: numeric
}
{
    my @addresses = addresses_of_localhost();
    note("localhost is @addresses");
    for my $ip (@addresses) {
        my $server = RawServer->new(host => $ip);
        my $events = Events->new;
        my $context = EV::Websockets::Context->new;
        my $conn = $context->connect(url => 'ws://localhost:' . $server->port . '/', $events->handlers);
        run_until(sub { @{ $events->log } }, "localhost, with a server at $ip");
        is($events->order, 'connect', "found at $ip");
        is($conn->peer_address, $ip, "connected to $ip");
        $server->last_peer->send_frame(1, 'hello');
        run_until(sub { $events->count('message') }, "a message from $ip");
    }
    my $events  = Events->new;
    my $context = EV::Websockets::Context->new;
    my $port    = RawServer::unused_port();
    my $refused = do { local $! = Errno::ECONNREFUSED(); "$!" };
    $context->connect(url => "ws://localhost:$port/", $events->handlers);
    run_until(sub { @{ $events->log } }, 'localhost, with no server at all');
    my $text = $events->last_of('error')->[0];
    like($text, qr/connect to \Q$_\E:$port: \Q$refused\E/, "the error lists $_")
        for map { /:/ ? "[$_]" : $_ } @addresses;
}

# A child that is forked in the middle of a lookup has no part in its answer, and
# does not keep it from the parent.
{
    my $server = RawServer->new;
    my $events = Events->new;
    my $context = EV::Websockets::Context->new;
    $context->connect(url => 'ws://localhost:' . $server->port . '/', $events->handlers);
    my $pid = fork;
    die "fork: $!" if !defined $pid;
    if (!$pid) {
        settle();
        undef $context;
        POSIX::_exit(scalar @{ $events->log });
    }
    waitpid $pid, 0;
    is($?, 0, 'a forked child that runs the loop sees nothing of the lookup');
    run_until(sub { @{ $events->log } }, 'the parent gets its answer');
    is($events->order, 'connect', 'and connects');
}

# Many lookups at once.
{
    my $listening = Pair->listen;
    my @events = map { Events->new } 1 .. 20;
    $listening->context->connect(url => 'ws://localhost:' . $listening->port, $_->handlers) for @events;
    run_until(sub { !grep { !@{ $_->log } } @events }, 'twenty lookups at once');
    is(scalar(grep { $_->order eq 'connect' } @events), 20, 'all connected');
}

# Looking names up leaves nothing behind that keeps the loop alive.
{
    my $context = EV::Websockets::Context->new;
    my $errors = 0;
    $context->connect(url => 'ws://no-such-host.invalid/', on_error => sub { $errors++ });
    EV::run();
    is($errors, 1, 'EV::run returns by itself, after the on_error');
}

finish();
