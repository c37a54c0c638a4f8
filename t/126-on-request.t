use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Events;
use Frame;
use HttpPeer;
use IO::Select;
use IO::Socket::INET;
use POSIX ();
use Run;
use Test::More;

# Requests that are no upgrade, answered by the program.

my $context = EV::Websockets::Context->new;
my $server = Events->new;
my (@seen, $answer);
my $port = $context->listen(
    $server->handlers(on_message => sub { $_[0]->send(uc $_[1]) }),
    headers    => { 'X-Upgraded' => 'yes' },
    on_request => sub {
        push @seen, [@_];
        return ref $answer eq 'CODE' ? $answer->(@_) : $answer;
    },
);
sub plain { return [ 200, [ 'Content-Type' => 'text/plain' ], [@_] ] }
sub peer { return HttpPeer->connect($port, @_) }

# ---- what the program gets ----

$answer = plain("hello, ", "world\n");
{
    my $peer = peer();
    my $got = $peer->fetch('GET', '/a%20page?x=%20y', headers => [ 'x-token: 1', 'X-Token: 2', 'cookie: a=1' ]);
    is($got->{line}, 'HTTP/1.1 200 OK', 'a page: the status line');
    is($got->{body}, "hello, world\n", 'and its body');
    is_deeply($got->{header}{'Content-Length'}, ['13'], 'whose length was counted');
    is_deeply($got->{header}{'Content-Type'}, ['text/plain'], 'the header given');
    like($got->{header}{Date}[0], qr/\A[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT\z/, 'a date');
    is($got->{header}{Connection}, undef, 'the connection stays');
    is($got->{header}{'X-Upgraded'}, undef, 'without the headers that are for upgrades');
    is(scalar @{ $seen[0] }, 1, 'on_request gets one argument');
    my $headers = { Path => '/a page', Query => 'x=%20y', URI => '/a%20page?x=%20y', Host => 'test',
        'X-Token' => '1, 2', Cookie => 'a=1' };
    like(delete $seen[0][0]{peer_port}, qr/\A[1-9]\d*\z/, "the client's port");
    is_deeply($seen[0][0], {
        method => 'GET', uri => '/a%20page?x=%20y', path => '/a page', query => 'x=%20y', protocol => 'HTTP/1.1',
        scheme => 'http', headers => $headers, body => '', peer_address => '127.0.0.1',
    }, 'a hash of these entries');
    $peer->fetch('DELETE', '/');
    is($seen[1][0]{method}, 'DELETE', 'any method');
    ok(!exists $seen[1][0]{query}, 'no query: no entry');
}
is($server->count('connect'), 0, 'none of this is a connection');

# ---- what the client gets ----

{
    my $peer = peer();
    my $head = $peer->fetch('HEAD', '/');
    is_deeply([ @$head{qw(status body)} ], [ 200, '' ], 'HEAD: no body');
    is_deeply($head->{header}{'Content-Length'}, ['13'], 'but its length');
    $answer = [ 200, [ 'Content-Length' => 4711 ], [] ];
    is_deeply($peer->fetch('HEAD', '/')->{header}{'Content-Length'}, ['4711'], 'HEAD: or what the program says of it');
    is_deeply($peer->fetch('GET', '/')->{header}{'Content-Length'}, ['0'], 'GET: never');
    for my $status (204, 304) {
        $answer = [ $status, [ 'X-A' => 1 ], ['not to be sent'] ];
        my $got = $peer->fetch('GET', '/');
        is_deeply([ @$got{qw(status body)} ], [ $status, '' ], "$status: no body");
        is($got->{header}{'Content-Length'}, undef, "$status: and no length");
    }
    $answer = [ 200, [ 'Set-Cookie' => 'a=1', 'set-cookie' => 'b=2', 'X-Number' => 3 ], [ 1, 23 ] ];
    my $got = $peer->fetch('GET', '/');
    is_deeply([ @{ $got->{header} }{ 'Set-Cookie', 'set-cookie', 'X-Number' } ], [ ['a=1'], ['b=2'], ['3'] ],
        'headers are sent as they are spelled, and as often');
    is($got->{body}, '123', 'numbers are strings');
    my $latin = "caf\xE9";
    utf8::upgrade($latin);
    $answer = plain($latin);
    is($peer->fetch('GET', '/')->{body}, "caf\xE9", 'a string that Perl keeps as UTF-8 is the bytes that it holds');
    $answer = [ 426, [ Upgrade => 'websocket' ], [] ];
    is_deeply($peer->fetch('GET', '/')->{header}{Connection}, ['Upgrade'], 'a header Upgrade is told of in Connection');
    is($peer->fetch('GET', '/')->{line}, 'HTTP/1.1 426 Upgrade Required', 'any status');
    $answer = [ '299', [], [] ];
    is($peer->fetch('GET', '/')->{line}, 'HTTP/1.1 299 ', 'also one without a name');
    ok(!$peer->eof, 'all of that on one connection');
}

# ---- which connections stay ----

$answer = sub { plain("$_[0]{method} $_[0]{path}\n") };
for my $case (
    [ 'HTTP/1.1', [], 1, undef ],
    [ 'HTTP/1.1', ['Connection: close'], 0, ['close'] ],
    [ 'HTTP/1.1', ['Connection: foo, Close'], 0, ['close'] ],
    [ 'HTTP/1.0', [], 0, ['close'] ],
    [ 'HTTP/1.0', ['Connection: keep-alive'], 1, ['keep-alive'] ],
) {
    my ($version, $headers, $stays, $said) = @$case;
    my $name = join ' ', $version, @$headers;
    my $peer = peer();
    my $got = $peer->fetch('GET', '/1', version => $version, headers => $headers);
    is($got->{body}, "GET /1\n", "$name: answered");
    is_deeply($got->{header}{Connection}, $said, "$name: what Connection says");
    if ($stays) {
        is($peer->fetch('GET', '/2')->{body}, "GET /2\n", "$name: and so is the next");
    }
    else {
        run_until(sub { $peer->eof }, "$name: the connection ends");
    }
}
{
    $answer = [ 200, [ Connection => 'close' ], ['bye'] ];
    my $peer = peer();
    my $got = $peer->fetch('GET', '/');
    is_deeply($got->{header}{Connection}, ['close'], 'the program can end the connection');
    run_until(sub { $peer->eof }, 'and it ends');
}
{
    # Whoever has ended his side of the stream behind the request still gets the answer.
    $answer = plain('to you');
    my $peer = peer()->ask('GET', '/')->finish_writing;
    run_until(sub { $peer->responses && $peer->eof }, 'a request with the end of the stream behind it');
    is(($peer->responses)[0]{body}, 'to you', 'is answered');
}

# ---- many requests at once ----

{
    $answer = sub { plain("$_[0]{uri}:$_[0]{body}\n") };
    my $peer = peer();
    my $bytes = '';
    my @expected;
    for my $i (1 .. 200) {
        my $method = (qw(GET HEAD POST))[ $i % 3 ];
        $bytes .= HttpPeer->bytes_of($method, "/$i", $method eq 'POST' ? (body => 'b' x $i) : ());
        $peer->expects($method);
        push @expected, $method eq 'HEAD' ? '' : "/$i:" . ($method eq 'POST' ? 'b' x $i : '') . "\n";
    }
    $peer->put($bytes);
    run_until(sub { $peer->responses == @expected }, 'two hundred requests in one go are answered');
    is_deeply([ map { $_->{body} } $peer->responses ], \@expected, 'in their order');
}

# A client whose pipeline never runs dry does not have the loop for itself.
{
    my $flood = fork;
    defined $flood or die "fork: $!";
    if (!$flood) {
        my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) or POSIX::_exit(1);
        my $requests = HttpPeer->bytes_of('HEAD', '/flood') x 500;
        my $left = '';
        $socket->blocking(0);
        my $poll = IO::Select->new($socket);
        while (IO::Select->select($poll, $poll)) {
            my $end = sysread $socket, my $answers, 65536;
            last if defined $end && !$end;
            $left = $requests if !length $left;
            my $written = syswrite $socket, $left;
            substr($left, 0, $written) = '' if $written;
        }
        POSIX::_exit(0);
    }
    @seen = ();
    run_until(sub { @seen > 1000 }, 'a pipeline without end is served');
    my $turns = 0;
    my $other = EV::timer(0, 0.0001, sub { $turns++ });
    my $before = @seen;
    run_until(sub { $turns > 20 }, 'and leaves the loop to others');
    # Requests that were read together are answered turn by turn, too.
    cmp_ok(@seen - $before, '<', 20 * 400, 'a part of a read at a time');
    kill KILL => $flood;
    waitpid $flood, 0;
    @seen = ();
}

