use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Events;
use RawServer;
use Run;
use ScriptedProxy;
use Test::More;

# A client behind an HTTP proxy: what the proxy is asked, and what comes of its
# answers. Which proxy it is: t/182-proxy-choice.t.

delete @ENV{qw(http_proxy https_proxy all_proxy no_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY)};

my $connect = qr/CONNECT .*?\r\n\r\n/s;

# Connects in a context with these options, and returns the events.
sub connected {
    my ($name, $url, %options) = @_;
    my $events  = Events->new;
    my $context = EV::Websockets::Context->new(%options);
    $events->{context} = $context;
    $context->connect(url => $url, $events->handlers);
    run_unticked(sub { @{ $events->log } }, "$name: decided");
    is($events->order, 'connect', "$name: connected") or diag(join ' ', map { "@$_[2 .. $#$_]" } @{ $events->log });
    return $events;
}

sub fails {
    my ($name, $text, $proxy, %options) = @_;
    my $events  = Events->new;
    my $context = EV::Websockets::Context->new(proxy => $proxy);
    my $conn = $context->connect(url => 'ws://server.example/', $events->handlers(%options));
    run_until(sub { @{ $events->log } }, "$name: decided");
    is($events->order, 'error', "$name: on_error");
    like($events->last_of('error')->[0], $text, "$name: the text");
    is($conn->state, 'closed', "$name: closed");
}

# The name is the proxy's to look up. Loopback goes there as well: the program
# said so.
for my $case (
    [ 'ws://server.example/chat?x=1', 'server.example:80', 'server.example', '/chat?x=1' ],
    [ 'ws://server.example:8080',     'server.example:8080', 'server.example:8080', '/' ],
    [ 'ws://127.0.0.1:9/',            '127.0.0.1:9', '127.0.0.1:9', '/' ],
    [ 'ws://[::1]/',                  '[::1]:80', '[::1]', '/' ],
) {
    my ($url, $target, $host, $path) = @$case;
    my $proxy = ScriptedProxy->new([ $connect, "HTTP/1.1 200 Connection established\r\n\r\n" ]);
    my $events = connected($url, $url, proxy => '127.0.0.1', proxy_port => $proxy->port);
    is($proxy->seen, "CONNECT $target HTTP/1.1\r\nHost: $target\r\n\r\n", "$url: asks for a tunnel");
    is($proxy->server->start_line, "GET $path HTTP/1.1", "$url: and in it for the upgrade");
    is_deeply([ $proxy->server->header('Host') ], [$host], "$url: of the server");
    is($events->conn->peer_address, '127.0.0.1', "$url: the peer's address is the proxy's");
    $proxy->server->send_frame(1, 'through');
    run_until(sub { $events->count('message') }, "$url: a message comes through");
}

# User name and password, percent-encoded or not; nobody is told who is not named.
for my $case ([ 'Aladdin:open%20sesame', 'QWxhZGRpbjpvcGVuIHNlc2FtZQ==' ], [ 'me', 'bWU6' ], [ 'a:b@c:d', 'YTpiQGM6ZA==' ]) {
    my ($userinfo, $base64) = @$case;
    my $proxy = ScriptedProxy->new([ $connect, "HTTP/1.1 200 OK\r\n\r\n" ]);
    connected($userinfo, 'ws://server.example/', proxy => "http://$userinfo\@127.0.0.1:" . $proxy->port);
    like($proxy->seen, qr/^Proxy-Authorization: Basic \Q$base64\E\r$/m, "$userinfo: sent in Base64");
    ok(!$proxy->server->header('Proxy-Authorization'), "$userinfo: but not to the server");
}

