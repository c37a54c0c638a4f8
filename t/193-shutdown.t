use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Events;
use File::Temp qw(tempdir);
use Frame;
use HttpPeer;
use IO::Socket::INET;
use RawPeer;
use RawServer;
use Run;
use Scalar::Util qw(weaken);
use Test::More;

# shutdown: nobody new, a Close to everybody, a wait that has an end.

sub refused { my ($port) = @_; return !IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) }

# A context that listens, with its events.
sub server {
    my (%o) = @_;
    my $events = Events->new;
    my $self = { events => $events, context => EV::Websockets::Context->new };
    $self->{port} = $self->{context}->listen($events->handlers(%o));
    return $self;
}

sub raw {
    my ($self) = @_;
    my $peer = RawPeer->connect($self->{port})->upgrade;
    my $before = $self->{events}->count('connect');
    wait_until(sub { $peer->head && $self->{events}->count('connect') > $before }) or die 'no connection';
    return $peer;
}

# Everybody is told and waited for, and then cb is called, once.
{
    my $server = server();
    my $elsewhere = EV::Websockets::Context->new;
    my @clients = map { Events->new } 1 .. 3;
    $elsewhere->connect(url => "ws://127.0.0.1:$server->{port}/", $_->handlers) for @clients;
    run_until(sub { 3 == grep { $_->count('connect') } @clients and $server->{events}->count('connect') == 3 }, 'three clients');
    my @cut;
    $_->send('last words') for $server->{context}->connections;
    my $peer = raw($server);
    $server->{context}->shutdown(timeout => 3600, cb => sub { push @cut, $_[0] });
    is_deeply(\@cut, [], 'cb is not called inside of shutdown');
    ok(refused($server->{port}), 'new clients are refused');
    is(join(' ', map { $_->state } $server->{context}->connections), 'closing closing closing closing', 'all are closing');
    run_until(sub { $peer->close_read && 3 == grep { $_->count('close') } @clients }, 'everybody hears of it');
    is_deeply($_->last_of('close'), [ 1001, undef ], 'with 1001') for @clients;
    is_deeply([ $_->messages ], ['last words'], 'after what was queued') for @clients;
    is_deeply(\@cut, [], 'cb waits for the one that has not answered');
    $peer->send_close(1001);
    run_until(sub { @cut }, 'cb comes when it has');
    is_deeply(\@cut, [0], 'nobody was cut');
    is($server->{events}->count('close'), 4, 'every on_close came');
    settle();
    is(scalar @cut, 1, 'once');
    croaks_with { $server->{context}->connect(url => 'ws://127.0.0.1:1/') }
        'connect: the context has been shut down', 'nothing is connected any more';
    croaks_with { $server->{context}->listen } 'listen: the context has been shut down', 'nor listened at';
    $server->{context}->shutdown(cb => sub { push @cut, 'again' });
    run_until(sub { @cut == 2 }, 'a shutdown of what is shut down is over soon');
    undef $elsewhere;
    EV::run();
    pass('nothing keeps the loop alive, and no timer');
}

# Nothing to close: in the next turn.
{
    my $context = EV::Websockets::Context->new;
    my $done = 0;
    $context->shutdown(cb => sub { $done++ });
    is($done, 0, 'not at once');
    EV::run();
    is($done, 1, 'in the loop, which ends with it');
    $context->shutdown;
    EV::run();
    pass('cb can be left out');
}

# Whoever does not answer is cut; code and reason; what a paused connection holds does not matter.
{
    my $server = server();
    my @peers = map { raw($server) } 1 .. 3;
    my ($paused) = $server->{context}->connections;
    $paused->pause_recv;
    my $cut;
    $server->{context}->shutdown(timeout => 0.2, code => 1012, reason => 'restart', cb => sub { $cut = $_[0] });
    run_until(sub { 3 == grep { $_->close_read } @peers }, 'three are told');
    is_deeply([ $_->close_read ], [ 1012, 'restart' ], 'in the words of the program') for @peers;
    $peers[0]->send_close(1000, 'well');
    run_unticked(sub { defined $cut }, 'the time is over');
    is($cut, 2, 'two were cut');
    is_deeply([ sort map { $_->[2] } grep { $_->[0] eq 'close' } @{ $server->{events}->log } ], [ 1000, 1006, 1006 ],
        'on_close says who');
    run_until(sub { 3 == grep { $_->eof } @peers }, 'all see the end');
}
{
    my $server = server();
    my $peer = raw($server);
    my $cut;
    $server->{context}->shutdown(timeout => 0, cb => sub { $cut = $_[0] });
    run_unticked(sub { defined $cut }, 'timeout 0');
    is($cut, 1, 'waits for nobody');
    run_until(sub { $peer->eof }, 'the peer sees the end');
    is(scalar($peer->close_read), 1, 'and the Close before it');
}

