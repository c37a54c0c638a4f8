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

# Which proxy a connection goes through: options of new, the environment.

my @VARIABLES = qw(http_proxy https_proxy all_proxy no_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY);
delete @ENV{@VARIABLES};

# Three proxies, and whoever was asked for the last connection.
my %proxies = map { $_ => ScriptedProxy->new([ qr/CONNECT .*?\r\n\r\n/s, "HTTP/1.1 200 OK\r\n\r\n" ]) } qw(one two three);
my %at = map { $_ => '127.0.0.1:' . $proxies{$_}->port } keys %proxies;

# The name of the proxy that a connection to $url went through.
sub through {
    my ($env, $url, %options) = @_;
    local @ENV{ keys %$env } = values %$env;
    my %before  = map { $_ => $proxies{$_}->connections } keys %proxies;
    my $events  = Events->new;
    my $context = EV::Websockets::Context->new(%options);
    $context->connect(url => $url, $events->handlers);
    wait_until(sub { @{ $events->log } }) or return 'nothing came of it';
    my ($asked) = grep { $proxies{$_}->connections > $before{$_} } keys %proxies;
    delete @ENV{@VARIABLES};
    return $asked || 'none: ' . ($events->count('error') ? $events->last_of('error')->[0] : 'connected');
}

# No test of this file leaves the machine: a URL that must not be proxied names
# an address of this one, or a name that does not exist.
my $server = RawServer->new;
my $here   = 'ws://127.0.0.1:' . $server->port . '/';
my $away   = 'ws://server.example/';
my $none   = qr/\Anone: cannot resolve/;

is(through({ http_proxy => $at{one} }, $away), 'one', 'http_proxy');
is(through({ https_proxy => $at{one} }, $away), 'one', 'https_proxy, for want of a better one');
is(through({ all_proxy => $at{one} }, $away), 'one', 'all_proxy');
is(through({ http_proxy => $at{one}, https_proxy => $at{two}, all_proxy => $at{three} }, $away), 'one', 'http_proxy is the first for ws');
is(through({ https_proxy => $at{two}, all_proxy => $at{three} }, $away), 'two', 'then https_proxy');
is(through({ http_proxy => "http://$at{one}/" }, $away), 'one', 'as a URL');
is(through({ HTTPS_PROXY => $at{two} }, $away), 'two', 'HTTPS_PROXY');
is(through({ ALL_PROXY => $at{two} }, $away), 'two', 'ALL_PROXY');
is(through({ all_proxy => $at{one}, ALL_PROXY => $at{two} }, $away), 'one', 'the lower case comes first');
like(through({ HTTP_PROXY => $at{one} }, 'ws://server.invalid/'), $none, 'HTTP_PROXY is not looked at');
like(through({ http_proxy => '', all_proxy => $at{one} }, 'ws://server.invalid/'), $none, 'a variable set to nothing turns it off');

# Loopback: never by the environment.
for my $host (qw(127.0.0.1 localhost LOCALHOST)) {
    is(through({ all_proxy => $at{one} }, "ws://$host:" . $server->port . '/'), 'none: connected', "$host: none");
}
like(through({ all_proxy => $at{one} }, 'ws://[::1]:' . RawServer::unused_port() . '/'), qr/\Anone: connect to/, '[::1]: none');

# The program's word is above the environment's.
is(through({ all_proxy => $at{one} }, $away, proxy => $at{two}), 'two', 'proxy => HOST:PORT');
is(through({}, $away, proxy => '127.0.0.1', proxy_port => $proxies{one}->port), 'one', 'proxy_port');
is(through({}, $away, proxy => $at{two}, proxy_port => $proxies{one}->port), 'two', 'is for a proxy without a port of its own');
is(through({}, $here, proxy => $at{one}), 'one', 'proxy => HOST: also for loopback');
is(through({ no_proxy => '*' }, $away, proxy => $at{one}), 'one', 'proxy => HOST: no_proxy is about the environment');
is(through({ all_proxy => $at{one} }, $away, proxy => undef), 'one', 'proxy => undef: not given');
like(through({ all_proxy => $at{one} }, 'ws://server.invalid/', proxy => ''), $none, 'proxy => "": none');
like(through({ all_proxy => $at{one} }, 'ws://server.invalid/', proxy_port => 9), qr/\Aone\z/, 'proxy_port alone changes nothing');

