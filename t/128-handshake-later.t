use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Events;
use Frame;
use POSIX ();
use RawPeer;
use Run;
use Test::More;

# on_handshake may answer with a response of its own, and may decide later.

my $context = EV::Websockets::Context->new;
my $server = Events->new;
my (@handshakes, $decide);
my %options = ($server->handlers, on_handshake => sub { push @handshakes, [@_]; return $decide->(@_) });
my $port = $context->listen(%options, headers => { 'X-Always' => 1 }, protocol => [ 'one', 'two' ]);
my $later = sub { return $_[1] };

# A client whose handshake is waiting, and that handshake.
sub waiting {
    my ($name, %upgrade) = @_;
    my ($on, $then) = (delete $upgrade{port} || $port, delete $upgrade{decide} || $later);
    @handshakes = ();
    $decide = $then;
    my $peer = RawPeer->connect($on)->upgrade(%upgrade);
    run_until(sub { @handshakes }, "$name: on_handshake is called");
    my $handshake = $handshakes[0][1];
    @handshakes = ();
    return ($peer, $handshake);
}

sub answered {
    my ($peer, $line, $name) = @_;
    run_unticked(sub { defined $peer->head }, "$name: the client is answered");
    is($peer->start_line, "HTTP/1.1 $line", "$name: $line");
    run_until(sub { $peer->eof }, "$name: and the connection ends") if $line !~ /^101/;
    return $peer;
}

# ---- the stash ----

# What was found out about a client is there when it is connected, decided at
# once or later; and nowhere when it is not let in, or does not wait.
{
    my @stash;
    my $on = $context->listen(%options, on_connect => sub { push @stash, { %{ $_[0]->stash } } });
    my ($peer, $handshake) = waiting('stash', port => $on);
    $handshake->stash->{user} = 'ann';
    my $hash = $handshake->stash;
    $handshake->accept;
    undef $handshake;
    run_until(sub { @stash == 1 }, 'stash: connected');
    is_deeply(\@stash, [ { user => 'ann' } ], 'stash: decided later');
    (my $at_once) = waiting('stash at once', port => $on, decide => sub { $_[1]->stash->{user} = 'bob'; return 1 });
    run_until(sub { @stash == 2 }, 'stash: connected');
    is_deeply($stash[1], { user => 'bob' }, 'stash: decided at once');
    (my $without) = waiting('no stash', port => $on, decide => sub { return 1 });
    run_until(sub { @stash == 3 }, 'stash: connected');
    is_deeply($stash[2], {}, 'stash: each has its own');
    is_deeply($hash, { user => 'ann' }, 'stash: the hash is that of the first');

    my $freed = 0;
    for my $end ('rejected', 'gone') {
        ($peer, $handshake) = waiting("stash, $end", port => $on);
        $handshake->stash->{guard} = Guarded->new(\$freed);
        $end eq 'gone' ? undef $peer : $handshake->reject;
        run_until(sub { !$handshake->is_pending }, "stash: $end");
        is($handshake->stash->{guard}{freed}, \$freed, "stash: $end, still there");
        $handshake->accept if $end eq 'gone';
        undef $handshake;
    }
    is($freed, 2, 'stash: freed with the handshakes of those who are not let in');

    # A client that is let in and was gone by then: no callback is called. The bug: the
    # stash of its connection was kept until the next client was let in.
    ($peer, $handshake) = waiting('stash, gone unseen', port => $on);
    $handshake->stash->{guard} = Guarded->new(\$freed);
    $peer->hang_up(reset => 1);
    ok($handshake->accept, 'stash, gone unseen: accepted');
    undef $handshake;
    run_until(sub { $freed == 3 }, 'stash, gone unseen: freed at once');
    is(scalar(@stash), 3, 'stash, gone unseen: without on_connect');

    # The same when a shutdown comes between accept and on_connect.
    my $ending = EV::Websockets::Context->new;
    ($peer, $handshake) = waiting('stash, shut down', port => $ending->listen(%options));
    $server->follow_next;
    $handshake->stash->{guard} = Guarded->new(\$freed);
    $handshake->accept;
    $ending->shutdown(timeout => 30);
    undef $handshake;
    run_until(sub { $freed == 4 }, 'stash, shut down: freed');
    is($server->order, '', 'stash, shut down: without a callback');
    undef $ending;

    # The bug: what was in a stash was freed when EV::run returned, which it does at the end of a server's program. A
    # temporary referred to it, and nothing frees temporaries where the loop calls the module.
    $freed = 0;
    my $served = $context->listen(on_handshake => sub {
        my ($headers, $asked) = @_;
        $asked->stash->{guard} = Guarded->new(\$freed);
        my $soon; $soon = EV::timer(0, 0, sub { undef $soon; $asked->accept; undef $asked });
        return $asked;
    });
    $context->connect(url => "ws://127.0.0.1:$served/", on_connect => sub { $_[0]->close }) for 1 .. 3;
    run_through(sub { $freed == 3 }, 'stash: freed with the connections, and not when EV::run returns');

    ($peer, $handshake) = waiting('stash of the next', port => $on);
    $handshake->stash->{user} = 'carol';
    $handshake->accept;
    run_until(sub { @stash == 4 }, 'stash of the next: connected');
    is_deeply($stash[3], { user => 'carol' }, 'stash of the next');
}

