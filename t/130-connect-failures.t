use strict;
use warnings;
use Errno ();
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Events;
use RawServer;
use Run;
use Test::More;

# A connection that cannot be made: one on_error that says why, state
# "closed", no on_close.

my $context = EV::Websockets::Context->new;
my %failed;

sub fails {
    my ($name, $text, %options) = @_;
    my $events = Events->new;
    my $conn = $context->connect($events->handlers(%options));
    run_unticked(sub { @{ $events->log } }, "$name: decided");
    is($events->order, 'error', "$name: on_error");
    like($events->last_of('error')->[0], $text, "$name: the text");
    is($conn->state, 'closed', "$name: closed");
    is_deeply([ $context->connections ], [], "$name: not among the connections");
    $failed{$name} = $events;
}

my $refused = do { local $! = Errno::ECONNREFUSED(); "$!" };
fails('refused', qr/\Q$refused\E/, url => 'ws://127.0.0.1:' . RawServer::unused_port());
fails('refused, by name', qr/\Q$refused\E/, url => 'ws://localhost:' . RawServer::unused_port());

# What a raw server answers, and what the text has to say about it.
my $reply;
my $server = RawServer->new(answer => sub { $reply->(@_) });
my $url = 'ws://127.0.0.1:' . $server->port . '/';

for my $status ('200 OK', '301 Moved Permanently', '302 Found', '400 Bad Request', '401 Unauthorized', '403 Forbidden',
    '404 Not Found', '426 Upgrade Required', '500 Internal Server Error', '503 Service Unavailable') {
    $reply = sub { $_[0]->put("HTTP/1.1 $status\r\nLocation: http://127.0.0.1/\r\nContent-Length: 4\r\n\r\nbody") };
    fails("status $status", qr/\Q$status\E/, url => $url);
}
$reply = sub { $_[0]->put("HTTP/1.1 418 \e[31mteapot\r\n\r\n") };
fails('an escape sequence in the reason phrase', qr/\A(?=.*418)[^\e]+\z/, url => $url);

