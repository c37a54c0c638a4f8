use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Config;
use Crowd;
use EV;
use EV::Websockets;
use Events;
use Frame;
use Pair;
use Program;
use RawPeer;
use RawServer;
use Run;
use ScriptedProxy;
use Test::More;

# The log: what it says of connections with raw peers, on_log and what its callback may do, STDERR.

delete @ENV{qw(http_proxy https_proxy all_proxy no_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY)};

my @lines;
sub keep { push @lines, [@_] }

# The texts of a level, or all as "level: text".
sub texts {
    my ($level) = @_;
    return map { $level ? ($_->[0] eq $level ? $_->[2] : ()) : "$_->[0]: $_->[2]" } @lines;
}

sub has {
    my ($level, $pattern, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return ok(scalar(grep { $_ =~ $pattern } texts($level)), $name)
        || diag(join "\n", "no $level like $pattern in", texts());
}

# What $code leads to is logged, until $done->().
sub logged {
    my ($name, $code, $done) = @_;
    @lines = ();
    EV::Websockets::on_log(\&keep);
    my @made = $code->();
    run_until(sub { $done->(@made) }, $name);
    EV::Websockets::on_log(undef);
    return @made;
}

my $SECRET = qr/opensesame/;

# ---- a server, and a raw client ----

{
    my $before = Pair->listen;    # it was there before the log
    my ($pair, $peer) = logged('a connection from its beginning to its end', sub {
        my $peer = RawPeer->connect($before->port);
        $peer->upgrade(path => '/chat?key=opensesame', headers => {
            Cookie => 'sid=opensesame', Authorization => 'Basic opensesame', 'X-Auth-Token' => 'opensesame',
        });
        $peer->send_frame(TEXT, 'abc', fin => 0);
        $peer->send_frame(PING, '');
        $peer->send_frame(CONT, 'de');
        $peer->send_frame(BINARY, 'x' x 300);
        $peer->send_frame(BINARY, 'x' x 3) for 1 .. 2;
        $peer->send_close(1000);
        return ($before, $peer);
    }, sub { $_[1]->eof && grep { /is closed/ } texts('descriptor') });
    is_deeply([texts('frame')], [
        'received text, masked, 3 bytes',
        'received ping, FIN, masked, 0 bytes',
        'sent pong, FIN, 0 bytes',
        'received continuation, FIN, masked, 2 bytes',
        'received binary, FIN, masked, 300 bytes',
        ('received binary, FIN, masked, 3 bytes') x 2,
        'received close, FIN, masked, 2 bytes',
        'sent close, FIN, 2 bytes',
    ], 'every frame by its header: fragments, those of one batch, control frames');
    has(handshake => qr/\Areceived GET \/chat\?\(14 bytes\) HTTP\/1\.1\z/, 'the first line of the request, without its query');
    has(handshake => qr/\Areceived Host: 127\.0\.0\.1\z/, 'its headers');
    has(handshake => qr/\Areceived Cookie: \(14 bytes\)\z/, 'a cookie by its length');
    has(handshake => qr/\Areceived Authorization: \(16 bytes\)\z/, 'so credentials');
    has(handshake => qr/\Areceived X-Auth-Token: \(10 bytes\)\z/, 'and what is like them');
    has(handshake => qr/\Asent HTTP\/1\.1 101 /, 'the response');
    has(state => qr/\Alife: Announced to Open\z/, 'it opens');
    has(state => qr/\Awriting: Idle to Queued\z/, 'something is to be written');
    has(state => qr/\Alife: Open to Lingering/, 'it closes');
    has(state => qr/\Adead\z/, 'it is gone');
    has(timer => qr/\AHandshake starts, runs out in (?:10|9\.9\d*)s\z/, 'a timer starts');
    has(timer => qr/\AHandshake is stopped\z/, 'and is stopped');
    has(timer => qr/\ALinger is moved/, 'one is moved');
    has(descriptor => qr/\Afd \d+ is opened: accepted from 127\.0\.0\.1:\d+ at 127\.0\.0\.1:\d+\z/, 'a descriptor is opened');
    has(descriptor => qr/\Afd \d+ is watched for reading\z/, 'watched');
    has(descriptor => qr/\Afd \d+ is not watched any more\z/, 'let go');
    is(scalar(grep { $_->[2] =~ $SECRET } @lines), 0, 'nothing that is secret');
    my %id = map { $_->[1] => 1 } grep { $_->[0] eq 'frame' } @lines;
    is(scalar keys %id, 1, 'the lines of a connection have its id');
    like((keys %id)[0], qr/\A[1-9]\d*\z/, 'a number that is a key of a hash');
}

# What is sent to many is logged for each of them, whether it goes out alone or behind something else.
{
    my $crowd = Crowd->new(peers => 2);
    my ($ctx, @conn) = ($crowd->ctx, $crowd->conns);
    $_->subscribe('t') for @conn;
    logged('two publications and a broadcast', sub {
        $ctx->publish('t', 'one');
        $conn[0]->send('alone');
        $ctx->broadcast('three', \@conn);
        EV::run(EV::RUN_NOWAIT);
        $ctx->publish('t', 'and', binary => 1);
    }, sub { @{ $crowd->peer(0)->frames } == 4 && @{ $crowd->peer(1)->frames } == 3 });
    my %sent;
    push @{ $sent{ $_->[1] } }, $_->[2] for grep { $_->[0] eq 'frame' && $_->[2] =~ /\Asent/ } @lines;
    is_deeply([ sort map { join '; ', @$_ } values %sent ], [
        'sent text, FIN, 3 bytes; sent text, FIN, 5 bytes; sent binary, FIN, 3 bytes',
        'sent text, FIN, 3 bytes; sent text, FIN, 5 bytes; sent text, FIN, 5 bytes; sent binary, FIN, 3 bytes',
    ], 'as its frames');
}

# Whose connection it is, where a proxy says so.
{
    my $events = Events->new;
    my $context = EV::Websockets::Context->new;
    my $port = $context->listen(host => '127.0.0.1', proxy_protocol => 1, $events->handlers);
    my $second = "\r\n\r\n\0\r\nQUIT\n\x21";
    for (
        ['192.0.2.1:1000', "PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n"],
        ['[2001:db8::1]:1000', $second . pack 'C n H32 H32 n n', 0x21, 36, '20010db8' . '0' x 23 . '1', '0' x 32, 1000, 80],
        ['at a Unix socket', $second . pack 'C n a108 a108', 0x31, 216, '/client', '/proxy'],
    ) {
        my ($whose, $head) = @$_;
        my $before = $events->count('connect');
        logged("a client of a proxy, $whose", sub { RawPeer->connect($port)->put($head . RawPeer->request) },
            sub { $events->count('connect') > $before });
        ok(scalar(grep { /\bPROXY: the client is \Q$whose\E\z/ } texts()), 'the log says who') || diag(join "\n", texts());
    }
}

# ---- a client, and raw servers ----

{
    my $server = RawServer->new(answer => sub {
        my ($peer) = @_;
        $peer->accept(fields => ['Set-Cookie: sid=opensesame']);
        $peer->put("\xC1\x00");
    });
    my $context = EV::Websockets::Context->new;
    my $events = Events->new;
    logged('a server that breaks the protocol', sub {
        $context->connect(url => 'ws://127.0.0.1:' . $server->port . '/?opensesame', deflate => 0,
            headers => { Authorization => 'Basic opensesame' }, $events->handlers);
    }, sub { $events->count('close') && grep { /is closed/ } texts('descriptor') });
    has(descriptor => qr/is opened: connects to 127\.0\.0\.1:\d+\z/, 'an attempt to connect');
    has(handshake => qr/\Aconnected to 127/, 'it succeeds');
    has(handshake => qr/\Asent GET \/\?\(10 bytes\) HTTP\/1\.1\z/, 'the request');
    has(handshake => qr/\Asent Authorization: \(16 bytes\)\z/, 'credentials by their length');
    has(handshake => qr/\Areceived Set-Cookie: \(14 bytes\)\z/, 'what the server sets, too');
    has(error => qr/\Afailed with 1002: peer sent a frame with reserved bits set/, 'the error with its text');
    has(frame => qr/\Asent close, FIN, masked, \d+ bytes\z/, 'a Close of a client is masked');
    is(scalar(grep { $_->[2] =~ $SECRET } @lines), 0, 'nothing that is secret');

    my $refused = Events->new;
    my $port = RawServer::unused_port();
    logged('nobody listens', sub { $context->connect(url => "ws://127.0.0.1:$port/", $refused->handlers) },
        sub { $refused->count('error') });
    has(error => qr/\Agiven up: connect to 127\.0\.0\.1:$port: Connection refused\z/, 'why');

    my $named = Events->new;
    logged('a name', sub { $context->connect(url => "ws://localhost:$port/", $named->handlers) },
        sub { $named->count('error') });
    has(handshake => qr/\Alooks localhost up\z/, 'a name is looked up');
    has(handshake => qr/\Alocalhost is \[.*127\.0\.0\.1:$port/, 'and found');
}

# A proxy's credentials stand in the proxy's text and in the request to it.
{
    my $proxy = ScriptedProxy->new([ qr/CONNECT .*?\r\n\r\n/s => "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n" ]);
    my $context = EV::Websockets::Context->new(proxy => 'http://user:opensesame@127.0.0.1:' . $proxy->port);
    my $events = Events->new;
    logged('a proxy', sub { $context->connect(url => 'ws://server.example/', $events->handlers) },
        sub { $events->count('error') });
    has(handshake => qr/\Asent to the proxy CONNECT server\.example:80 HTTP\/1\.1\z/, 'what the proxy is asked for');
    has(handshake => qr/\Asent to the proxy Proxy-Authorization: \(\d+ bytes\)\z/, 'without the password');
    has(handshake => qr/\Areceived from the proxy HTTP\/1\.1 403 Forbidden\z/, 'its answer');
    is(scalar(grep { $_->[2] =~ /opensesame|b3BlbnNlc2FtZ|Basic/ } @lines), 0, 'nothing that is secret');
}

# A peer cannot write to a terminal.
{
    my $pair = Pair->listen;
    my ($peer) = logged('garbage', sub { RawPeer->connect($pair->port)->put("GET /\e[2J\xE9\r\nA\eB: \x07\r\n\r\n") },
        sub { $_[0]->eof });
    has(handshake => qr/\Areceived GET \/\\u\{1b\}\[2J/, 'what is not printable is escaped');
    is(scalar(grep { $_->[2] =~ /[^ -~]/ } @lines), 0, 'in every line');
}

# Frames of a compressed message have RSV1; TLS says what was agreed on.
{
    my $pair;
    logged('a compressed message', sub {
        $pair = Pair->open(listen => { deflate => 1 });
        $pair->c->send('x' x 1000);
        @lines = grep { $_->[0] eq 'frame' } @lines;
    }, sub { $pair->server->count('message') });
    has(frame => qr/\A$_ text, FIN, RSV1, masked, \d\d? bytes\z/, "$_ with RSV1") for qw(sent received);
    $pair->c->pause_recv;
    logged('paused', sub { $pair->c->resume_recv; $pair->c->pause_recv; }, sub { @lines });
    is_deeply([texts('state')], ['reading: Paused to Flowing', 'reading: Flowing to Paused'], 'reading changes, and at once');
    $pair->c->resume_recv;
    $pair->shut;
}

# ---- on_log ----

croaks_like { my @given = ($_); EV::Websockets::on_log(@given) } qr/\Aon_log: give a code reference, or undef \(got '/, "not $_"
    for 0, 'text', [], {}, \1;
croaks_like { my @given = (); EV::Websockets::on_log(@given) } qr/\AUsage: EV::Websockets::on_log/, 'not nothing';

{
    my $pair = Pair->open;
    @lines = ();
    $pair->c->send('unseen');
    run_until(sub { $pair->server->count('message') }, 'a message');
    is(scalar @lines, 0, 'no line without on_log');
    $pair->shut;
}

# Each context has ids of its own, which are the same as another's. In the log they are not.
{
    my @contexts = map { EV::Websockets::Context->new } 1 .. 2;
    my %at;
    EV::Websockets::on_log(sub { $at{$_[1]} = 1 if $_[2] =~ /listens at/ });
    $_->listen(host => '127.0.0.1') for @contexts;
    EV::Websockets::on_log(undef);
    is(scalar keys %at, 2, 'numbers of two contexts differ');
}

# The order: what is received is told before its callback, what a call does before it returns.
{
    my @order;
    my $pair = Pair->open(listen => { on_message => sub { push @order, "message $_[1]" } });
    EV::Websockets::on_log(sub { push @order, $_[2] if $_[0] eq 'frame' });
    $pair->c->send('one');
    push @order, 'sent';
    $pair->c->send('two!');
    run_until(sub { grep { $_ eq 'message two!' } @order }, 'two messages');
    EV::Websockets::on_log(undef);
    is_deeply(\@order, [
        'sent text, FIN, masked, 3 bytes', 'sent', 'sent text, FIN, masked, 4 bytes',
        'received text, FIN, masked, 3 bytes', 'message one', 'received text, FIN, masked, 4 bytes', 'message two!',
    ], 'lines come in order, and soon');
    $pair->shut;
}

# One that dies is warned of, each time, and the log goes on; $@ and $! are the program's.
{
    my $pair = Pair->open;
    my ($calls, @seen) = 0;
    EV::Websockets::on_log(sub { $! = 7; $calls++; die "a mistake\n" if $_[0] eq 'frame'; eval { die "inner\n" } });
    eval { die "outer\n" };
    $! = 2;
    $pair->c->send('hello');
    @seen = ($@, $! + 0);
    is_deeply(\@seen, ["outer\n", 2], '$@ and $! are as they were');
    is(join('', warned()), "EV::Websockets: exception in on_log: a mistake\n", 'an exception is warned');
    run_until(sub { $pair->server->count('message') }, 'the message arrives');
    ok($calls > 2, 'and the callback is called on');
    is(join('', warned()), "EV::Websockets: exception in on_log: a mistake\n", 'and its exceptions are warned');
    EV::Websockets::on_log(undef);
    $pair->shut;
}

# What the callback does makes no line: it would never come to an end.
{
    my $pair = Pair->open;
    my ($depth, $deepest, $frames) = (0, 0, 0);
    EV::Websockets::on_log(sub {
        $deepest = $depth if ++$depth > $deepest;
        $frames++ if $_[2] =~ /\Asent text/;
        $pair->c->send('again') if $_[2] eq 'sent text, FIN, masked, 5 bytes' && $frames < 100;
        $depth--;
    });
    $pair->c->send('hello');
    is($frames, 1, 'a message that it sends is not told');
    is($deepest, 1, 'it is not called while it runs');
    run_until(sub { $pair->server->count('message') >= 2 }, 'but sent');
    EV::Websockets::on_log(undef);
    $pair->shut;
}

# It may run the loop, turn itself off, and put another in its place.
{
    my $pair = Pair->open;
    my (@first, @second);
    EV::Websockets::on_log(sub {
        push @first, $_[2];
        EV::run(EV::RUN_NOWAIT());
        EV::Websockets::on_log(sub { push @second, $_[2]; EV::Websockets::on_log(undef) });
    });
    $pair->c->send('hello');
    $pair->c->send('hello');
    run_until(sub { $pair->server->count('message') == 2 }, 'both messages');
    is(scalar @first, 1, 'it was replaced');
    is(scalar @second, 1, 'and that one turned off');
    $pair->shut;
}

# It may destroy the context, wherever it is called.
for my $moment (qr/\Areceived text/, qr/\Asent text/, qr/\Alife: Announced/, qr/watched for/, qr/\Areceived close/,
    qr/\Alooks|\Asent GET/, qr/is opened/, qr/context is destroyed/) {
    my ($context, $peer, $conn, $got) = EV::Websockets::Context->new;
    my $destroyed = 0;
    EV::Websockets::on_log(sub { undef $context, $destroyed++ if $_[2] =~ $moment });
    my $port = eval { $context->listen(host => '127.0.0.1', on_message => sub { $got++ }) };
    $conn = eval {
        $context->connect(url => "ws://127.0.0.1:$port/", on_connect => sub { $_[0]->send('hello') },
            on_message => sub { $got++ });
    } if $context;
    $peer = RawPeer->connect($port)->upgrade if $context;
    $peer->send_frame(TEXT, 'hello')->send_close(1000) if $context;
    undef $context if "$moment" =~ /destroyed/;
    wait_until(sub { !$context });
    ok($destroyed, "destroyed at $moment");
    # The event that its line announces had been taken from the engine already.
    is($got, undef, 'whose callback is not called any more') if "$moment" =~ /received text/;
    EV::Websockets::on_log(undef);
    is($conn->state, 'closed', 'its connection is closed') if $conn;
}

# ---- STDERR ----

my $PROGRAM = <<'PROGRAM';
use EV; use EV::Websockets;
EV::Websockets::_set_debug($ARGV[0]) if defined $ARGV[0];
my $context = EV::Websockets::Context->new;
my $port = $context->listen(host => '127.0.0.1');
$context->connect(url => "ws://127.0.0.1:$port/", on_connect => sub { EV::break });
EV::run;
PROGRAM

my $LINE = qr/EV::Websockets: \d\d:\d\d:\d\d\.\d{6} \[(?:state|timer|frame|handshake|error|descriptor)\] (?:#\d+: )?[ -~]+\n/;
for my $case (
    [ undef, undef, 0 ], [ '', undef, 0 ], [ '0', undef, 0 ], [ '1', undef, 1 ], [ 'yes', undef, 1 ],
    [ undef, 1, 1 ], [ '1', 0, 0 ],
) {
    my ($env, $set, $on) = @$case;
    local %ENV = %ENV;
    delete $ENV{EV_WEBSOCKETS_DEBUG};
    $ENV{EV_WEBSOCKETS_DEBUG} = $env if defined $env;
    my $run = run_program(60, '-e', $PROGRAM, defined $set ? $set : ());
    my $name = join ' ', map { defined $_ ? "'$_'" : '-' } $env, $set;
    is($run->{status}, 0, "EV_WEBSOCKETS_DEBUG and _set_debug $name: ends well");
    $on ? like($run->{err}, qr/\A$LINE+\z/, 'lines on STDERR') : is($run->{err}, '', 'nothing on STDERR');
}

# exit in the callback; a callback in place of STDERR; a child that is forked; a thread.
{
    my $run = run_program(60, '-e', q{use EV; use EV::Websockets; EV::Websockets::_set_debug(1);
        EV::Websockets::on_log(sub { print "$_[2]\n"; exit 3 if $_[2] =~ /is watched/ });
        my $context = EV::Websockets::Context->new; $context->listen(host => '127.0.0.1'); EV::run;});
    is($run->{status} >> 8, 3, 'exit in the callback');
    is($run->{err}, '', 'a callback is called in place of STDERR');

    $run = run_program(60, '-e', q{use EV; use EV::Websockets; EV::Websockets::on_log(sub { push @lines, $_[2] });
        my $context = EV::Websockets::Context->new; $context->listen(host => '127.0.0.1');
        $| = 1; defined(my $pid = fork) or die; @lines = () if !$pid;
        undef $context; wait if $pid; print scalar(@lines) ? "some\n" : "none\n";});
    is("$run->{out}$run->{err}", "none\nsome\n", 'a child says nothing of contexts that are its parent\'s');
}
SKIP: {
    skip 'this perl has no threads', 2 unless $Config{useithreads};
    my $run = run_program(60, '-e', q{use threads; use EV; use EV::Websockets;
        EV::Websockets::on_log(sub { $main++ });
        my $context = EV::Websockets::Context->new;
        threads->create(sub {
            EV::Websockets::on_log(sub { $own++ });
            my $context = EV::Websockets::Context->new; undef $context; print $own && !$main ? "own\n" : "other\n";
        })->join;
        print $main ? "other\n" : "own\n"; undef $context; print $main ? "own\n" : "none\n";});
    is($run->{out}, "own\nown\nown\n", 'each thread has its own');
    is($run->{err}, '', 'without a word');
}

finish();
