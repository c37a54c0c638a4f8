use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use HttpPeer;
use Run;
use Test::More;

# Bodies, what cannot be read in one way alone, answers that are none, and
# clients that take their time.

my $context = EV::Websockets::Context->new;
my (@seen, $answer);
my %serve = (on_request => sub { push @seen, $_[0]; return ref $answer eq 'CODE' ? $answer->(@_) : $answer });
my $port = $context->listen(%serve);
sub peer { return HttpPeer->connect($port, @_) }
my $echo = sub { [ 200, [], [ "$_[0]{method} $_[0]{path}: $_[0]{body}" ] ] };
$answer = $echo;

# ---- bodies ----

{
    my $peer = peer();
    is($peer->fetch('POST', '/1', body => "a\0b\r\n\r\n")->{body}, "POST /1: a\0b\r\n\r\n", 'a body, bytes as they are');
    my $long = 'x' x 65536;
    is(length $peer->fetch('PUT', '/2', body => $long)->{body}, 65536 + 8, 'of 64 KiB');
    is($peer->fetch('GET', '/3', body => 'odd')->{body}, 'GET /3: odd', 'whatever the method');
    is($peer->fetch('POST', '/4', body => '')->{body}, 'POST /4: ', 'also an empty one');
    $peer->expects('POST')->put("POST /5 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n"
        . "5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nX-Trailer: 1\r\n\r\n");
    run_until(sub { $peer->responses == 5 }, 'a body in chunks is answered');
    is(($peer->responses)[4]{body}, 'POST /5: hello!', 'and joined');
    is($peer->fetch('GET', '/6')->{body}, 'GET /6: ', 'and the next request begins behind it');
}

# However the bytes arrive.
for my $request (
    HttpPeer->bytes_of('POST', '/', body => 'content'),
    "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ncont\r\n3\r\nent\r\n0\r\n\r\n",
) {
    my $peer = peer();
    for my $byte (split //, $request) {
        $peer->put($byte);
        EV::run(EV::RUN_NOWAIT());
    }
    run_until(sub { $peer->responses }, 'a request byte by byte is answered');
    is(($peer->responses)[0]{body}, 'POST /: content', 'as if it had come at once');
}

# Expect: 100-continue
{
    my $peer = peer();
    $peer->ask('PUT', '/', headers => [ 'Expect: 100-continue', 'Content-Length: 4' ]);
    run_until(sub { $peer->responses }, 'who waits for 100 gets it');
    is(($peer->responses)[0]{line}, 'HTTP/1.1 100 Continue', 'before anything else');
    $peer->put('body');
    run_until(sub { $peer->responses == 2 }, 'and sends the body');
    is(($peer->responses)[1]{body}, 'PUT /: body', 'which is answered');
    is($peer->fetch('PUT', '/', headers => ['Expect: 100-continue'], body => 'now')->{body}, 'PUT /: now',
        'who does not wait needs no 100');
}

sub refused {
    my ($name, $status, $bytes) = @_;
    @seen = ();
    my $peer = peer()->put($bytes);
    run_until(sub { $peer->responses && $peer->eof }, "$name: answered, and the connection ends");
    my @all = $peer->responses;
    is($all[0]{status}, $status, "$name: $status");
    is_deeply($all[0]{header}{Connection}, ['close'], "$name: and says that it ends");
    is(scalar @all, 1, "$name: nothing behind it is answered");
    is(scalar @seen, 0, "$name: on_request does not hear of it");
    return $all[0];
}

my $next = HttpPeer->bytes_of('GET', '/smuggled');
my $chunked = 'Transfer-Encoding: chunked';
refused('a body of more than 64 KiB', 413, HttpPeer->bytes_of('POST', '/', headers => ['Content-Length: 65537']));
refused('so much that it is no number', 413, HttpPeer->bytes_of('POST', '/', headers => [ 'Content-Length: ' . '9' x 40 ]));
refused('the same with Expect', 413,
    HttpPeer->bytes_of('POST', '/', headers => [ 'Content-Length: 65537', 'Expect: 100-continue' ]));
