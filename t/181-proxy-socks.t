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

# A client behind a SOCKS5 proxy (RFC 1928, RFC 1929): every byte that it is
# sent, and what comes of its answers.

delete @ENV{qw(http_proxy https_proxy all_proxy no_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY)};

my $ANY    = qr/\x05\x01\x00/;
my $BOTH   = qr/\x05\x02\x00\x02/;
my $V4     = qr/\x05\x01\x00\x01.{6}/s;
my $V6     = qr/\x05\x01\x00\x04.{18}/s;
my $NAME   = qr/\x05\x01\x00\x03\x0eserver\.example\x1f\x90/;
my $OK     = "\x05\0\0\x01\x7f\0\0\x01\0\x50";

sub attempt {
    my ($name, $proxy, $scheme, $url, %options) = @_;
    my $userinfo = delete $options{userinfo};
    my $events   = Events->new;
    my $context  = EV::Websockets::Context->new(
        proxy => "$scheme://" . (defined $userinfo ? "$userinfo@" : '') . '127.0.0.1:' . $proxy->port);
    $events->{context} = $context;
    $context->connect(url => $url, $events->handlers(%options));
    run_unticked(sub { @{ $events->log } }, "$name: decided");
    return $events;
}

sub connected {
    my ($name, $steps, $scheme, $url, %options) = @_;
    my $proxy  = ScriptedProxy->new(@$steps);
    my $events = attempt($name, $proxy, $scheme, $url, %options);
    is($events->order, 'connect', "$name: connected") or diag($events->last_of('error')->[0]);
    return $proxy;
}

sub fails {
    my ($name, $text, $steps, $scheme, $url, %options) = @_;
    my $proxy  = ScriptedProxy->new(@$steps);
    my $port   = $proxy->port;
    my $events = attempt($name, $proxy, $scheme, $url, %options);
    is($events->order, 'error', "$name: on_error");
    my $got = $events->last_of('error')->[0];
    like($got, $text, "$name: the text");
    like($got, qr/\Aproxy 127\.0\.0\.1:$port: /, "$name: which names the proxy") if $got ne 'connect timeout';
    return $proxy;
}

# An address, a name for the proxy to look up, and a name that is looked up here.
{
    my $proxy = connected('IPv4', [ [ $ANY, "\x05\0" ], [ $V4, $OK ] ], 'socks5', 'ws://192.0.2.1:258/');
    is(unpack('H*', $proxy->seen), '050100' . '05010001' . 'c0000201' . '0102', 'IPv4: the address and port');
    is($proxy->server->start_line, 'GET / HTTP/1.1', 'IPv4: then the upgrade');

    $proxy = connected('IPv6', [ [ $ANY, "\x05\0" ], [ $V6, $OK ] ], 'socks5h', 'ws://[2001:db8::1]/');
    is(unpack('H*', $proxy->seen), '050100' . '05010004' . '20010db8' . '00' x 11 . '01' . '0050', 'IPv6: the address and port');

    connected('a name', [ [ $ANY, "\x05\0" ], [ $NAME, $OK ] ], 'socks5h', 'ws://server.example:8080/');
    connected('socks5h in capitals', [ [ $ANY, "\x05\0" ], [ $NAME, $OK ] ], 'SOCKS5H', 'ws://server.example:8080/');
    connected('localhost, looked up here', [ [ $ANY, "\x05\0" ], [ qr/$V4|$V6/, $OK ] ], 'socks5', 'ws://localhost:9/');
}

# The forms of a good reply.
for my $case ([ 'IPv6', "\x05\0\0\x04" . "\0" x 18 ], [ 'a name', "\x05\0\0\x03\x05proxy\0\x50" ], [ 'an empty name', "\x05\0\0\x03\0\0\0" ]) {
    connected("bound to $case->[0]", [ [ $ANY, "\x05\0" ], [ $NAME, $case->[1] ] ], 'socks5h', 'ws://server.example:8080/');
}

# In single bytes.
{
    my @drips;
    my $drip = sub {
        my ($text) = @_;
        return sub {
            my ($fh) = @_;
            my @bytes = split //, $text;
            my $timer;
            $timer = EV::timer(0, 0.001, sub { @bytes ? syswrite($fh, shift @bytes) : undef $timer });
            push @drips, \$timer;
        };
    };
    connected('byte by byte', [ [ $ANY, $drip->("\x05\0") ], [ $NAME, $drip->($OK) ] ], 'socks5h', 'ws://server.example:8080/');
}

