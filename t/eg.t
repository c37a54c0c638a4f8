use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use File::Basename qw(basename);
use File::Spec;
use Program;
use Test::More;

# Every program in eg/ runs as it stands: it ends by itself, complains about
# nothing, and its output shows that what it demonstrates took place.

use constant SECONDS => 60;    # for one program

my $eg = "$FindBin::Bin/../eg";

my %shows = (
    'adopt_server.pl' => [
        qr/^server: a client of \/chat\nclient: hello\nserver: closed with 1000\nclient: closed with 1000$/m,
    ],
    'auth_later.pl' => [
        qr/^nobody: .*401 Unauthorized$/m,
        qr/^ann: let in as ann\nann: welcome, ann$/m,
        qr/^mallory: .*403 Forbidden$/m,
        qr/^bob: let in as bob\nbob: welcome, bob$/m,
        qr/^carol: .*500 Internal Server Error$/m,
        qr/^dave: .*503 Service Unavailable$/m,
    ],
    'backpressure.pl' => [
        qr/^received 500 chunks,\s+31\.2 MiB$/m,
        qr/^total    500 chunks, 32768000 bytes, closed with 1000 \(end of stream\)$/m,
        qr/^speed    [0-9]+ MB\/s/m,
        qr/^queue    256 KiB at most, 256 KiB allowed/m,
        qr/^verified: every chunk came once, in order and unchanged$/m,
    ],
    'behind_proxy.pl' => [
        qr/^server: 192\.0\.2\.1 port 4000[13] is here$/m,
        qr/^server: 2001:db8::2 port 40002 is here$/m,
        qr/^server: 192\.0\.2\.1 was turned away: 503 Service Unavailable: .* from this address\.$/m,
        qr/^server: 127\.0\.0\.1 was turned away: PROXY: there is no head$/m,
        qr/^server: 2 clients, 2 turned away$/m,
    ],
    'binary_test.pl' => [
        qr/^all 256 byte values +256 bytes binary as sent$/m,
        qr/^text, encoded and decoded +10 bytes text +as sent$/m,
        qr/^5 of 5 came back as they were sent$/m,
    ],
    'chat_server.pl' => [
        qr/^\[bob sees\] ann: hello, bob!$/m,
        qr/^\[ann sees\] bob: hello, ann\.$/m,
        qr/^\[bob sees\] \* ann left$/m,
        qr/^\[bob\] gone$/m,
    ],
    'cluster_chat.pl' => [
        qr/^\[ann sees\] \* bob is here$/m,
        qr/^\[bob sees\] ann: hello, bob!$/m,
        qr/^\[ann sees\] bob: hello, ann\.$/m,
        qr/^\[ann sees\] \* bob has left\neverything has stopped$/m,
    ],
    'compression.pl' => [
        qr/^plain: +15402 bytes to send \(no extension\)\n +15402 bytes in 100 messages$/m,
        qr/^each by itself: +1[0-4][0-9]{3} bytes to send \(permessage-deflate;.*_no_context_takeover\)\n +15402 bytes in 100 messages$/m,
        qr/^with takeover: +[1-4][0-9]{3} bytes to send \(permessage-deflate\)\n +15402 bytes in 100 messages$/m,
    ],
    'coro.pl' => [
        (map { my $name = $_; map { qr/^$name $_$/m } "gets 'here you are, $name: .*'", 'leaves' } qw(ann bob)),
        qr/^everyone has left$/m,
    ],
    'echo_test.pl' => [
        qr/^server: a client came from 127\.0\.0\.1$/m,
        qr/^client: got 'good bye' back\nclient: closed with code 1000$/m,
    ],
    'feersum_native.pl' => [
        qr/^server: a client of \/chat\nclient: hello, too\nserver: closed with 1000\nclient: closed with 1000$/m,
    ],
    'feersum_psgi.pl' => [
        qr/^server: a client of \/chat\nclient: hello, too\nserver: closed with 1000\nclient: closed with 1000$/m,
    ],
    'future.pl' => [
        qr/^ann: 'stressed' backwards is 'desserts'$/m,
        (map { qr/^$_: the server has closed$/m } qw(ann bob)),
        qr/^together: 2 \+ 1 words\nno message in time\nfailed: .*Connection refused.*\ndone$/m,
    ],
    'graceful_shutdown.pl' => [
        (map { qr/^client $_: got 'last words'$/m } 1 .. 3),
        (map { qr/^client $_: closed with 1001 \(server is stopping\)$/m } 1 .. 3),
        qr/^server: everyone is gone, 0 had to be cut$/m,
        qr/^the loop has nothing left to do$/m,
    ],
    'headers_and_cookies.pl' => [
        qr/^server: path '\/a room', query 'lang=en', languages 'en, fr'$/m,
        qr/^client: got a cookie\nclient: comes with a cookie$/m,
        qr/^client: accepted, served by headers_and_cookies\.pl\nclient: comes with nothing$/m,
        qr/^client: refused: .*403 Forbidden/m,
    ],
    'json_protocol.pl' => [
        qr/^speaking calls\.example\.v1$/m,
        qr/^add: +55$/m,
        qr/^reverse: \["s\xC3\xA9t\xC3\xA9"\]$/m,
        qr/^divide: +error: Illegal division by zero$/m,
        qr/^launch: +error: no method 'launch'$/m,
        qr/^all calls are answered$/m,
    ],
    'keepalive.pl' => [
        qr/^server: frozen: ping timeout\nserver: frozen is closed with 1006$/m,
        qr/^server: lively answered within 0\.[0-9]+ s$/m,
    ],
    'metrics.pl' => [
        qr/^client 1: you said: hello from 1$/m,
        qr/^websocket_messages_received_total 2$/m,
        qr/^websocket_closed_total\{code="1000"\} 1$/m,
    ],
    'multi_conn.pl' => [
        qr/^100 clients are connected, 200 connections in the context$/m,
        qr/^2000 echoes, 0 of them wrong, in /m,
    ],
    'mutual_tls.pl' => [
        qr/^server: alice is here\nalice: got 'hello, alice'\nalice: closed with 1000$/m,
        qr/^bob: closed with 1008 \(bob may not enter\)$/m,
        qr/^mallory: not let in: .*unknown CA$/m,
        qr/^nobody: not let in: .*certificate required$/m,
    ],
    'prefork.pl' => [
        qr/^master [0-9]+: 3 workers at port [0-9]+$/m,
        qr/^client: kills worker ([0-9]+)$(?s:.*)^master: worker \1 has died \(status 9\)$/m,
        qr/^client: disconnected with 1006$(?s:.*)^client: is served by worker [0-9]+; reloads$/m,
        qr/^client: disconnected with 1001 \(try again\)\nclient: is served by worker [0-9]+ of the next generation/m,
        qr/^master: all workers have ended$/m,
    ],
    'proxy.pl' => [
        qr/^gateway: .* backend paused meanwhile$/m,
        qr/^client: 32 of 32 MiB, closed with 1000 \(that was all\)$/m,
        qr/the queue never passed 576 KiB: true$/m,
    ],
    'reconnect.pl' => [
        qr/^server: crashes\nclient: closed with 1006$/m,
        qr/^client: no connection \(.*Connection refused.*\)$/m,
        qr/^client: echo of 'connection 2'\nclient: closed with 1000$/m,
        qr/^connected 2 times, 3 attempts failed in between$/m,
    ],
    'resume.pl' => [
        qr/^client: is cut after number [0-9]+$/m,
        qr/^client: was cut [1-9][0-9]* times, and missed [0-9]+ messages that way$/m,
        qr/^client: 2000 of 2000 messages came once, 0 gaps, 0 out of order$/m,
    ],
    'router.pl' => [
        qr/^\/upper +answers 'PERL '$/m,
        qr/^\/times\?n=3 +answers 'Perl Perl Perl '$/m,
        qr/^\/nowhere +refused: .*403 Forbidden/m,
        qr/^all 5 paths tried$/m,
    ],
    'self_signed.pl' => [
        qr/^the roots of the system: refused: TLS handshake with localhost: /m,
        qr/^this certificate: echo of hello$/m,
        qr/^another name: refused: .*not valid for name "::1"/m,
        qr/^no verification: echo of hello$/m,
    ],
    'state_monitor.pl' => [
        qr/^after connect +connecting .*\n +send while connecting: Connection is not open$/m,
        qr/^after send +connected +connected=1 connecting=0 queue=5 peer=127\.0\.0\.1 protocol=demo$/m,
        qr/^in on_drain +connected +connected=1 connecting=0 queue=0 /m,
        qr/^after close +closing /m,
        qr/^in on_close \(1000\) +closed /m,
        qr/^in on_error +closed .*\n.*Connection refused/m,
        qr/^end of the loop$/m,
    ],
    'ticker.pl' => [
        qr/^market: fails a client: send queue is full$/m,
        qr/^fast,close +[0-9]+ +0 .* 20 of 20  1001 \(the market has closed\)$/m,
        qr/^slow,close +[0-9]+ +[0-9]+ .* 1013 \(send queue is full\)$/m,
        (map { qr/^slow,$_ +[0-9]+ +1[0-9]{4} .* 1001 \(the market has closed\)$/m } qw(drop_new drop_old)),
        qr/^slow,latest +[0-9]+ +1[0-9]{4} .* 20 of 20  1001 \(the market has closed\)$/m,
    ],
    'tls_server.pl' => [
        qr/^client: the server is who it says$/m,
        qr/^client: got 'hello' back\nclient: closed with code 1000$/m,
    ],
    'twiggy_psgi.pl' => [
        qr/^server: a client of \/chat\nclient: hello, too\nserver: closed with 1000\nclient: closed with 1000$/m,
    ],
    'unix_socket.pl' => [
        qr/^server: listening, file mode 0600$/m,
        qr/^server: a client from this machine asks for \/reverse\?lang=en$/m,
        qr/^client: got 'desserts'\nclient: closed with code 1000$/m,
        qr/^the socket is gone$/m,
    ],
);