refused('a chunk of more than 64 KiB', 413, HttpPeer->bytes_of('POST', '/', headers => [$chunked]) . "10001\r\n");
refused('another expectation', 417, HttpPeer->bytes_of('POST', '/', headers => ['Expect: a-miracle'], body => 'x'));
refused('an unknown coding', 501, HttpPeer->bytes_of('POST', '/', headers => ['Transfer-Encoding: gzip, chunked']));
refused('more than 16 KiB of headers', 431, HttpPeer->bytes_of('GET', '/', headers => [ 'X-A: ' . 'x' x 16384 ]));
for my $case (
    [ 'a length and chunks', [ 'Content-Length: 3', $chunked ] ],
    [ 'chunks and a length', [ $chunked, 'Content-Length: 3' ] ],
    [ 'two lengths', [ 'Content-Length: 3', 'Content-Length: 4' ] ],
    [ 'the same length twice', [ 'Content-Length: 3', 'Content-Length: 3' ] ],
    [ 'a list of lengths', ['Content-Length: 3, 3'] ],
    [ 'a length with a sign', ['Content-Length: +3'] ],
    [ 'a hexadecimal length', ['Content-Length: 0x3'] ],
    [ 'a length in two lines', ["Content-Length:\r\n 3"] ],
    [ 'a folded header', ["X-A: 1\r\n\tContent-Length: 3"] ],
    [ 'a blank before the colon', ['Content-Length : 3'] ],
    [ 'a line that ends with LF alone', ["X-A: 1\nContent-Length: 3"] ],
    [ 'a CR in a line', ["X-A: 1\rContent-Length: 3"] ],
    [ 'a NUL', ["X-A: 1\0"] ],
    [ 'a second Host', ['Host: other'] ],
) {
    my ($name, $headers) = @$case;
    refused($name, 400, HttpPeer->bytes_of('POST', '/', headers => $headers) . "0\r\n\r\n$next");
}
for my $chunks ("\r\n", "x\r\n", "-1\r\n", "3\nabc\n0\n\n", "3\r\nabcd\r\n", "3 3\r\nabc\r\n", "0x3\r\nabc\r\n", "2\r\nab\n") {
    (my $shown = $chunks) =~ s/([\r\n])/$1 eq "\r" ? '\r' : '\n'/ge;
    refused("the chunks $shown", 400, HttpPeer->bytes_of('POST', '/', headers => [$chunked]) . "${chunks}0\r\n\r\n$next");
}
refused('no Host', 400, "GET / HTTP/1.1\r\n\r\n$next");
refused('lines that end with LF', 400, "GET / HTTP/1.1\nHost: h\n\n$next");
refused('chunks in HTTP/1.0', 400, "POST / HTTP/1.0\r\n$chunked\r\n\r\n0\r\n\r\n$next");
refused('no HTTP', 400, "\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\r\n\r\n");
refused('a target that is none', 400, "GET example.com:80 HTTP/1.1\r\nHost: h\r\n\r\n$next");
refused('HTTP/2', 400, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

# ---- answers that are none ----

sub fails {
    my ($name, $value, $warning) = @_;
    $answer = $value;
    my $peer = peer();
    my $got = $peer->fetch('GET', '/');
    is($got->{line}, 'HTTP/1.1 500 Internal Server Error', "$name: 500");
    like(join('', warned()), qr/\AEV::Websockets: exception in on_request: $warning/, "$name: and a warning");
    $answer = $echo;
    is($peer->fetch('GET', '/next')->{body}, 'GET /next: ', "$name: the connection goes on");
    return;
}
fails('a die', sub { die "thrown on purpose\n" }, qr/thrown on purpose\n\z/);
fails('a die with an object', sub { die { code => 1 } }, qr/HASH/);
my $triple = qr/on_request must return \[ \$status, \\\@headers, \\\@body \]/;
fails('undef', undef, qr/$triple \(got 'undef'\)/);
fails('a string', 'page', qr/$triple \(got 'page'\)/);
fails('a hash', {}, $triple);
fails('two elements', [ 200, [] ], $triple);
fails('four elements', [ 200, [], [], 1 ], $triple);
fails('no value at all', sub { return }, $triple);
for my $status (undef, 'OK', 0, 99, 100, 101, 199, 600, 200.5, -200, [], '200 OK') {
    my $shown = defined $status ? ref $status || $status : 'undef';
    fails("status $shown", [ $status, [], [] ], qr/on_request: the status must be a whole number from 200 to 599 \(got '/);
}
fails('headers in a hash', [ 200, {}, [] ], qr/on_request: the headers must be an array reference/);
fails('an odd header', [ 200, [ 'X-A', 1, 'X-B' ], [] ], qr/on_request: the headers must be pairs .* \(got 3 strings\)/);
fails('an undefined value', [ 200, [ 'X-A', undef ], [] ], qr/on_request: the value of header number 1 must be a defined/);
fails('CR and LF in a value', [ 200, [ 'X-A', "1\r\nX-Evil: 2" ], [] ], qr/on_request: header 'X-A' contains CR, LF or NUL/);
fails('LF in a name', [ 200, [ "X-A\nX", 1 ], [] ], qr/on_request: header 'X-A\\nX' contains CR, LF or NUL/);
fails('a name that is none', [ 200, [ 'X A', 1 ], [] ], qr/on_request: header 'X A' has an invalid name/);
fails('a header of the framing', [ 200, [ 'Transfer-Encoding', 'chunked' ], [] ],
    qr/on_request: header 'Transfer-Encoding' is set by the server/);
fails('wide characters in a header', [ 200, [ 'X-A', 1, 'X-B', "\x{263A}" ], [] ],
    qr/on_request: the value of header number 2 has wide characters: it must be bytes/);
fails('a body that is a string', [ 200, [], 'page' ], qr/on_request: the body must be an array reference \(got 'page'\)/);
fails('wide characters in the body', [ 200, [], [ 'a', "\x{263A}" ] ],
    qr/on_request: body string number 2 has wide characters: it must be bytes/);
fails('undef in the body', [ 200, [], [ 'a', undef ] ], qr/on_request: body string number 2 must be a defined string/);
fails('a reference in the body', [ 200, [], [ \'a' ] ], qr/on_request: body string number 1 must be a defined string/);

croaks_like { $context->listen(on_request => 'page') } qr/\Alisten: on_request must be a code reference \(got 'page'\)/,
    'on_request is checked';
for my $timeout (-1, 'soon', []) {
    croaks_like { $context->listen(handshake_timeout => $timeout) }
        qr/\Alisten: handshake_timeout must be a non-negative number/, 'and so is handshake_timeout';
}
{
    my $peer = HttpPeer->connect($context->listen(on_request => undef));
    is($peer->fetch('GET', '/')->{status}, 426, 'on_request => undef is none');
}

# ---- what callbacks can do ----

{
    my $peer = peer();
    my $inner = peer();
    my $got;
    $answer = sub { $answer = $echo; $got = $inner->fetch('GET', '/inner')->{body}; return $echo->(@_) };
    is($peer->fetch('GET', '/outer')->{body}, 'GET /outer: ', 'a loop inside of on_request');
    is($got, 'GET /inner: ', 'serves others meanwhile');
}
{
    my $doomed = EV::Websockets::Context->new;
    my $peer = HttpPeer->connect($doomed->listen(on_request => sub { undef $doomed; return [ 200, [], ['late'] ] }));
    $peer->ask('GET', '/');
    run_until(sub { $peer->eof }, 'the context can be destroyed in on_request');
    is(scalar(() = $peer->responses), 0, 'nobody is answered then');
}

# ---- clients that take their time ----

{
    # Larger than the kernel's buffers, for a reader who stands still for a while.
    # Made of pieces: a list of all its numbers is 400 MB, and on a busy machine that time was missing in the waits that follow.
    my $page = join '', map { pack 'N*', $_ * 4096 .. $_ * 4096 + 4095 } 0 .. 1023;
    $answer = sub { $_[0]{path} eq '/large' ? [ 200, [], [ $page, 'end' ] ] : $echo->(@_) };
    my $slow = peer()->stop_reading->ask('GET', '/large');
    run_until(sub { grep { $_->{path} eq '/large' } @seen }, 'a large page is asked for');
    is(peer()->fetch('GET', '/other')->{body}, 'GET /other: ', 'others are served while it goes out');
    $slow->start_reading;
    run_until(sub { $slow->responses }, 'and in the end it is there');
    ok(($slow->responses)[0]{body} eq $page . 'end', 'all of it');
    is($slow->fetch('GET', '/next')->{body}, 'GET /next: ', 'the next one comes behind it');
}
{
    my $page = 'x' x (32 * 1024 * 1024);
    my $asked;
    my $quick = $context->listen(on_request => sub { $asked = 1; [ 200, [], [$page] ] }, handshake_timeout => 0.2);
    my $stalled = HttpPeer->connect($quick)->stop_reading->ask('GET', '/');
    # A busy machine takes longer than that to copy the page: nobody else may wait meanwhile,
    # or he is sent away as soon as it is copied, and it was no proof that this one had his time.
    run_until(sub { $asked }, 'a page is asked for');
    # The deadline of whoever comes after it is over later.
    for my $try (1 .. 2) {
        my $other = HttpPeer->connect($quick);
        run_unticked(sub { $other->eof }, 'who asks for nothing at all is sent away');
        is(($other->responses)[0]{status}, 408, 'and told so');
    }
    $stalled->start_reading;
    run_until(sub { $stalled->eof }, 'who does not read his page is cut off');
    is(scalar(() = $stalled->responses), 0, 'in the middle of it');

    my $half = HttpPeer->connect($quick)->put("GET / HTTP/1.1\r\nHo");
    run_unticked(sub { $half->eof }, 'half a request is too little');
    is(($half->responses)[0]{status}, 408, 'after that time');
    my $body = HttpPeer->connect($quick)->put(HttpPeer->bytes_of('POST', '/', headers => ['Content-Length: 9']) . 'half');
    run_unticked(sub { $body->eof }, 'half a body, too');
    is(($body->responses)[0]{status}, 408, 'after that time');
    $page = 'small';
    my $idle = HttpPeer->connect($quick);
    is($idle->fetch('GET', '/')->{body}, 'small', 'who asks for nothing more');
    run_unticked(sub { $idle->eof }, 'is let go');
    is(scalar(() = $idle->responses), 1, 'without a word');
}

finish();
