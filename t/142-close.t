use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Frame;
use Pair;
use RawPeer;
use RawServer;
use Run;
use Test::More;

# Close codes and reasons, in both directions and at both roles.

my @VALID = (1000 .. 1003, 1007 .. 1014, 3000, 3999, 4000, 4999);

# The module at both ends.
for my $code (@VALID) {
    my $pair = Pair->open(name => "code $code: connected");
    my ($one, $other) = $code % 2 ? qw(c s) : qw(s c);
    my %events = (c => $pair->client, s => $pair->server);
    $pair->$one->close($code, "reason $code");
    run_until(sub { $events{c}->count('close') && $events{s}->count('close') }, "code $code: closed");
    is_deeply($events{$other}->last_of('close'), [ $code, "reason $code" ], "code $code: the other end");
    is($events{$one}->last_of('close')->[0], $code, "code $code: this end has the code of the answer");
}

# A listener with one raw peer after the other.
my $pair = Pair->listen;
sub closed_with { return $pair->server->last_of('close') }

# Codes that may not be sent.
{
    my ($peer, $conn) = $pair->raw_peer;
    for my $code (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65535, 65536, 66536, -1, -64536, 4294968296) {
        croaks_with { $conn->close($code) }
            "close: invalid close code $code (RFC 6455 allows 1000-1003, 1007-1014, 3000-4999)", "close($code)";
    }
    ok($conn->is_connected, 'still connected');
    $conn->send('works');
    run_until(sub { $peer->frames_of(TEXT) }, 'and working');
    is(scalar $peer->frames_of(CLOSE), 0, 'no Close was sent');
    croaks_like { $conn->close('soon') } qr/close: .*code.*soon/, 'a code that is no number';
    # A reference was taken for the number of its address, 1000.9 for 1000, and
    # what is beyond any integer was shown as another number than was given.
    croaks_with { $conn->close($_) } "close: invalid close code '$_' (it is no number)", "close(a reference): $_"
        for \1, [], {}, sub { }, $conn, bless [], 'Plain';
    croaks_with { $conn->close($_) }
        "close: invalid close code $_ (RFC 6455 allows 1000-1003, 1007-1014, 3000-4999)", "close($_)"
        for 1000.9, '1000.9', 999.999, 0.5, -0.5, 'inf', 'Infinity', '-inf', 'nan', 9**9**9, 1e300, '1e300', -1e300,
        18446744073709551615, 18446744073709552616;
    is(join('', warned()), '', 'without a warning');
}

# Without a code, without a reason.
for my $case ([ 'nothing' ], [ 'undef', undef ], [ '1000', 1000 ], [ '1000, undef', 1000, undef ], [ 'undef, undef', undef, undef ],
    [ "1000, ''", 1000, '' ]) {
    my ($name, @arguments) = @$case;
    my ($peer, $conn) = $pair->raw_peer;
    $conn->close(@arguments);
    run_until(sub { $peer->close_read }, "close($name)");
    is_deeply([ $peer->close_read ], [ 1000, '' ], "close($name): 1000, no reason");
    $peer->send_close(1000);
    run_until(sub { closed_with() }, "close($name): on_close");
    is_deeply(closed_with(), [ 1000, undef ], "close($name): reason undef");
    run_until(sub { $peer->eof }, "close($name): the server ends the connection");
}

