use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use EV;
use EV::Websockets;
use RawPeer;
use RawServer;
use Run;
use Test::More;

# A client whose upgrade is refused: on_error has the server's answer as its
# third argument, and never waits for it for long, nor keeps more than 16 KiB.

my $context = EV::Websockets::Context->new;
my ($answer, $then, @peers);
my $server = RawServer->new(answer => sub {
    my ($peer) = @_;
    push @peers, $peer;
    $peer->put($answer);
    $then->($peer) if $then;
});

# What on_error gets, but for $conn.
sub refusal {
    my ($name, $bytes, %o) = @_;
    ($answer, $then) = ($bytes, delete $o{then});
    my @told;
    my $conn = $context->connect(url => 'ws://127.0.0.1:' . $server->port . '/', on_error => sub { push @told, [@_] }, %o);
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    run_until(sub { @told }, "$name: told");
    is scalar @told, 1, "$name: once";
    is $told[0][0], $conn, "$name: about its connection";
    is $conn->state, 'closed', "$name: which is closed";
    $_->hang_up for splice @peers;
    return @{ $told[0] }[1 .. $#{ $told[0] }];
}

my ($text, $response) = refusal('a redirection', "HTTP/1.1 302 Found\r\nLocation: /new\r\nSet-Cookie: a\r\n"
    . "Set-Cookie: b\r\nContent-Length: 5\r\n\r\nmovedXXX");
is $text, 'server answered: 302 Found', 'the text is as it was';
is_deeply $response, {
    status  => 302,
    headers => { 'Location' => '/new', 'Set-Cookie' => "a\nb", 'Content-Length' => 5 },
    body    => 'moved',
}, 'the response';

($text, $response) = refusal('in chunks', "HTTP/1.1 401 Unauthorized\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwho \r\n");
is $response->{body}, 'who ', 'a body that does not end is told as far as it has come';
($text, $response) = refusal('in chunks that come later', "HTTP/1.1 401 Unauthorized\r\nTransfer-Encoding: chunked\r\n\r\n",
    then => sub { my ($peer) = @_; settle(); $peer->put("4\r\nwho \r\n4\r\nare?\r\n0\r\n\r\n") });
is $response->{body}, 'who are?', 'is told whole';

($text, $response) = refusal('to the end', "HTTP/1.0 403 Forbidden\r\n\r\nno ", then => sub { $_[0]->put('way')->finish_writing });
is $response->{body}, 'no way', 'a body up to the end of the stream';
($text, $response) = refusal('without an end', "HTTP/1.1 403 Forbidden\r\n\r\nno ");
is $response->{body}, 'no ', 'one that has none';
($text, $response) = refusal('nothing', "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
is $response->{body}, '', 'no body is an empty one';

($text, $response) = refusal('much', "HTTP/1.1 500 Oops\r\nContent-Length: 1000000\r\n\r\n" . 'x' x 200_000);
ok $response->{body} eq 'x' x 16384, '16 KiB are kept';
($text, $response) = refusal('endless', "HTTP/1.1 500 Oops\r\n\r\n", then => sub { $_[0]->put_from(sub { 'y' x 65536 }) });
ok $response->{body} eq 'y' x 16384, 'also of what has no end';
($text, $response) = refusal('a Content-Length that is none', "HTTP/1.1 500 Oops\r\nContent-Length: 1\r\nContent-Length: 9\r\n\r\nabc",
    then => sub { $_[0]->finish_writing });
is $response->{body}, 'abc', 'a length in two versions does not count';

# One second is not added to the program's own time.
($text, $response) = refusal('with a timeout', "HTTP/1.1 403 Forbidden\r\n\r\nno", connect_timeout => 0.2);
is $text, 'server answered: 403 Forbidden', 'what the server said is known when it runs out';

# Without an answer there are two arguments, as ever.
is scalar(refusal('no answer', '', then => sub { $_[0]->finish_writing })), 'the server closed the connection without an answer', 'none';
my @arguments = refusal('no HTTP', "\0\r\n\r\n");
is scalar @arguments, 1, 'no response';
@arguments = refusal('a wrong 101', "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    . "Sec-WebSocket-Accept: wrong\r\n\r\n");
is scalar @arguments, 1, 'an upgrade that is wrong is no response';

# A program without on_error is warned, once, as ever.
$answer = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";
$then = undef;
$context->connect(url => 'ws://127.0.0.1:' . $server->port . '/');
run_until(sub { 1 == grep { m{server answered: 403 Forbidden \(there is no on_error} } warned() }, 'a warning without on_error');

# Dropped while the body is awaited.
my $other = EV::Websockets::Context->new;
my $waits;
($answer, $then) = ("HTTP/1.1 403 Forbidden\r\n\r\n", sub { $waits = 1 });
$other->connect(url => 'ws://127.0.0.1:' . $server->port . '/', on_error => sub { fail 'nobody is told' });
run_until(sub { $waits }, 'a body is awaited');
settle();
undef $other;
settle();

finish();
