use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Events;
use Pair;
use ServerProgram;
use RawServer;
use Run;
use Test::More;

# Through real proxies: tinyproxy (HTTP CONNECT) and microsocks (SOCKS5).

my $listening = Pair->listen(listen => { on_message => sub { $_[0]->send_binary($_[1]) } });
my $large = join '', map { chr($_ * 31 % 256) } 1 .. 500_000;

# A conversation by way of the proxy, which is then taken away.
sub passes {
    my ($name, $server, $proxy, $host) = @_;
    my $events  = Events->new;
    my $context = EV::Websockets::Context->new(proxy => $proxy);
    my $conn = $context->connect(
        url => "ws://$host:" . $listening->port . '/',
        $events->handlers(on_connect => sub { $_[0]->send('small'); $_[0]->send_binary($large) }),
    );
    run_until(sub { $events->count('message') == 2 || $events->count('error') }, "$name: answered");
    is_deeply([ $events->messages ], [ 'small', $large ], "$name: what was sent comes back")
        or diag($events->last_of('error') && $events->last_of('error')->[0]);
    return if !$server;
    $server->stop;
    run_until(sub { $events->count('close') }, "$name: the end of the proxy");
    is($events->last_of('close')->[0], 1006, "$name: is the end of the connection");
}

sub refuses {
    my ($name, $proxy, $url, $text) = @_;
    my $events  = Events->new;
    my $context = EV::Websockets::Context->new(proxy => $proxy);
    $context->connect(url => $url, $events->handlers);
    run_until(sub { @{ $events->log } }, "$name: decided");
    is($events->order, 'error', "$name: on_error");
    like($events->last_of('error')->[0], $text, "$name: says why");
}

my $nobody = 'ws://127.0.0.1:' . RawServer::unused_port() . '/';

SKIP: {
    skip 'tinyproxy is not installed', 1 if !ServerProgram::find('tinyproxy');
    my $open   = ServerProgram->tinyproxy or die 'tinyproxy does not start';
    my $locked = ServerProgram->tinyproxy('BasicAuth me secret') or die 'tinyproxy does not start';
    my $narrow = ServerProgram->tinyproxy('ConnectPort 443') or die 'tinyproxy does not start';
    my ($open_at, $locked_at) = map { '127.0.0.1:' . $_->port } $open, $locked;

    passes('tinyproxy, by name', undef, "http://$open_at", 'localhost');
    refuses('tinyproxy without a password', $locked_at, $nobody, qr/answered: 407 Proxy Authentication Required/);
    refuses('tinyproxy with a wrong one', "me:wrong\@$locked_at", $nobody, qr/answered: 40[17] /);
    refuses('tinyproxy and nobody behind it', $open_at, $nobody, qr/answered: 50\d /);
    refuses('tinyproxy and a port it does not allow', '127.0.0.1:' . $narrow->port, $nobody, qr/answered: 403 /);
    passes('tinyproxy', $open, $open_at, '127.0.0.1');
    passes('tinyproxy with a password', $locked, "http://me:secret\@$locked_at", '127.0.0.1');
}

SKIP: {
    skip 'microsocks is not installed', 1 if !ServerProgram::find('microsocks');
    my $open   = ServerProgram->microsocks or die 'microsocks does not start';
    my $locked = ServerProgram->microsocks('-u', 'me', '-P', 'secret') or die 'microsocks does not start';
    my ($open_at, $locked_at) = map { '127.0.0.1:' . $_->port } $open, $locked;

    passes('microsocks, a name for it to look up', undef, "socks5h://$open_at", 'localhost');
    passes('microsocks, a name looked up here', undef, "socks5://$open_at", 'localhost');
    refuses('microsocks without a password', "socks5h://$locked_at", $nobody, qr/wants a user name and password/);
    refuses('microsocks with a wrong one', "socks5h://me:wrong\@$locked_at", $nobody, qr/refused the user name or password/);
    refuses('microsocks and nobody behind it', "socks5://$open_at", $nobody, qr/refused: connection refused/);
    refuses('microsocks and no such name', "socks5h://$open_at", 'ws://no-such-host.invalid/', qr/refused: \w/);
    passes('microsocks', $open, "socks5://$open_at", '127.0.0.1');
    passes('microsocks with a password', $locked, "socks5://me:secret\@$locked_at", '127.0.0.1');
}

finish();