# ---- accept, reject ----

{
    my ($peer, $handshake) = waiting('accept', path => '/room', headers => { 'X-Token' => 'abc' });
    isa_ok($handshake, 'EV::Websockets::Handshake');
    is($handshake->headers->{'X-Token'}, 'abc', 'headers');
    is($handshake->headers->{Path}, '/room', 'and what the target says');
    is($handshake->peer_address, '127.0.0.1', 'peer_address');
    is_deeply([ $handshake->protocols ], [], 'no protocols asked for');
    ok($handshake->is_pending, 'is_pending');
    settle();
    is($peer->head, undef, 'the client waits');
    is($server->count('connect'), 0, 'there is no connection yet');
    # What is in an object, a user's record perhaps, was sent to the client.
    croaks_like { $handshake->accept(bless { password_hash => 'secret' }, 'Account') }
        qr/\Aaccept: headers must be a hash reference \(got 'Account=HASH\(/, 'an object is no hash of headers';
    ok($handshake->is_pending, 'which decides nothing');
    ok($handshake->accept({ 'X-Mine' => [ 1, 2 ] }), 'accept returns true');
    ok(!$handshake->is_pending, 'not pending any more');
    answered($peer, '101 Switching Protocols', 'accept');
    is_deeply([ map { $peer->header($_) } 'X-Always', 'X-Mine' ], [ 1, 1, 2 ], 'with the headers');
    run_until(sub { $server->count('connect') }, 'on_connect');
    is($server->last_of('connect')->[0]{Path}, '/room', 'gets the same headers');
    croaks_like { $handshake->accept } qr/\Aaccept: the handshake has been decided already/, 'accept twice croaks';
    croaks_like { $handshake->reject } qr/\Areject: the handshake has been decided already/, 'reject after accept croaks';
    croaks_like { $handshake->protocol('x') } qr/\Aprotocol: the handshake has been decided already/, 'protocol, too';
    is($handshake->peer_address, '127.0.0.1', 'the address is that of the connection');
    undef $handshake;
    $peer->send_close(1000);
    run_until(sub { $server->count('close') }, 'dropping the handshake does nothing to the connection');
}
for my $case (
    [ 'reject', [], '403 Forbidden', undef ],
    [ 'reject with a status', [503], '503 Service Unavailable', undef ],
    [ 'reject with a header', [ 401, [ 'WWW-Authenticate' => 'Basic realm="x"' ] ], '401 Unauthorized', undef ],
    [ 'reject with a body', [ 404, [], [ 'no ', 'room' ] ], '404 Not Found', 'no room' ],
    [ 'reject with undef', [ undef, undef, undef ], '403 Forbidden', undef ],
) {
    my ($name, $arguments, $line, $body) = @$case;
    my ($peer, $handshake) = waiting($name);
    ok($handshake->reject(@$arguments), "$name: returns true");
    answered($peer, $line, $name);
    defined $body ? is($peer->rest, $body, "$name: the body") : like($peer->rest, qr/\S.*\n\z/, "$name: says something");
    is_deeply([ $peer->header('Content-Length') ], [ length $peer->rest ], "$name: of that length");
    is_deeply([ $peer->header('X-Always') ], [], "$name: without the headers of those that are accepted");
    is_deeply([ $peer->header('WWW-Authenticate') ], ['Basic realm="x"'], "$name: the header") if $line =~ /^401/;
}

# In the callback itself, by the object or by what is returned.
for my $case (
    [ 'a response returned', sub { [ 401, [ 'X-A' => 1 ], ['who are you?'] ] }, '401 Unauthorized' ],
    [ 'accept inside', sub { $_[1]->accept; return 0 }, '101 Switching Protocols' ],
    [ 'reject inside', sub { $_[1]->reject(429); return 1 }, '429 Too Many Requests' ],
    [ 'reject inside, and a die', sub { $_[1]->reject(429); die "thrown on purpose\n" }, '429 Too Many Requests' ],
    [ 'accept inside, returning it', sub { $_[1]->accept; return $_[1] }, '101 Switching Protocols' ],
    [ 'a die, though it was kept', sub { push @handshakes, $_[1]; die "thrown on purpose\n" }, '403 Forbidden' ],
    [ 'false, though it was kept', sub { push @handshakes, $_[1]; return 0 }, '403 Forbidden' ],
) {
    my ($name, $then, $line) = @$case;
    my ($peer, $handshake) = waiting($name, decide => $then);
    answered($peer, $line, $name);
    croaks_like { $handshake->reject } qr/decided already/, "$name: it is decided";
    my $warning = $name =~ /die/ ? "EV::Websockets: exception in on_handshake: thrown on purpose\n" : '';
    is(join('', warned()), $warning, "$name: the warnings");
}

# What cannot be sent is no decision.
{
    my ($peer, $handshake) = waiting('bad arguments');
    for my $case (
        [ accept => [ { 'X-A' => "1\r\n" } ], qr/\Aaccept: header 'X-A' contains CR, LF or NUL/ ],
        [ accept => [ { Upgrade => 1 } ], qr/\Aaccept: header 'Upgrade' is set by the WebSocket handshake/ ],
        [ accept => [ [] ], qr/\Aaccept: headers must be a hash reference \(got 'ARRAY/ ],
        [ reject => [101], qr/\Areject: the status must be a whole number from 200 to 599 \(got '101'\)/ ],
        [ reject => ['no'], qr/\Areject: the status must be a whole number from 200 to 599 \(got 'no'\)/ ],
        [ reject => [ 403, {} ], qr/\Areject: the headers must be an array reference/ ],
        [ reject => [ 403, [ 'X-A', "\n" ] ], qr/\Areject: header 'X-A' contains CR, LF or NUL/ ],
        [ reject => [ 403, [], 'text' ], qr/\Areject: the body must be an array reference/ ],
        [ reject => [ 403, [], ["\x{263A}"] ], qr/\Areject: body string number 1 has wide characters/ ],
        [ protocol => ['one'], qr/\Aprotocol: the client did not ask for any subprotocol \(got 'one'\)/ ],
        [ protocol => [undef], qr/\Aprotocol: the name must be a defined string/ ],
    ) {
        my ($method, $arguments, $text) = @$case;
        croaks_like { $handshake->$method(@$arguments) } $text, "$method croaks: $text";
    }
    ok($handshake->is_pending, 'and the client still waits');
    $handshake->accept;
    answered($peer, '101 Switching Protocols', 'after that');
}
for my $case (
    [ 'a bad status', sub { [ 101, [], [] ] }, qr/on_handshake: the status must be/ ],
    [ 'one element', sub { [403] }, qr/on_handshake must return \[ \$status, \\\@headers, \\\@body \]/ ],
    [ 'a bad body', sub { [ 403, [], 'x' ] }, qr/on_handshake: the body must be/ ],
    [ 'bad headers', sub { { 'X-A' => "\n" } }, qr/on_handshake: header 'X-A' contains CR, LF or NUL/ ],
) {
    my ($name, $then, $warning) = @$case;
    my ($peer) = waiting($name, decide => $then);
    answered($peer, '500 Internal Server Error', $name);
    like(join('', warned()), qr/\AEV::Websockets: exception in on_handshake: $warning/, "$name: and a warning");
}
{
    my ($first, $handshake) = waiting('the first of two');
    my ($second) = waiting('the second', decide => sub { $handshake });
    answered($second, '500 Internal Server Error', 'the handshake of another client');
    like(join('', warned()), qr/on_handshake returned the handshake of another client/, 'is a mistake');
    $handshake->accept;
    answered($first, '101 Switching Protocols', 'which does not concern that one');
}

# ---- subprotocols ----

for my $case (
    [ 'listen chooses', sub { }, 'two' ],
    [ 'one is picked', sub { is($_[0]->protocol('three'), 'three', 'protocol returns it') }, 'three' ],
    [ 'the last pick counts', sub { $_[0]->protocol($_) for 'two', 'four' }, 'four' ],
) {
    my ($name, $pick, $expected) = @$case;
    my ($peer, $handshake) = waiting($name, headers => { 'Sec-WebSocket-Protocol' => 'four, two, three' });
    is_deeply([ $handshake->protocols ], [qw(four two three)], "$name: what the client asks for");
    # In scalar context it was the last one.
    is(scalar $handshake->protocols, 3, "$name: and how much that is");
    is($handshake->protocol, undef, "$name: none is picked yet");
    croaks_like { $handshake->protocol('one') }
        qr/\Aprotocol: the client did not ask for 'one', but for 'four', 'two', 'three'/, "$name: only of those";
    $pick->($handshake);
    $handshake->accept;
    answered($peer, '101 Switching Protocols', $name);
    is_deeply([ $peer->header('Sec-WebSocket-Protocol') ], [$expected], "$name: $expected");
    run_until(sub { $server->conn && ($server->conn->get_protocol || '') eq $expected }, "$name: for both sides");
    $server->follow_next;
}
{
    my ($peer) = waiting('in the callback', headers => { 'Sec-WebSocket-Protocol' => 'a, b' },
        decide => sub { $_[1]->protocol('b'); return { 'X-A' => 1 } });
    answered($peer, '101 Switching Protocols', 'in the callback');
    is_deeply([ map { $peer->header($_) } 'Sec-WebSocket-Protocol', 'X-A' ], [ 'b', 1 ], 'the pick and the headers count');
}
for my $list ([ 'x', 'b' ], 'x, b') {
    my $peer = RawPeer->connect($context->listen(protocol => $list))
        ->upgrade(headers => { 'Sec-WebSocket-Protocol' => 'a, b, x' });
    answered($peer, '101 Switching Protocols', 'listen(protocol => several)');
    is_deeply([ $peer->header('Sec-WebSocket-Protocol') ], ['b'], "the client's first of them");
}

# ---- time, and those who go away ----

{
    my ($peer, $handshake) = waiting('dropped');
    undef $handshake;
    answered($peer, '500 Internal Server Error', 'dropped');
}
{
    my $quick = $context->listen(%options, handshake_timeout => 0.1);
    my ($peer, $handshake) = waiting('too late', port => $quick);
    answered($peer, '503 Service Unavailable', 'too late');
    ok(!$handshake->is_pending, 'too late: not pending any more');
    is($handshake->peer_address, undef, 'too late: no address any more');
    ok(!$handshake->accept, 'too late: accept returns false');
    croaks_like { $handshake->accept } qr/decided already/, 'too late: and was the decision';
    my ($waits, $decided) = waiting('within that time', port => $quick);
    $decided->accept;
    answered($waits, '101 Switching Protocols', 'within that time');
    my $sleep = 1;
    my $timer = EV::timer(0.3, 0, sub { $sleep = 0 });
    run_until(sub { !$sleep }, 'that time passes');
    ok(!$waits->eof, 'and means nothing to a connection');
}
for my $reset (0, 1) {
    my $name = $reset ? 'a client that resets' : 'a client that goes away';
    my ($peer, $handshake) = waiting($name);
    $peer->hang_up(reset => $reset);
    run_until(sub { !$handshake->is_pending }, "$name: is noticed");
    ok(!$handshake->reject(404, [], []), "$name: reject returns false");
}
{
    # Frames may come before the answer, if a client does not care to wait.
    my ($peer, $handshake) = waiting('early frames');
    $server->follow_next;
    $peer->send_frame(TEXT, "early $_") for 1 .. 3;
    $peer->send_frame(BINARY, 'x' x 200_000);
    settle();
    ok($handshake->is_pending, 'early frames: nothing happens yet');
    $handshake->accept;
    run_until(sub { $server->count('message') == 4 }, 'early frames: all of them come');
    is(join(' ', map { length } $server->messages), '7 7 7 200000', 'early frames: in their order');
    is($server->order, 'connect message message message message', 'early frames: after on_connect');
}
{
    my $doomed = EV::Websockets::Context->new;
    my ($peer, $handshake) = waiting('a context', port => $doomed->listen(%options));
    undef $doomed;
    ok(!$handshake->is_pending, 'the context is destroyed: nothing is pending');
    is($handshake->peer_address, undef, 'the context is destroyed: no address');
    is($handshake->headers->{Host}, '127.0.0.1', 'the context is destroyed: the headers stay');
    ok(!$handshake->accept, 'the context is destroyed: accept returns false');
    run_until(sub { $peer->eof }, 'the context is destroyed: the client sees the end');
    ($peer, $handshake) = waiting('another', port => ($doomed = EV::Websockets::Context->new)->listen(%options));
    undef $doomed;
    ok(!$handshake->reject(404), 'the context is destroyed: and so does reject');
    ($peer) = waiting('inside', port => ($doomed = EV::Websockets::Context->new)->listen(%options),
        decide => sub { undef $doomed; return $_[1] });
    run_until(sub { $peer->eof }, 'the context can be destroyed in the callback, too');
}

# The parent's clients are none of a child's business.
{
    my ($peer, $handshake) = waiting('fork');
    my $pid = fork;
    defined $pid or die "fork: $!";
    if (!$pid) {
        undef $handshake;
        POSIX::_exit(0);
    }
    waitpid $pid, 0;
    settle();
    is($peer->head, undef, 'a child that drops its copy answers nobody');
    $handshake->accept;
    answered($peer, '101 Switching Protocols', 'the parent does');
}

for my $method (qw(accept reject protocol protocols headers peer_address is_pending)) {
    no strict 'refs';
    croaks_like { &{"EV::Websockets::Handshake::$method"}(bless {}, 'EV::Websockets::Handshake') }
        qr/is not an EV::Websockets::Handshake object/, "$method knows its object";
}

finish();

package Guarded;
sub new { my ($class, $freed) = @_; return bless { freed => $freed }, $class }
sub DESTROY { ${ $_[0]{freed} }++ }