# The environment is read by new.
{
    local $ENV{all_proxy} = $at{one};
    my $context = EV::Websockets::Context->new;
    $ENV{all_proxy} = $at{two};
    my $events = Events->new;
    my $before = $proxies{one}->connections;
    $context->connect(url => $away, $events->handlers);
    run_until(sub { @{ $events->log } }, 'a change of the environment after new');
    is($proxies{one}->connections, $before + 1, 'has no effect');
}

# no_proxy.
for my $case (
    [ '*', 'server.invalid', 0 ], [ 'server.invalid', 'server.invalid', 0 ], [ 'INVALID', 'server.invalid', 0 ],
    [ '.invalid', 'server.invalid', 0 ], [ 'a, .invalid ,b', 'server.invalid', 0 ], [ 'rver.invalid', 'server.invalid', 1 ],
    [ 'server.invalid:80', 'server.invalid', 0 ], [ 'server.invalid:81', 'server.invalid', 1 ], [ '', 'server.invalid', 1 ],
    [ '198.51.100.0/24', '192.0.2.7', 1 ],
) {
    my ($list, $host, $proxied) = @$case;
    my $got = through({ all_proxy => $at{one}, no_proxy => $list }, "ws://$host/");
    $proxied ? is($got, 'one', "no_proxy '$list': $host is proxied") : like($got, $none, "no_proxy '$list': $host is not");
}
like(through({ all_proxy => $at{one}, NO_PROXY => '*' }, 'ws://server.invalid/'), $none, 'NO_PROXY');
is(through({ all_proxy => $at{one}, no_proxy => 'x', NO_PROXY => '*' }, $away), 'one', 'no_proxy comes before it');

# What is no proxy.
my $form = 'is not [scheme://][user:password@]host[:port]';
my @wrong = (
    [ 'h:0', "'h:0' $form" ], [ 'h:65536', "'h:65536' $form" ], [ 'h:x', "'h:x' $form" ], [ 'me:secret@', "'' $form" ],
    [ 'http://', "'' $form" ], [ '[::1', "'[::1' $form" ], [ "a\nb", "'a\\nb' $form" ],
    [ 'https://h', "the scheme of a proxy must be http, socks5 or socks5h (got 'https')" ],
    [ 'socks4://h', "the scheme of a proxy must be http, socks5 or socks5h (got 'socks4')" ],
    [ 'socks5://@h', 'user name and password of a SOCKS5 proxy must not be empty or longer than 255 bytes' ],
    [ 'http://a%3Ab@h', 'the user name of an HTTP proxy must not contain a colon' ],
);
for my $case (@wrong) {
    my ($proxy, $text) = @$case;
    (my $shown = $proxy) =~ s/\n/\\n/g;
    croaks_with { EV::Websockets::Context->new(proxy => $proxy) } "new: proxy: $text", "proxy => '$shown'";
}
croaks_like { EV::Websockets::Context->new(proxy => []) } qr/\Anew: proxy must be a string/, 'proxy => []';
croaks_like { EV::Websockets::Context->new(proxy => 'h', proxy_port => $_) } qr/\Anew: proxy_port must be a whole number/, "proxy_port => $_"
    for -1, 65536, 'http';

# In the environment it is an error of those who need it.
{
    my $text = "none: environment variable http_proxy: 'h:x' $form";
    is(through({ http_proxy => 'h:x' }, $away), $text, 'a variable that holds no proxy: on_error');
    is(through({ http_proxy => 'h:x' }, $here), 'none: connected', 'but not for those who need none');
}

finish();