# User name and password.
{
    my $login = qr/\x01\x02me\x05p\@ss:/;
    my @userinfo = (userinfo => 'me:p%40ss:');
    connected('with a password', [ [ $BOTH, "\x05\x02" ], [ $login, "\x01\0" ], [ $NAME, $OK ] ], 'socks5h', 'ws://server.example:8080/', @userinfo);
    connected('with one that nobody wants', [ [ $BOTH, "\x05\0" ], [ $NAME, $OK ] ], 'socks5h', 'ws://server.example:8080/', @userinfo);
    connected('with an empty one', [ [ $BOTH, "\x05\x02" ], [ qr/\x01\x02me\0/, "\x01\0" ], [ $NAME, $OK ] ], 'socks5h', 'ws://server.example:8080/',
        userinfo => 'me');
    fails('a wrong password', qr/refused the user name or password \(SOCKS5 status 1\)/,
        [ [ $BOTH, "\x05\x02" ], [ $login, "\x01\x01" ] ], 'socks5h', 'ws://server.example:8080/', @userinfo);
    fails('no way to log in', qr/accepts no user name and password/, [ [ $BOTH, "\x05\xff" ] ], 'socks5h', 'ws://h/', @userinfo);
    fails('a login in another version', qr/version 5 of SOCKS5 authentication/,
        [ [ $BOTH, "\x05\x02" ], [ $login, "\x05\0" ] ], 'socks5h', 'ws://server.example:8080/', @userinfo);
}
fails('a password is wanted', qr/wants a user name and password/, [ [ $ANY, "\x05\xff" ] ], 'socks5h', 'ws://h/');
fails('a method that was not offered', qr/method 2, which was not offered/, [ [ $ANY, "\x05\x02" ] ], 'socks5h', 'ws://h/');

# Refusals, in words.
my @replies = (
    [ 1, 'general failure' ], [ 2, 'not allowed by its rules' ], [ 3, 'network unreachable' ], [ 4, 'host unreachable' ],
    [ 5, 'connection refused' ], [ 6, 'time to live expired' ], [ 7, 'command not supported' ],
    [ 8, 'address type not supported' ], [ 200, 'unknown reason' ],
);
for my $reply (@replies) {
    my ($code, $words) = @$reply;
    fails($words, qr/refused: \Q$words\E \(SOCKS5 reply $code\)/,
        [ [ $ANY, "\x05\0" ], [ $NAME, pack 'C*', 5, $code, 0, 1, 0, 0, 0, 0, 0, 0 ] ], 'socks5h', 'ws://server.example:8080/');
}

# A name with several addresses: each of them is asked for, and all are told of.
{
    my $proxy = fails('every address is refused', qr/to (?:127\.0\.0\.1|\[::1\]):9: refused: connection refused/,
        [ [ $ANY, "\x05\0" ], [ qr/$V4|$V6/, "\x05\x05\0\x01\0\0\0\0\0\0" ] ], 'socks5', 'ws://localhost:9/');
    my %asked = map { $_ => 1 } $proxy->seen =~ /($V4|$V6)/g;
    is($proxy->connections, scalar(keys %asked), 'every address: a connection for each');
}

# What is no SOCKS5.
fails('an HTTP proxy', qr/does not speak SOCKS5/, [ [ $ANY, "HTTP/1.1 400 Bad Request\r\n\r\n" ] ], 'socks5h', 'ws://h/');
fails('SOCKS4', qr/does not speak SOCKS5/, [ [ $ANY, "\0\x5b" ] ], 'socks5h', 'ws://h/');
fails('an unknown address type', qr/unknown address type 9/, [ [ $ANY, "\x05\0" ], [ $NAME, "\x05\0\0\x09\0\0" ] ], 'socks5h',
    'ws://server.example:8080/');
fails('the end at once', qr/closed the connection in the middle/, [ [ $ANY, sub { close $_[0] } ] ], 'socks5h', 'ws://h/');
fails('the end in the reply', qr/closed the connection in the middle/,
    [ [ $ANY, "\x05\0" ], [ $NAME, sub { syswrite $_[0], "\x05\0\0"; close $_[0] } ] ], 'socks5h', 'ws://server.example:8080/');
fails('no answer', qr/\Aconnect timeout\z/, [ [ $ANY, '' ], [ qr/never/, '' ] ], 'socks5h', 'ws://h/', connect_timeout => 0.1);
fails('a name that is too long', qr/more than 255 bytes/, [ [ $ANY, "\x05\0" ], [ qr/never/, '' ] ], 'socks5h', 'ws://' . 'x.' x 130 . 'example/');

# A name that is looked up here, and does not exist.
{
    my $proxy  = ScriptedProxy->new([ $ANY, '' ]);
    my $events = attempt('no such name', $proxy, 'socks5', 'ws://no-such-host.invalid/');
    like($events->last_of('error')->[0], qr/\Acannot resolve no-such-host\.invalid/, 'no such name: the text');
    is($proxy->connections, 0, 'no such name: the proxy is not bothered');
}

finish();
