use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Cwd qw(getcwd);
use EV;
use EV::Websockets;
use Events;
use File::Temp qw(tempdir);
use Frame;
use HttpPeer;
use IO::Socket::INET;
use IO::Socket::UNIX;
use RawPeer;
use Run;
use Scalar::Util qw(weaken);
use Test::More;

# stop_listening: nobody new, and nothing happens to those who are there.

my $context = EV::Websockets::Context->new;

sub refused { my ($port) = @_; return !IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) }

# A connection that stands, a handshake that has begun, and a client that nobody has accepted yet.
{
    my $events = Events->new;
    my $port = $context->listen($events->handlers(on_message => sub { $_[0]->send("echo $_[1]") }));
    my $standing = RawPeer->connect($port)->upgrade;
    run_until(sub { $events->count('connect') == 1 }, 'one stands');
    my $begun = RawPeer->connect($port);
    my ($first, $rest) = $begun->request =~ /\A(.{20})(.*)\z/s;
    $begun->put($first);
    settle();
    my $waiting = RawPeer->connect($port);
    is($context->stop_listening($port), 1, 'stop_listening says how many');
    is_deeply([ $context->listeners ], [], 'listeners does not have it any more');
    ok(refused($port), 'a new client is refused at once');
    $begun->put($rest);
    $waiting->upgrade;
    run_until(sub { $events->count('connect') == 3 }, 'the handshake that had begun goes on, and so does the client that waited');
    $_->send_frame(TEXT, 'still there') for $standing, $begun, $waiting;
    run_until(sub { 3 == grep { $_->frames_of(TEXT) } $standing, $begun, $waiting }, 'all are served');
    is(($standing->frames_of(TEXT))[0]{payload}, 'echo still there', 'as ever');
    croaks_with { $context->stop_listening($port) } "stop_listening: nothing listens at '$port'", 'a second time';
    is($context->listen(port => $port), $port, 'the port can be taken again');
    is($context->stop_listening("$port"), 1, 'a port that is a string');
    $_->hang_up for $standing, $begun, $waiting;
    run_until(sub { $events->count('close') == 3 }, 'all have left');
    EV::run();
    pass('nothing keeps the loop alive');
}

# Several at one port, and only those.
SKIP: {
    skip 'no second address of this machine', 3 if !IO::Socket::INET->new(LocalAddr => '127.0.0.2', Listen => 1);
    my $port = $context->listen(host => '127.0.0.1', name => 'a');
    $context->listen(host => '127.0.0.2', port => $port, name => 'b');
    my $other = $context->listen(host => '127.0.0.1', name => 'c');
    is($context->stop_listening($port), 2, 'all that have the port');
    is_deeply([ map { $_->{name} } $context->listeners ], ['c'], 'and no other');
    $context->stop_listening($_->{port}) for grep { $_->{name} eq 'c' } $context->listeners;
    ok(refused($other), 'by name, with listeners');
}

# Unix sockets: the file is gone when the call returns.
{
    my $dir = tempdir('evwsXXXXXX', TMPDIR => 1, CLEANUP => 1);
    $context->listen(path => "$dir/s");
    croaks_with { $context->stop_listening("$dir/t") } "stop_listening: nothing listens at '$dir/t'", 'another path';
    is($context->stop_listening("$dir/s"), 1, 'by its path');
    ok(!-e "$dir/s", 'the file is gone');
    my $here = getcwd();
    chdir $dir or die "chdir: $!";
    $context->listen(path => '8080');
    $context->listen(path => 'r');
    croaks_with { $context->stop_listening('8080') } "stop_listening: nothing listens at '8080'", 'digits are a port';
    is($context->stop_listening('./8080'), 1, 'and this is a path');
    is($context->stop_listening('r'), 1, 'a relative path');
    $context->listen(path => 'r');
    chdir $here or die "chdir: $!";
    croaks_with { $context->stop_listening('r') } "stop_listening: nothing listens at 'r'", 'not from elsewhere';
    is($context->stop_listening("$dir/r"), 1, 'the absolute path from anywhere');
}