# Clients on their way, in every phase, at both ends.
{
    my @asked;
    my $server = server(on_handshake => sub { push @asked, $_[1]; return $_[1] });
    my $silent  = RawPeer->connect($server->{port});
    my $begun   = RawPeer->connect($server->{port})->put("GET / HTTP/1.1\r\nHo");
    my $decided = RawPeer->connect($server->{port})->upgrade;
    my $waiting = RawServer->new(answer => sub { });
    my $client  = Events->new;
    my $conn = $server->{context}->connect(url => 'ws://127.0.0.1:' . $waiting->port, $client->handlers);
    run_until(sub { @asked && $waiting->last_peer && $waiting->last_peer->head }, 'all are on their way');
    settle();
    my $done;
    $server->{context}->shutdown(timeout => 3600, cb => sub { $done = 1 });
    is($conn->state, 'closing', 'the client that connects is given up');
    run_until(sub { $decided->head && $begun->head }, 'those that wait for an answer get one');
    is($decided->status, 503, 'instead of the decision');
    is($begun->status, 503, 'and so does a request that has begun');
    is_deeply($server->{context}->stats->{rejected}, { shutdown => 3 }, 'nobody is said to have been too slow');
    run_until(sub { $silent->eof && $begun->eof && $decided->eof }, "the server's ends are closed");
    run_until(sub { $waiting->last_peer->eof }, "and so is the client's");
    $_->hang_up for $silent, $begun, $decided;
    run_until(sub { $done }, 'then it is over');
    is($client->order, 'error', 'the client had one on_error');
    is_deeply($client->last_of('error'), ['the context is shutting down'], 'which says why');
    is($conn->state, 'closed', 'and is closed');
    ok(!$asked[0]->accept, 'a decision comes too late');
    settle();
    is($server->{events}->order, '', 'the server heard of nobody');
}

# A request that lay unread when the shutdown began was counted as one that took too long.
{
    my $server = server(on_handshake => sub { 1 });
    my $peer = RawPeer->connect($server->{port});
    run_until(sub { $server->{context}->stats->{handshakes} }, 'a client that was accepted');
    my $done;
    my $timer = EV::timer(0, 0, sub {
        syswrite $peer->{fh}, $peer->request;
        select undef, undef, undef, 0.05;
        $server->{context}->shutdown(timeout => 3600, cb => sub { $done = 1 });
    });
    run_until(sub { $peer->eof }, 'asks, and is read after the shutdown has begun');
    is($peer->status, 503, 'it gets a 503');
    $peer->hang_up;
    run_until(sub { $done }, 'the shutdown ends');
    is_deeply($server->{context}->stats->{rejected}, { shutdown => 1 }, 'and that is why');
}

# In the middle of a request that on_request has yet to answer: it gets a 503, and the answer comes too late.
{
    my ($server, $done);
    $server = server(on_request => sub {
        $server->{context}->shutdown(timeout => 3600, cb => sub { $done = "cut $_[0]" });
        return [ 200, [], ['too late'] ];
    });
    my $asks = RawPeer->connect($server->{port})->put("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    run_until(sub { $asks->eof }, 'a shutdown while a request is answered');
    is($asks->status, 503, 'answers it itself');
    unlike($asks->rest, qr/too late/, 'and nothing follows');
    $asks->hang_up;
    run_until(sub { $done }, 'it is over');
    is($done, 'cut 0', 'and nobody was cut');
}

# Sockets that were adopted are no different.
{
    my $listening = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Listen => 5) or die "listen: $!";
    my $context   = EV::Websockets::Context->new;
    my (@peers, @events, @kept);
    for (1 .. 2) {
        push @peers, RawPeer->connect($listening->sockport);
        push @kept, scalar $listening->accept;
        push @events, Events->new;
        $context->adopt(fh => $kept[-1], $events[-1]->handlers);
    }
    $peers[0]->upgrade;
    run_until(sub { $events[0]->count('connect') && $peers[0]->head }, 'one is open, and one is waited for');
    my $done;
    $context->shutdown(timeout => 3600, cb => sub { $done = "cut $_[0]" });
    run_until(sub { $peers[0]->close_read && $peers[1]->head }, 'both are told');
    is($peers[1]->status, 503, 'each in its way');
    $peers[0]->send_close(1001);
    $peers[1]->hang_up;
    run_until(sub { $done }, 'both have ended');
    is($done, 'cut 0', 'in order');
    is($events[0]->order, 'connect close', 'the one that was open');
    is($events[1]->order, 'error', 'and the other');
    croaks_with { $context->adopt(fh => $kept[0]) } 'adopt: the context has been shut down', 'nothing is adopted any more';
}