my @wrong = (
    [ 'a wrong accept key', qr/accept/i, with => { 'Sec-WebSocket-Accept' => 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=' } ],
    [ 'no accept key', qr/accept/i, with => { 'Sec-WebSocket-Accept' => undef } ],
    [ 'an empty accept key', qr/accept/i, with => { 'Sec-WebSocket-Accept' => '' } ],
    [ 'no Upgrade', qr/upgrade/i, with => { Upgrade => undef } ],
    [ 'another Upgrade', qr/upgrade/i, with => { Upgrade => 'h2c' } ],
    [ 'no Connection', qr/connection/i, with => { Connection => undef } ],
    [ 'Connection: close', qr/connection/i, with => { Connection => 'close' } ],
    [ 'an extension not asked for', qr/extension/i, fields => ['Sec-WebSocket-Extensions: x-not-asked-for'] ],
    [ 'HTTP/1.0', qr/\S/, status => 'HTTP/1.0 101 Switching Protocols' ],
    [ 'a header without a colon', qr/\S/, fields => ['nonsense'] ],
    [ 'a space in a header name', qr/\S/, fields => ['Bad name: v'] ],
    # These were taken: WebSocket among others will do in a request only (RFC 6455, section 4.1).
    (map { my $value = $_; [ "Upgrade: $value", qr/\Aserver's response upgrades to '\Q$value\E', not to 'websocket'\z/,
        with => { Upgrade => $value } ] } 'h2c, websocket', 'websocket, h2c', 'websocket/13', 'h2c', ''),
    [ 'two Upgrade headers', qr/upgrades to 'websocket, WebSocket', not to/, fields => ['upgrade: WebSocket'] ],
    [ 'a NUL in a header', qr/\S/, fields => ["X-A: a\0b"] ],
    [ 'a status of two digits', qr/\S/, status => 'HTTP/1.1 10 What' ],
    [ '1 MB of headers', qr/\S/, fields => [ map { "X-Filler-$_: " . 'x' x 1000 } 1 .. 1000 ] ],
    [ '10,000 headers', qr/\S/, fields => [ ('A: b') x 10_000 ] ],
);
for my $case (@wrong) {
    my ($name, $text, @response) = @$case;
    $reply = sub { $_[0]->accept(@response) };
    fails($name, $text, url => $url);
}

$reply = sub { $_[0]->put("garbage\r\n\r\n") };
fails('garbage', qr/\S/, url => $url);
$reply = sub { $_[0]->put("SSH-2.0-OpenSSH_9.2\r\n")->finish_writing };
fails('another protocol', qr/\S/, url => $url);
$reply = sub { $_[0]->put("\x15\x03\x03\x00\x02\x02\x46" . "\0\xff" x 50) };
fails('a TLS alert', qr/\S/, url => $url);
$reply = sub { $_[0]->put("HTTP/1.1 101 Switching Protocols\r\nX-Filler: " . 'x' x 1_000_000) };
fails('1 MB that never ends', qr/\S/, url => $url);

$reply = sub { $_[0]->finish_writing };
fails('the end of the connection, no answer', qr/\S/, url => $url);
$reply = sub { $_[0]->hang_up };
fails('the connection is closed', qr/\S/, url => $url);
$reply = sub { $_[0]->hang_up(reset => 1) };
my $reset = do { local $! = Errno::ECONNRESET(); "$!" };
fails('the connection is reset', qr/\Q$reset\E/, url => $url);
$reply = sub { $_[0]->put("HTTP/1.1 101 Switching Protocols\r\nUpgrade: web")->finish_writing };
fails('the end in the middle of the answer', qr/\S/, url => $url);

# The deadline runs until the end of the upgrade, wherever it got stuck.
$reply = sub { };
fails('no answer', qr/\Aconnect timeout\z/, url => $url, connect_timeout => 0.1);
$reply = sub { $_[0]->put("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n") };
fails('half an answer', qr/\Aconnect timeout\z/, url => $url, connect_timeout => 0.1);
$reply = sub {
    my ($peer) = @_;
    my $count = 0;
    $peer->put("HTTP/1.1 101 Switching Protocols\r\n");
    $peer->{drip} = EV::timer(0, 0.01, sub { $peer->put('X-' . $count++ . ": y\r\n") });
};
fails('an answer that goes on', qr/\Aconnect timeout\z/, url => $url, connect_timeout => 0.2);
delete $_->{drip} for $server->peers;
{
    # The kernel takes the connection, nobody accepts it.
    my $deaf = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Listen => 1);
    fails('nobody accepts', qr/\Aconnect timeout\z/, url => 'ws://127.0.0.1:' . $deaf->sockport, connect_timeout => 0.1);
    # Less than a nanosecond was cut to none at all, which means no deadline.
    # What a program computes may well come out like that: the time is over.
    fails('a time too short to measure', qr/\Aconnect timeout\z/, url => 'ws://127.0.0.1:' . $deaf->sockport,
        connect_timeout => $_) for 1e-10, 1e-300;
}

settle();
is_deeply({ map { ($_ => $failed{$_}->order) } keys %failed }, { map { ($_ => 'error') } keys %failed },
    'one on_error is all that ever came of each of them');

# A deadline that was met is over.
{
    $reply = sub { $_[0]->accept };
    my $events = Events->new;
    my $conn = $context->connect(url => $url, connect_timeout => 1, $events->handlers);
    run_until(sub { @{ $events->log } }, 'connected in time');
    my $over = 0;
    EV::now_update();
    my $timer = EV::timer(1.2, 0, sub { $over = 1 });
    run_until(sub { $over }, 'the deadline passes');
    is($events->order, 'connect', 'and nothing comes of it');
    ok($conn->is_connected, 'still connected');
}

# Many at once, some of which fail, do not disturb each other.
{
    $reply = sub { my ($peer, $head) = @_; $head =~ m{GET /bad} ? $peer->put("HTTP/1.1 404 Not Found\r\n\r\n") : $peer->accept };
    my (@good, @bad);
    for my $n (1 .. 20) {
        push @good, Events->new;
        $context->connect(url => "${url}good$n", $good[-1]->handlers);
        push @bad, Events->new;
        $context->connect(url => "${url}bad$n", $bad[-1]->handlers);
    }
    run_until(sub { !grep { !@{ $_->log } } @good, @bad }, 'forty at once');
    is(scalar(grep { $_->order eq 'connect' } @good), 20, 'twenty are connected');
    is(scalar(grep { $_->order eq 'error' } @bad), 20, 'twenty have failed');
}

finish();