# Reasons.
my @reasons = (
    [ 'ASCII', 'going away', 'going away' ],
    [ 'octets', "caf\xc3\xa9", "caf\xc3\xa9" ],
    [ 'wide', "\x{263a}", "\xe2\x98\xba" ],
    [ '123 bytes', 'x' x 123, 'x' x 123 ],
    [ '124 bytes', 'x' x 124, 'x' x 123 ],
    [ '100,000 bytes', 'x' x 100_000, 'x' x 123 ],
    [ 'two-byte characters', "\x{e9}\x{263a}" . "\x{e9}" x 100, "\xc3\xa9\xe2\x98\xba" . "\xc3\xa9" x 59 ],
    [ 'a boundary at 122', "\x{e9}\x{100}" x 50, "\xc3\xa9\xc4\x80" x 30 . "\xc3\xa9" ],
    [ 'a three-byte one over the edge', 'x' x 121 . "\x{263a}", 'x' x 121 ],
    [ 'a four-byte one over the edge', 'x' x 120 . "\x{1F600}", 'x' x 120 ],
    [ 'a four-byte one that fits', 'x' x 119 . "\x{1F600}z", 'x' x 119 . "\xf0\x9f\x98\x80" ],
);
for my $case (@reasons) {
    my ($name, $reason, $expected) = @$case;
    my ($peer, $conn) = $pair->raw_peer;
    utf8::encode($reason) if $reason =~ /[^\x00-\xff]/;    # a reason is bytes
    $conn->close(4321, $reason);
    run_until(sub { $peer->close_read }, "reason, $name");
    is_deeply([ $peer->close_read ], [ 4321, $expected ], "reason, $name: on the wire");
    $peer->hang_up;
}

# What a peer's Close says is what on_close says, and the answer has its code.
for my $code (@VALID) {
    my ($peer, $conn) = $pair->raw_peer;
    $peer->send_close($code, "r$code");
    run_until(sub { closed_with() && $peer->close_read }, "a peer closes with $code");
    is_deeply(closed_with(), [ $code, "r$code" ], "code $code: on_close");
    is(($peer->close_read)[0], $code, "code $code: answered");
    run_until(sub { $peer->eof }, "code $code: and ended");
    is($pair->server->order, 'connect close', "code $code: no on_error");
}
{
    my ($peer) = $pair->raw_peer;
    $peer->send_close;
    run_until(sub { closed_with() && $peer->close_read }, 'a peer closes without a code');
    is_deeply(closed_with(), [ 1005, undef ], 'with 1005');
    my ($code) = $peer->close_read;
    ok(!defined $code || $code == 1000, 'the answer does not say 1005');
    run_until(sub { $peer->eof }, 'and ended');
}
{
    my ($peer) = $pair->raw_peer;
    $peer->send_close(1000, "caf\xc3\xa9 " . 'x' x 117);
    run_until(sub { closed_with() }, 'a reason of 123 bytes');
    my $reason = closed_with()->[1];
    is($reason, "caf\xc3\xa9 " . 'x' x 117, 'is passed whole');
    ok(!utf8::is_utf8($reason), 'as bytes');
}

# The end of the TCP connection without a Close frame.
for my $how ('close', 'FIN', 'reset') {
    my ($peer) = $pair->raw_peer;
    $how eq 'FIN' ? $peer->finish_writing : $peer->hang_up(reset => $how eq 'reset');
    run_until(sub { closed_with() }, "the connection ends: $how");
    is_deeply(closed_with(), [ 1006, undef ], "$how: 1006");
}
for my $rest ("\x81", substr(RawPeer::make({ role => 'client' }, TEXT, 'half of it'), 0, 9)) {
    my ($peer) = $pair->raw_peer;
    $peer->put($rest)->finish_writing;
    run_until(sub { closed_with() }, 'the end in the middle of a frame, after ' . length($rest) . ' bytes');
    is(closed_with()->[0], 1006, 'with 1006');
    is($pair->server->count('message'), 0, 'and no message');
}