# Further calls join: the time becomes shorter, never longer, and each cb is called.
{
    my $server = server();
    my $peer = raw($server);
    my @done;
    $server->{context}->shutdown(timeout => 3600, cb => sub { push @done, "a$_[0]" });
    settle();
    $server->{context}->shutdown(timeout => 0.1, cb => sub { push @done, "b$_[0]" });
    $server->{context}->shutdown(timeout => 3600, cb => sub { push @done, "c$_[0]" });
    run_unticked(sub { @done == 3 }, 'a second shutdown cuts what the first waits for');
    is("@done", 'a1 b1 c1', 'both are told');
}

# From inside of every callback of a connection, and a cb that drops the context.
for my $name (qw(connect message pong close drain)) {
    my ($context, $done, $seen);
    my $server = server("on_$name" => sub {
        return if $seen++;
        $context->shutdown(timeout => 30, cb => sub { $done = $_[0]; undef $context });
    });
    $context = delete $server->{context};
    my $client = Events->new;
    my $elsewhere = EV::Websockets::Context->new;
    my $conn = $elsewhere->connect(url => "ws://127.0.0.1:$server->{port}/", $client->handlers(
        on_connect => sub { $_[0]->send('hello'); $_[0]->send_pong; $_[0]->close if $name eq 'close' },
    ));
    my ($theirs) = ();
    run_until(sub {
        ($theirs) = $context ? $context->connections : ();
        $theirs->send('there') if $name eq 'drain' && $theirs && $theirs->is_connected && !$theirs->send_queue_size;
        undef $theirs;
        return defined $done;
    }, "from inside of on_$name");
    is($done, 0, "on_$name: nobody was cut");
    ok(!defined $context, "on_$name: the context can be dropped in cb");
    run_until(sub { $client->count('close') }, "on_$name: the client is closed");
    is($client->last_of('close')->[0], $name eq 'close' ? 1000 : 1001, "on_$name: with the right code");
}
{
    my ($context, $done);
    my $server = server(on_handshake => sub { $context->shutdown(cb => sub { $done = 1 }); return 1 });
    $context = $server->{context};
    my $peer = RawPeer->connect($server->{port})->upgrade;
    run_until(sub { $peer->eof }, 'from inside of on_handshake');
    is($peer->status, 503, 'the client of that handshake is turned away');
    $peer->hang_up;
    run_until(sub { $done }, 'and then it is over');
}

# cb dies; cb shuts down again and again; cb runs the loop.
{
    my $context = EV::Websockets::Context->new;
    my ($turns, $again) = (0);
    $again = sub { $turns++; $context->shutdown(cb => $again) if $turns < 5; die "on purpose\n" if $turns == 2 };
    $context->shutdown(cb => $again);
    run_until(sub { $turns == 5 }, 'cb can call shutdown');
    is_deeply([ warned() ], ["EV::Websockets: exception in shutdown handler: on purpose\n"], 'a cb that dies is told of');
    my $nested = 0;
    $context->shutdown(cb => sub { my $timer = EV::timer(0.01, 0, sub { $nested++; EV::break }); EV::run });
    run_until(sub { $nested }, 'cb can run the loop');
    undef $again;
}

# A context that ends before: cb is let go of, and never called.
{
    my $guard = { };
    my $called = 0;
    my $server = server();
    my $peer = raw($server);
    $server->{context}->shutdown(timeout => 3600, cb => do { my $kept = $guard; sub { $called++; $kept } });
    weaken $guard;
    ok(defined $guard, 'cb is held while it is waited for');
    undef $server->{context};
    ok(!defined $guard, 'the end of the context lets go of it');
    run_until(sub { $peer->eof }, 'the connection has ended');
    is($called, 0, 'it was not called');

    my $context = EV::Websockets::Context->new;
    my $done;
    my $other = { };
    $context->shutdown(cb => do { my $kept = $other; sub { $done = $kept ? 1 : 2 } });
    weaken $other;
    run_until(sub { $done }, 'one that was called');
    settle();
    ok(!defined $other, 'is let go of as well');
}

