use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

use Attempt;
use Certificates;
use EV;
use EV::Websockets;
use Events;
use Pair;
use ServerProgram;
use Run;

# wss:// through proxies: TLS is between the ends, and the proxy passes it on.

my $made = Certificates->new;
$made->ca('ca');
$made->issue('server', issuer => 'ca', san => 'DNS:localhost');
$made->issue('alice', issuer => 'ca', san => undef);
my $ca = $made->file('ca.pem');
my $large = join '', map { chr($_ * 31 % 256) } 1 .. 1_000_000;

my $listening = Pair->listen(listen => {
    $made->listen_with('server'),
    ssl_verify_client => 1,
    ssl_client_ca     => $ca,
    on_message        => sub { $_[0]->send_binary($_[1]) },
});
my $url = 'wss://localhost:' . $listening->port . '/';
my %identity = $made->listen_with('alice');

sub passes {
    my ($name, $server, $proxy) = @_;
    subtest "by way of $name" => sub {
        my $context = EV::Websockets::Context->new(proxy => $proxy, ssl_ca => $ca, %identity);
        $listening->server->forget;
        my $events = Events->new;
        my $conn = $context->connect(
            url => $url,
            $events->handlers(on_connect => sub { $_[0]->send('small'); $_[0]->send_binary($large) }),
        );
        run_until(sub { $events->count('message') == 2 || $events->count('error') }, 'answered');
        is_deeply [map { $_ eq $large ? 'large' : $_ } $events->messages], [qw(small large)], 'what was sent comes back'
            or return diag $events->last_of('error') && $events->last_of('error')->[0];
        is_deeply [@{ $conn->tls }{qw(server_name verified)}], ['localhost', 1], 'from the server, and not from the proxy';
        is_deeply [@{ $listening->server->conn->tls }{qw(server_name verified)}], ['localhost', 1], 'which knows its client';
        $conn->close(4000, 'enough');
        run_until(sub { $events->count('close') && $listening->server->count('close') }, 'closed');
        is_deeply $listening->server->last_of('close'), [4000, 'enough'], 'in order';

        like outcome($context, 'wss://127.0.0.1:' . $listening->port), qr/\ATLS handshake with 127\.0\.0\.1: .*not valid for name "127/,
            'it is the host of the URL that is looked for in the certificate';

        $events->forget;
        $context->connect(url => $url, $events->handlers);
        run_until(sub { $events->count('connect') }, 'connected again');
        $server->stop;
        run_until(sub { $events->count('close') }, 'without the proxy that is over');
        is $events->last_of('close')->[0], 1006, 'with 1006';
        like outcome($context, $url), qr/\Aproxy 127\.0\.0\.1.*refused/, 'and the next does not come about';
    };
    return;
}

SKIP: {
    skip 'tinyproxy is not installed', 2 if !ServerProgram::find('tinyproxy');
    my $open   = ServerProgram->tinyproxy or die 'tinyproxy does not start';
    my $locked = ServerProgram->tinyproxy('BasicAuth me secret') or die 'tinyproxy does not start';
    passes('tinyproxy', $open, 'http://127.0.0.1:' . $open->port);
    passes('tinyproxy with a password', $locked, 'http://me:secret@127.0.0.1:' . $locked->port);
}

SKIP: {
    skip 'microsocks is not installed', 2 if !ServerProgram::find('microsocks');
    for (['socks5'], ['socks5h', '-u', 'me', '-P', 'secret']) {
        my ($scheme, @options) = @$_;
        my $server = ServerProgram->microsocks(@options) or die 'microsocks does not start';
        passes("microsocks, $scheme", $server, "$scheme://" . (@options ? 'me:secret@' : '') . '127.0.0.1:' . $server->port);
    }
}

# TLS to the proxy itself is not there, and neither is SOCKS 4.
for my $scheme (qw(https socks4 socks4a)) {
    croaks_like { EV::Websockets::Context->new(proxy => "$scheme://127.0.0.1:1") }
        qr/\Anew: proxy: the scheme of a proxy must be http, socks5 or socks5h \(got '$scheme'\)/, "$scheme:// is refused in words";
}

finish;
