use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Attempt;
use Errno qw(ECONNREFUSED ENOENT EADDRINUSE);
use EV;
use EV::Websockets;
use File::Temp qw(tempdir);
use Frame;
use IO::Socket::INET;
use Pair;
use RawPeer;
use Run;
use Test::More;

# What errors say: in perl's words, to the right reader, and aloud.

my $context = EV::Websockets::Context->new(proxy => '');
my $dir     = tempdir(CLEANUP => 1);
sub text_of { my ($errno) = @_; local $! = $errno; return "$!" }
# A port that was free a moment ago.
my $free = do { IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1)->sockport };
my $url  = "ws://127.0.0.1:$free/";

# ---- the system's errors are $!'s text: "(os error 111)" was behind them ----

is(outcome($context, $url), "connect to 127.0.0.1:$free: " . text_of(ECONNREFUSED), 'refused');
is(outcome($context, "ws+unix:$dir/none:/"), "connect to $dir/none: " . text_of(ENOENT), 'a Unix socket that is not there');
is(outcome(EV::Websockets::Context->new(proxy => "http://127.0.0.1:$free"), 'ws://127.0.0.9/'),
    "proxy 127.0.0.1:$free: connect to 127.0.0.1:$free: " . text_of(ECONNREFUSED), 'a proxy');
my $taken = IO::Socket::INET->new(LocalAddr => '0.0.0.0', Listen => 1);
croaks_with { $context->listen(port => $taken->sockport) } 'listen: failed to bind port: ' . text_of(EADDRINUSE), 'listen: port';
croaks_with { $context->listen(host => '127.0.0.1', port => $taken->sockport) }
    "listen: failed to bind host '127.0.0.1', port " . $taken->sockport . ': ' . text_of(EADDRINUSE), 'listen: host';
croaks_with { $context->listen(path => "$dir/none/socket") }
    "listen: failed to bind path '$dir/none/socket': " . text_of(ENOENT), 'listen: path';
croaks_with { $context->listen(ssl_cert => "$dir/none", ssl_key => "$dir/none") }
    "Failed to create vhost for listening: cannot read ssl_cert '$dir/none': " . text_of(ENOENT), 'listen: ssl_cert';
croaks_with { $context->connect(url => 'wss://127.0.0.1/', ssl_ca => "$dir/none") }
    "connect: cannot read ssl_ca '$dir/none': " . text_of(ENOENT), 'connect: ssl_ca';
unlike(outcome($context, 'ws://no-such-name.invalid/'), qr/os error|failed to lookup/, 'a name that is none');

# ---- a peer reads its close reason: "peer sent ..." was about it, not to it ----

my $pair = Pair->listen;
for (
    [ 'text', 1007, 'text is not valid UTF-8', 'peer sent a text message that is not UTF-8', TEXT, "\xff" ],
    [ 'a reserved bit', 1002, 'a frame with reserved bits set (RFC 6455 section 5.2)',
        'peer sent a frame with reserved bits set', TEXT, 'x', rsv => 1 ],
    [ 'a continuation', 1002, 'a continuation frame without a message (RFC 6455 section 5.4)',
        'peer sent a continuation frame without a message', CONT, 'x' ],
) {
    my ($name, $code, $reason, $text, @frame) = @$_;
    $pair->server->follow_next;
    my $peer = RawPeer->connect($pair->port)->upgrade;
    $peer->send_frame(@frame);
    run_until(sub { $peer->close_read && $pair->server->count('close') }, "$name: failed");
    is_deeply([ $peer->close_read ], [ $code, $reason ], "$name: the peer's close reason");
    like($pair->server->last_of('error')->[0], qr/\A\Q$text\E \(RFC/, "$name: on_error");
}

# ---- a connection that could not be made, and nobody who asks, was silent ----

# All of these fail; on the last one's on_error everything has been said.
sub attempts {
    my ($from, @urls) = @_;
    my $last = 0;
    my @conn = map { $from->connect(url => $_) } @urls;
    run_until(sub { !grep { $_->state ne 'closed' } @conn }, 'failed');
    return @conn;
}
my $said = "connect to 127.0.0.1:$free: " . text_of(ECONNREFUSED)
    . ' (there is no on_error; it is told once for each context)';
{
    my $quiet = EV::Websockets::Context->new(proxy => '');
    attempts($quiet, "$url?token=secret");
    my @warnings = warned();
    is(scalar @warnings, 1, 'one warning');
    like($warnings[0], qr/\AEV::Websockets: \Q$url: $said\E at /, 'with the URL, without its query, and the cause');
    attempts($quiet, $url, $url);
    is_deeply([ warned() ], [], 'once for each context');
    attempts(EV::Websockets::Context->new(proxy => ''), $url, $url);
    is(scalar(() = warned()), 1, 'and once for another');
}
{
    my $quiet  = EV::Websockets::Context->new(proxy => '');
    my $errors = 0;
    $quiet->connect(url => $url, on_error => sub { $errors++ });
    run_until(sub { $errors }, 'on_error');
    my $aborted = $quiet->connect(url => $url);
    $aborted->abort;
    run_until(sub { $aborted->state eq 'closed' }, 'aborted');
    is_deeply([ warned() ], [], 'whoever listens, or ends it himself, is not told');
    local $SIG{__WARN__} = sub { undef $quiet; die "from the handler\n" };
    my $printed = '';
    {
        open my $stderr, '>&', \*STDERR or die $!;
        open STDERR, '>', "$dir/stderr" or die $!;
        my $conn = $quiet->connect(url => $url);
        my $late = wait_until(sub { $conn->state eq 'closed' && !$quiet });
        open STDERR, '>&', $stderr or die $!;
        ok($late, 'a warn handler that dies, and drops the context');
    }
}

finish;