# The file of a Unix socket goes at once.
{
    my $dir = tempdir('evwsXXXXXX', TMPDIR => 1, CLEANUP => 1);
    my $context = EV::Websockets::Context->new;
    $context->listen(path => "$dir/s");
    $context->shutdown;
    ok(!-e "$dir/s", 'no file is left for others to connect to');
}

# Bad input changes nothing.
{
    my $server  = server();
    my $context = $server->{context};
    croaks_with { $context->shutdown('cb') } "odd number of options: key 'cb' has no value", 'odd';
    croaks_with { $context->shutdown(timeout => $_) } "shutdown: timeout must be a non-negative number (got '$_')",
        "timeout => $_" for -1, 'soon', '';
    croaks_with { $context->shutdown(code => $_) }
        "shutdown: invalid close code $_ (RFC 6455 allows 1000-1003, 1007-1014, 3000-4999)", "code => $_"
        for 0, 1005, 1006, 5000;
    croaks_with { $context->shutdown(code => $_) }
        "shutdown: invalid close code $_ (RFC 6455 allows 1000-1003, 1007-1014, 3000-4999)", "code => $_"
        for 1001.5, 'inf', 'nan', 1e300;
    croaks_with { $context->shutdown(code => 'bye') } "shutdown: invalid close code 'bye' (it is no number)", 'bye';
    croaks_like { $context->shutdown(reason => []) } qr/\Ashutdown: reason must be a string/, 'reason => []';
    croaks_like { $context->shutdown(cb => 1) } qr/\Ashutdown: cb must be a code reference \(got '1'\)/, 'cb => 1';
    is(scalar(() = $context->listeners), 1, 'the listener is there still');
    $context->shutdown(cb => undef, timeout => undef, code => undef, reason => undef, patience => 1);
    my @warnings = warned();
    like("@warnings", qr/\AEV::Websockets: shutdown: unknown option 'patience'/, 'an unknown option');
    $context->DESTROY;
    croaks_with { $context->shutdown } 'Context has been destroyed', 'a context that is gone';
}

# A client in the midst of a long page had the rest of it cut off, although it went on reading and
# there was time for that. No further request of it is answered.
{
    my ($over, @asked);
    my $page = 'x' x 10_000_000;
    my $server = server(on_request => sub { push @asked, $_[0]{path}; [ 200, [], [$page] ] });
    my $peer = HttpPeer->connect($server->{port});
    $peer->stop_reading;
    $peer->ask(GET => '/page');
    $peer->ask(GET => '/next');
    run_until(sub { @asked }, 'a page is asked for');
    settle();
    $server->{context}->shutdown(timeout => 3600, cb => sub { $over = 1 });
    settle();
    ok(!$over, 'shutdown waits for the client to take it');
    $peer->start_reading;
    run_until(sub { $over && $peer->eof }, 'then it is over');
    is_deeply([ map { length $_->{body} } $peer->responses ], [ length $page ], 'the client has all of it');
    is_deeply(\@asked, ['/page'], 'and no other');

    my $stalled = server(on_request => sub { push @asked, 'stalled'; [ 200, [], [$page] ] });
    my $deaf = HttpPeer->connect($stalled->{port});
    $deaf->stop_reading;
    $deaf->ask(GET => '/');
    run_until(sub { $asked[-1] eq 'stalled' }, 'one who asks and does not read');
    $over = 0;
    $stalled->{context}->shutdown(timeout => 0.1, cb => sub { $over = 1 });
    run_unticked(sub { $over }, 'is not waited for longer than that');
}

# Requests that had come, and were read only when the shutdown began, were passed on to the program: it let
# clients in that were told nothing then, and cut in the end.
for my $request ("GET / HTTP/1.1\r\nHost: test\r\n\r\n", RawPeer->request) {
    my (@asked, $over);
    my $server = server(on_handshake => sub { push @asked, 'handshake'; 1 }, on_request => sub { push @asked, 'request'; [ 200, [], [] ] });
    my $raw = RawPeer->connect($server->{port});
    settle();
    syswrite $raw->{fh}, $request;
    $server->{context}->shutdown(timeout => 3600, cb => sub { $over = 1 });
    run_until(sub { $over && $raw->eof }, 'who asks while the shutdown begins is not waited for');
    is($raw->status, 503, 'but turned away');
    is_deeply(\@asked, [], 'without asking the program');
    is($server->{events}->order, '', 'which never hears of it');
}

finish();