# From inside of callbacks, and while a decision is awaited.
{
    my ($port, $handshake);
    my $events = Events->new;
    $port = $context->listen($events->handlers, on_handshake => sub { $context->stop_listening($port); return 1 });
    my $peer = RawPeer->connect($port)->upgrade;
    run_until(sub { $events->count('connect') && $peer->head }, 'on_handshake stops its own listener: the client comes in');
    is($peer->status, 101, 'as it was decided');
    $peer->hang_up;

    $port = $context->listen($events->handlers, on_handshake => sub { $handshake = $_[1]; return $handshake });
    $peer = RawPeer->connect($port)->upgrade;
    run_until(sub { $handshake }, 'a decision is awaited');
    $context->stop_listening($port);
    settle();
    $handshake->accept;
    run_until(sub { $events->count('connect') == 2 }, 'it can be made after the listener was stopped');
    $peer->hang_up;
    run_until(sub { $events->count('close') == 2 }, 'both have left');
}

# The callbacks are let go of: at once if no handshake is under way, else after the last.
{
    my $guard = { };
    my $port = do { my $kept = $guard; $context->listen(on_message => sub { $kept }) };
    weaken $guard;
    $context->stop_listening($port);
    settle();
    ok(!defined $guard, 'the callbacks of a listener that nobody is on the way to');

    $guard = { };
    $port = do { my $kept = $guard; $context->listen(on_message => sub { $kept }) };
    weaken $guard;
    my $peer = RawPeer->connect($port)->put('GET / HTTP/1.1');
    settle();
    $context->stop_listening($port);
    settle();
    ok(defined $guard, 'they stay for a client whose request has begun');
    $peer->hang_up;
    run_until(sub { !defined $guard }, 'and go with it');
}

# A client with keep-alive has its answer, and is asked to go.
{
    my $port;
    my $requests = 0;
    $port = $context->listen(on_request => sub {
        $requests++;
        $context->stop_listening($port) if $requests == 2;
        return [ 200, [], ["number $requests"] ];
    });
    my $peer = RawPeer->connect($port);
    $peer->put("GET / HTTP/1.1\r\nHost: a\r\n\r\n" x 3);
    run_until(sub { $peer->eof }, 'the connection is ended');
    is($requests, 2, 'after the request that is being answered');
    like($peer->rest, qr/\r\nConnection: close\r\n.*number 2\z/s, 'whose answer says so');
}

# Slots are used again.
my %ports;
for (1 .. 300) {
    my $port = $context->listen;
    $context->stop_listening($port);
    EV::run(EV::RUN_NOWAIT) if $_ % 3 == 0;
    $ports{$port}++;
}
ok(%ports, 'listening and stopping many times');
is_deeply([ $context->listeners ], [], 'leaves nothing');

croaks_with { $context->stop_listening($_) }
    "stop_listening: nothing listens at '$_'", "stop_listening('$_')" for 0, 65536, 4294967377, '', 'server', -1;
croaks_with { $context->stop_listening(undef) }
    "stop_listening: give a port or the path of a Unix socket (got 'undef')", 'undef';
croaks_like { $context->stop_listening({}) }
    qr/\Astop_listening: give a port or the path of a Unix socket \(got 'HASH/, 'a reference';
$context->DESTROY;
croaks_with { $context->stop_listening(1) } 'Context has been destroyed', 'a context that is gone';
is_deeply([ $context->listeners ], [], 'has no listeners');

# A connection kept for a further request had its loop run on until handshake_timeout, and for ever
# without one. A request that has come already is answered, and that is the end.
{
    my $own = EV::Websockets::Context->new;
    my $port = $own->listen(handshake_timeout => 0, on_request => sub { [ 200, [], ["of $_[0]{path}\n"] ] });
    my ($idle, $asking) = map { HttpPeer->connect($port) } 1, 2;
    is($_->fetch(GET => '/first')->{body}, "of /first\n", 'a request is answered') for $idle, $asking;
    syswrite $asking->{fh}, $asking->bytes_of(GET => '/second');
    $asking->expects('GET');
    $own->stop_listening($port);
    run_until(sub { $idle->eof && $asking->eof }, 'the connections end');
    is_deeply([ map { $_->{body} } $asking->responses ], [ "of /first\n", "of /second\n" ], 'after the request that was there');
    is(scalar(my @all = $idle->responses), 1, 'and nothing is said to the one that did not ask');
}

finish();