# A close that we began: what the peer's answer says.
for my $case ([ 'the same', [ 4000, 'r' ], [ 4000, 'r' ] ], [ 'another', [ 4001, 'no' ], [ 4001, 'no' ] ], [ 'none', [], [ 1005, undef ] ]) {
    my ($name, $answer, $expected) = @$case;
    my ($peer, $conn) = $pair->raw_peer;
    $conn->close(4000, 'r');
    run_until(sub { $peer->close_read }, "we close; answer: $name");
    is($pair->server->count('close'), 0, "answer: $name: no on_close before it");
    $peer->send_close(@$answer);
    run_until(sub { closed_with() }, "answer: $name: on_close");
    is_deeply(closed_with(), $expected, "answer: $name: its code");
}
{
    my ($peer, $conn) = $pair->raw_peer;
    $conn->close;
    run_until(sub { $peer->close_read }, 'we close; the peer does not answer');
    $peer->hang_up;
    run_until(sub { closed_with() }, 'but ends the connection');
    is(closed_with()->[0], 1006, 'with 1006');
}
{
    my ($peer, $conn) = $pair->raw_peer;
    $conn->close(4000);
    $peer->send_close(4001);
    run_until(sub { closed_with() && $peer->close_read }, 'both close at the same time');
    is(closed_with()->[0], 4001, "the peer's code");
    is(($peer->close_read)[0], 4000, 'and ours');
    settle();
    is(scalar $peer->frames_of(CLOSE), 1, 'one Close of ours');
}

# An open fragmented message is ended first.
{
    my ($peer, $conn) = $pair->raw_peer;
    $conn->send_fragment('begun', 1, 0);
    $conn->close(1001);
    run_until(sub { $peer->close_read }, 'close with an open fragment');
    is_deeply([ map { [ @$_{qw(fin opcode payload)} ] } @{ $peer->frames } ],
        [ [ 0, BINARY, 'begun' ], [ 1, CONT, '' ], [ 1, CLOSE, pack 'n', 1001 ] ], 'an empty final fragment, then the Close');
}

# Whatever else ends the connection, the program did not know of it: with an empty final fragment the peer took the
# part of the message for the whole.
for my $end (
    [ 'the peer closes', {}, sub { $_[0]->send_close(1000) }, 1000 ],
    [ 'the peer breaks the protocol', {}, sub { $_[0]->put("\xFF\xFF") }, 1002 ],
    [ 'max_lifetime', { max_lifetime => 0.01 }, sub { }, 1001 ],
    [ 'idle_timeout', { idle_timeout => 0.01 }, sub { }, 1001 ],
    [ 'shutdown', {}, sub { $_[2]->shutdown }, 1001 ],
    [ 'the send queue is full', { max_send_queue => 10, send_queue_policy => 'close' }, sub { $_[1]->send_fragment('.' x 20, 1, 0) for 1 .. 2 }, 1013 ],
) {
    my ($name, $options, $act, $code) = @$end;
    my $conn;
    my $pair = Pair->listen(listen => { %$options, on_connect => sub { ($conn) = @_; $conn->send_fragment('begun', 1, 0) } });
    my $peer = RawPeer->connect($pair->port)->upgrade;
    run_until(sub { $conn }, $name);
    $act->($peer, $conn, $pair->context);
    run_until(sub { $peer->close_read }, "$name: it ends");
    is(($peer->close_read)[0], $code, "$name: $code");
    is_deeply([ grep { $_->{fin} && $_->{opcode} != CLOSE } @{ $peer->frames } ], [], "$name: the message does not");
}

# Our client, with a raw server: it answers too, and masks what it answers.
{
    my $raw = RawServer->new;
    my $events = Events->new;
    my $conn = $pair->context->connect(url => 'ws://127.0.0.1:' . $raw->port, $events->handlers);
    run_until(sub { $events->count('connect') }, 'our client');
    $raw->last_peer->send_close(4002, 'enough');
    run_until(sub { $raw->last_peer->close_read }, 'answers the Close');
    is(($raw->last_peer->close_read)[0], 4002, 'with its code');
    is(($raw->last_peer->frames_of(CLOSE))[0]{masked}, 1, 'masked');
    $raw->last_peer->finish_writing;
    run_until(sub { $events->count('close') && $raw->last_peer->eof }, 'and ends');
    is_deeply($events->last_of('close'), [ 4002, 'enough' ], 'on_close');
    is($events->order, 'connect close', 'no on_error');
}

finish();