# Answers that are tunnels, byte by byte too.
for my $answer ("HTTP/1.0 200 OK\r\n\r\n", "HTTP/1.1 299\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\nX: y\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n") {
    my ($shown) = $answer =~ /\A(.*)\r\n\r\n\z/s;
    $shown =~ s/\r\n/ | /g;
    my $drip;
    my $proxy = ScriptedProxy->new([ $connect, sub {
        my ($fh) = @_;
        my @bytes = split //, $answer;
        $drip = EV::timer(0, 0.001, sub { @bytes ? syswrite($fh, shift @bytes) : undef $drip });
    } ]);
    connected($shown, 'ws://server.example/', proxy => '127.0.0.1:' . $proxy->port);
}

# Refusals and nonsense.
my $port;
my $answering = sub {
    my ($answer) = @_;
    my $proxy = ScriptedProxy->new([ $connect, $answer ]);
    $port = $proxy->port;
    return ("http://me:secret\@127.0.0.1:$port", $proxy);
};
for my $status ('403 Filtered', '407 Proxy Authentication Required', '502 Bad Gateway', '101 Switching Protocols', '301 Moved') {
    my ($url, $proxy) = $answering->("HTTP/1.1 $status\r\nLocation: http://127.0.0.1/\r\n\r\n");
    fails($status, qr/\Aproxy 127\.0\.0\.1:$port: answered: \Q$status\E\z/, $url);
}
for my $case (
    [ 'no HTTP', "SSH-2.0-OpenSSH_9.2\r\n", qr/malformed HTTP response/ ],
    [ 'an escape sequence', "HTTP/1.1 403 \e[31mno\r\n\r\n", qr/403 (?!.*\e)/ ],
    [ 'a head that never ends', "HTTP/1.1 200 OK\r\nX: " . 'x' x 100_000, qr/too large a response/ ],
    [ '1000 headers', "HTTP/1.1 200 OK\r\n" . "X: y\r\n" x 1000 . "\r\n", qr/too many headers/ ],
    [ 'data behind the answer', "HTTP/1.1 200 OK\r\n\r\nHello", qr/data of its own behind its answer/ ],
    [ 'the end', sub { close $_[0] }, qr/closed the connection without an answer/ ],
    [ 'the end in the middle', sub { syswrite $_[0], "HTTP/1.1 20"; close $_[0] }, qr/in the middle of its answer/ ],
) {
    my ($name, $answer, $text) = @$case;
    my ($url, $proxy) = $answering->($answer);
    fails($name, qr/\A(?=proxy 127\.0\.0\.1:$port: )(?:.*?)$text/s, $url);
}

# The deadline covers the proxy.
{
    my ($url, $proxy) = $answering->('');
    fails('no answer', qr/\Aconnect timeout\z/, $url, connect_timeout => 0.1);
    my $deaf = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Listen => 1);
    fails('nobody accepts', qr/\Aconnect timeout\z/, '127.0.0.1:' . $deaf->sockport, connect_timeout => 0.1);
}

# A proxy that is not there.
{
    my $unused = RawServer::unused_port();
    my $refused = do { local $! = Errno::ECONNREFUSED(); "$!" };
    fails('refused', qr/\Aproxy 127\.0\.0\.1:$unused: connect to 127\.0\.0\.1:$unused: \Q$refused\E/, "127.0.0.1:$unused");
    fails('refused, by name', qr/\Aproxy localhost:$unused: cannot connect to localhost: .*\Q$refused\E/, "localhost:$unused");
    fails('no such proxy', qr/\Aproxy no-such-proxy\.invalid:1080: cannot resolve no-such-proxy\.invalid/, 'no-such-proxy.invalid');
}

# A context that goes away in the middle of the dialogue.
{
    my ($url, $proxy) = $answering->('');
    my $events = Events->new;
    my $context = EV::Websockets::Context->new(proxy => $url);
    my $conn = $context->connect(url => 'ws://server.example/', $events->handlers);
    run_until(sub { $proxy->seen }, 'the proxy was asked');
    undef $context;
    settle();
    is_deeply($events->log, [], 'no callback once the context is gone');
    is($conn->state, 'closed', 'the connection is closed');
}

finish();