# What some of them need beside the module: programs, and modules of Perl.
my %needs = (
    'cluster_chat.pl' => [qw(redis-server AnyEvent::Redis)],
    'coro.pl'         => [qw(Coro)],
    map({ $_ => ['Feersum'] } qw(feersum_native.pl feersum_psgi.pl)),
    'twiggy_psgi.pl'  => ['Twiggy'],
    'future.pl'       => [qw(Future Future::AsyncAwait)],
    map({ $_ => ['openssl'] } qw(mutual_tls.pl self_signed.pl tls_server.pl)),    # they make certificates
);

sub missing {
    my ($need) = @_;
    (my $file = "$need.pm") =~ s{::}{/}g;
    return !grep { !ref && -e "$_/$file" } @INC if $need =~ /\A[A-Z]/;    # not loaded here: Coro changes the process
    return !grep { -x File::Spec->catfile($_, $need) } File::Spec->path;
}

my @programs = sort map { basename($_) } glob "$eg/*.pl";
is_deeply(\@programs, [ sort keys %shows ], 'every program of eg/ has a row here');

for my $program (grep { $shows{$_} } @programs) {
    if (my @missing = grep { missing($_) } @{ $needs{$program} || [] }) {
        diag("$program is not run: @missing not installed");
        next;
    }
    my $out = ends_well($program, SECONDS, "$eg/$program");
    like($out, $_, "$program: prints what it should") for @{ $shows{$program} };
}

done_testing();