# ---- and then an upgrade ----

{
    $answer = plain('page');
    my $peer = peer();
    is($peer->fetch('GET', "/$_")->{body}, 'page', "request $_ of the connection") for 1 .. 3;
    my $before = $server->count('connect');
    $peer->upgrade(path => '/ws');
    run_until(sub { ($peer->status || 0) == 101 && $server->count('connect') > $before }, 'its fourth is an upgrade');
    is_deeply([ $peer->header('X-Upgraded') ], ['yes'], 'with the headers for that');
    is($server->last_of('connect')->[0]{Path}, '/ws', 'on_connect gets its headers');
    $peer->send_frame(TEXT, 'frame');
    run_until(sub { $peer->frames_of(TEXT) }, 'and messages go both ways');
    is(($peer->frames_of(TEXT))[0]{payload}, 'FRAME', 'as they should');
    $peer->send_close(1000);
    run_until(sub { $server->count('close') }, 'to the end');
}
{
    # All in one write: two pages, the upgrade, and the first frame.
    my $peer = peer();
    my $bytes = HttpPeer->bytes_of('GET', '/1') . HttpPeer->bytes_of('POST', '/2', body => 'x')
        . $peer->request(path => '/3') . $peer->make(TEXT, 'early');
    $peer->put($bytes);
    run_until(sub { $peer->responses == 3 && length $peer->rest >= 7 }, 'pages, an upgrade and a frame in one write');
    is(join(' ', map { $_->{status} } $peer->responses), '200 200 101', 'are answered in their order');
    is($peer->rest, "\x81\x05EARLY", 'the frame, too');
    $peer->hang_up;
}
{
    # An upgrade that is not as it should be is none of the program's business.
    @seen = ();
    for my $case ([ POST => {} ], [ GET => { Connection => 'keep-alive' } ], [ GET => { 'Sec-WebSocket-Key' => 'x' } ]) {
        my ($method, $headers) = @$case;
        my $peer = peer();
        $peer->upgrade(method => $method, headers => $headers);
        run_until(sub { $peer->eof }, 'a malformed upgrade is answered, and the connection ends');
        like($peer->status, qr/\A4(?:00|26)\z/, 'as it is without on_request');
    }
    is(scalar(grep { $_->[0]{path} ne '/flood' } @seen), 0, 'without asking');
    my $peer = peer();
    is($peer->fetch('GET', '/', headers => [ 'Upgrade: h2c', 'Connection: Upgrade' ])->{body}, 'page',
        'an upgrade to something else is a plain request');
}

finish();
