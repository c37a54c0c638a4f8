use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Events;
use HttpPeer;
use RawPeer;
use RawServer;
use Run;
use Test::More;

# Several requests in one segment: where one ends and the next begins is clear,
# or the connection ends. And what is wrong is told in the same words however it
# is cut.

my $context = EV::Websockets::Context->new;
my (@seen, @opened);
my %serve = (
    on_request => sub { push @seen, "$_[0]{method} $_[0]{path}: $_[0]{body}"; [ 200, [], ["$_[0]{path}"] ] },
    on_connect => sub { push @opened, $_[1]{Path} },
);
my $served = $context->listen(%serve);
my $bare   = $context->listen(on_connect => $serve{on_connect});

my $next = HttpPeer->bytes_of('GET', '/next');
my $upgrade = RawPeer->request(path => '/upgrade');
my $post = HttpPeer->bytes_of('POST', '/post', headers => ['Transfer-Encoding: chunked']);

sub shown { my ($text) = @_; $text =~ s/([^ -~])/sprintf '\\x%02x', ord $1/ge; return $text }

# How the bytes are put: at once, or one by one.
sub put {
    my ($peer, $bytes, $bytewise) = @_;
    return $peer->put($bytes) if !$bytewise;
    for my $byte (split //, $bytes) {
        last if $peer->eof;
        $peer->put($byte);
        EV::run(EV::RUN_NOWAIT());
    }
    return $peer;
}

# ---- trailers and extensions that are what they should be ----
for my $case (
    "5\r\nhello\r\n0\r\n\r\n",
    "5;a\r\nhello\r\n0;b=c\r\n\r\n",
    "5 ; a=\"b\tc\xe9\"\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
    "5\r\nhello\r\n0\r\nX-Sum:\r\nx:\t1 \r\nY: \xe9\r\n\r\n",
) {
    my $name = shown($case);
    for my $bytewise (0, 1) {
        @seen = @opened = ();
        my $peer = HttpPeer->connect($served)->expects('POST', 'GET');
        put($peer, "$post$case$next$upgrade", $bytewise);
        run_until(sub { $peer->responses >= 2 && @opened }, "$name: two responses and a WebSocket");
        is_deeply([ map { $_->{body} } grep { $_->{status} == 200 } $peer->responses ], [ '/post', '/next' ], "$name: each its own");
        is_deeply(\@seen, [ 'POST /post: hello', 'GET /next: ' ], "$name: with their bodies");
        $peer->hang_up;
    }
}

# Whatever is refused: answered 400 once, and the connection ends.
sub refused {
    my ($name, $port, $bytes) = @_;
    for my $bytewise (0, 1) {
        @seen = @opened = ();
        my $peer = HttpPeer->connect($port);
        put($peer, $bytes, $bytewise);
        run_until(sub { $peer->eof }, "$name: the connection ends");
        is(join(' ', map { $_->{status} } $peer->responses), 400, "$name: 400, and nothing else");
        is_deeply([ @seen, @opened ], [], "$name: the program hears of nothing");
    }
    return;
}

# ---- and those that are not ----
# Any line up to an empty one was thrown away: with these a whole request
# vanished, an upgrade too, and every later response answered the wrong one.
for my $trailer ("\r", "\r\r\n", "\0\r\n", "\x0b\r\n", " \r\n", "\t\r\n", "X-A: 1\r\n folded\r\n", "X-A: 1\r\n\tX-B: 2\r\n", "no colon\r\n",
    "X-A : 1\r\n", ": 1\r\n", "X A: 1\r\n", "X-A: 1\r2\r\n", "X-A: 1\r\r\n", "X-A: \0\r\n", "X-A: \x08\r\n", "X-A: 1\n", "\n")
{
    my $name = 'the trailer ' . shown($trailer);
    refused($name, $served, "${post}0\r\n$trailer$next$next");
    refused("$name before an upgrade", $served, "${post}0\r\n$trailer$upgrade");
}
refused('a request in place of the empty line', $served, "${post}0\r\n$_\r\n$next") for $next, $upgrade;
for my $extension (";\0", ";a=\x01", ";a=\x7f", ";a\rb", ";\r", "\x0b", "; a=\"\0\"") {
    my $name = 'the extension ' . shown($extension);
    refused($name, $served, "${post}1$extension\r\nx\r\n0\r\n\r\n$next");
    refused("$name of the last chunk", $served, "${post}0$extension\r\n\r\n$next");
}

# ---- lines of a head ----
for my $line ("X-A: 1\r\n folded", "X-A: 1\r\n\tfolded: 1", " X-A: 1", "X-A : 1", "X-A\t: 1", "X A: 1", ": 1", 'no colon', "X-A: 1\r2", "X-A: 1\r",
    "X-A: \0", "X\0A: 1", "X-A: \x08", "X-A: \x7f", "\x0b", "\r")
{
    my $name = 'the line ' . shown($line);
    refused("$name, a page", $served, HttpPeer->bytes_of('GET', '/', headers => [$line]) . $next);
    (my $head = $upgrade) =~ s/\r\nUpgrade/\r\n$line\r\nUpgrade/;
    refused("$name, an upgrade", $_, $head) for $served, $bare;
}

# ---- one input, one text ----
# A length that is wrong, in a frame that is not masked: which of the two was
# told depended on where the frame was cut.
for my $frame ("\x81\x7f\x80" . "\0" x 7, "\x82\x7e\0\1", "\x89\x7e\0\x7e", "\x81\xff\x80" . "\0" x 7) {
    my @texts;
    for my $bytewise (0, 1) {
        my $events = Events->new;
        my $peer = RawPeer->connect($context->listen($events->handlers))->upgrade;
        run_until(sub { $events->count('connect') && defined $peer->head }, 'connected');
        put($peer, $frame, $bytewise);
        run_until(sub { $events->count('close') }, 'and failed');
        push @texts, $events->last_of('error')->[0];
    }
    is($texts[1], $texts[0], shown($frame) . ": the same text, whole and byte by byte");
    like($texts[0], ord(substr $frame, 1) & 0x80 ? qr/highest bit/ : qr/unmasked/, 'that of the first mistake');
}
# What a client shows of a response that is none was as much as had come.
for my $answer ("SSH-2.0-OpenSSH_9.2\r\n", 'no line', "\x15\x03\x03\x00\x02\x02\x46", 'x' x 200) {
    my @texts;
    for my $bytewise (0, 1) {
        my $server = RawServer->new(answer => sub { put($_[0], $answer, $bytewise)->finish_writing });
        my $events = Events->new;
        my $conn = $context->connect(url => 'ws://127.0.0.1:' . $server->port, $events->handlers);
        run_until(sub { $events->count('error') }, 'no HTTP');
        push @texts, $events->last_of('error')->[0];
    }
    is($texts[1], $texts[0], 'the same text of ' . shown(substr $answer, 0, 20));
    my $begin = substr $answer, 0, 5;
    like($texts[0], qr/it begins with '\Q$begin\E/, 'which shows it') if $begin =~ /\A[ -~]+\z/;
}

finish();
