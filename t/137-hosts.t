use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Adopt;
use Events;
use HttpPeer;
use RawPeer;
use Run;
use Test::More;

# Host: what it may say at all, and listen(hosts => [...]), the names that are
# answered to.

my $context = EV::Websockets::Context->new;
my @asked;
my %serve = (on_request => sub { push @asked, $_[0]{headers}{Host}; [ 200, [], ['page'] ] });

sub status_of_upgrade {
    my ($port, $host, %o) = @_;
    my $peer = RawPeer->connect($port);
    $peer->upgrade(headers => { Host => $host }, %o);
    wait_until(sub { defined $peer->head });
    return $peer->status;
}

sub status_of_page {
    my ($port, $host, %o) = @_;
    my $peer = HttpPeer->connect($port)->expects('GET');
    my $target = $o{path} || '/';
    my $version = $o{version} || 'HTTP/1.1';
    $peer->put(join "\r\n", "GET $target $version", (map { "Host: $_" } ref $host ? @$host : defined $host ? $host : ()), '', '');
    wait_until(sub { $peer->responses });
    return ($peer->responses)[0]{status};
}

# ---- a Host that is none ----
# It was counted and not read: each of these was answered with 200 or 101.
{
    my $plain = $context->listen;
    my $served = $context->listen(%serve);
    for my $host ('a b', 'a, b', 'a,b', 'a/b', 'a?b', 'u@a', 'u:p@a', '[::1', '::1', '[]', '[1.2.3.4]', 'a:b:c', 'h:99999',
        'h:0', 'h:x', ':80', 'a"b', '<a>', 'a\\b', 'a%', "caf\xc3\xa9", 'http://h')
    {
        is(status_of_upgrade($plain, $host), 400, "an upgrade for '$host'");
        is(status_of_upgrade($served, $host), 400, "the same where pages are served");
        is(status_of_page($served, $host), 400, "a page of '$host'");
    }
    is(scalar @asked, 0, 'on_request hears of none of them');
    for my $host ('h', 'H.example', 'h:1', 'h:65535', 'h:', '127.0.0.1:80', '[::1]', '[::1]:8080', 'under_score', 'xn--4ca.com', 'h.',
        'a%2Db', '')
    {
        is(status_of_upgrade($plain, $host), 101, "an upgrade for '$host'");
        is(status_of_page($served, $host), 200, "a page of '$host'");
    }
    # A target that is a whole URL must name the same host: whoever reads the
    # header would be told something else.
    for my $case ([ 'http://h/', 'h', 1 ], [ 'HTTP://H:80/', 'h', 1 ], [ 'http://h:8080?x', 'h:8080', 1 ],
        [ 'http://evil/', 'h' ], [ 'http://h:8080/', 'h' ], [ 'http://u@h/', 'h' ], [ 'http:///', '' ])
    {
        my ($path, $host, $good) = @$case;
        is(status_of_upgrade($plain, $host, path => $path), $good ? 101 : 400, "an upgrade of $path at '$host'");
        is(status_of_page($served, $host, path => $path), $good ? 200 : 400, "a page of $path at '$host'");
    }
}

# ---- hosts ----

sub answers {
    my ($hosts, $yes, $no) = @_;
    my $name = join ' ', @$hosts;
    my $handshakes = 0;
    @asked = ();
    my $port = $context->listen(hosts => $hosts, %serve, on_handshake => sub { $handshakes++; 1 });
    my $bare = $context->listen(hosts => $hosts);
    for my $host (@$yes) {
        is(status_of_upgrade($_, $host), 101, "$name: a WebSocket of '$host'") for $port, $bare;
        is(status_of_page($port, $host), 200, "$name: a page of '$host'");
    }
    for my $host (@$no) {
        is(status_of_upgrade($_, $host), 421, "$name: no WebSocket of '$host'") for $port, $bare;
        is(status_of_page($port, $host), 421, "$name: no page of '$host'");
    }
    is($handshakes, @$yes, "$name: on_handshake hears of the others alone");
    is(scalar @asked, @$yes, "$name: and so does on_request");
    return;
}

answers(['example.com'], [ 'example.com', 'EXAMPLE.com', 'example.com:8080', 'example.com:' ],
    [ 'www.example.com', 'example.com.evil.org', 'evilexample.com', 'example.com.', '127.0.0.1', 'localhost', '' ]);
answers(['Example.COM:8080'], ['example.com:8080'], [ 'example.com', 'example.com:80', 'example.com:8081' ]);
# Nobody knows which of the two a Host without a port means: a proxy may have taken TLS off.
answers(['example.com:443'], [ 'example.com:443', 'example.com' ], ['example.com:80']);
answers(['example.com:80'], [ 'example.com:80', 'example.com' ], ['example.com:443']);
answers(['*.example.com'], [ 'a.example.com', 'a.b.example.com:8080' ], [ 'example.com', '.example.com', 'aexample.com' ]);
answers(['*.example.com:8080'], ['a.example.com:8080'], [ 'a.example.com', 'a.example.com:81' ]);
answers([ '[0:0::1]', '127.0.0.1', 'localhost' ], [ '[::1]', '[::1]:8080', '127.0.0.1:1', 'localhost:80' ], [ '[::2]', '127.0.0.2' ]);
answers([], [], [ 'h', '127.0.0.1' ]);
{
    my $port = $context->listen(hosts => ['h'], %serve);
    is(status_of_page($port, undef, version => 'HTTP/1.0'), 421, 'who names no host gets no page');
    is(status_of_page($port, 'h', version => 'HTTP/1.0'), 200, 'who does gets one');
    is(status_of_page($port, [ 'h', 'h' ]), 400, 'two are still one too many');
    my $peer = HttpPeer->connect($port);
    is($peer->fetch('GET', '/')->{status}, 421, 'the connection of whoever is wrong here');
    run_until(sub { $peer->eof }, 'ends');

    # DNS rebinding: the page's name leads here by now, and its origin is its own.
    my $both = $context->listen(hosts => ['localhost'], origins => ['same']);
    my @rebound = (Host => 'evil.example', Origin => 'http://evil.example');
    my $page = RawPeer->connect($both)->upgrade(headers => {@rebound});
    run_until(sub { defined $page->head }, 'a page whose name was made to lead here');
    is($page->status, 421, 'is sent away');
    my $same_only = $context->listen(origins => ['same']);
    $page = RawPeer->connect($same_only)->upgrade(headers => {@rebound});
    run_until(sub { defined $page->head }, 'without hosts');
    is($page->status, 101, 'it is not');
}

# ---- adopt ----
for my $case ([ 'h', 101, 'connect' ], [ 'evil', 421, 'error' ]) {
    my ($host, $status, $order) = @$case;
    my ($near, $far) = unix_pair();
    my $peer = peer_on($far);
    my $events = Events->new;
    my $conn = $context->adopt(fh => $near, hosts => ['h'], initial_data => request(headers => { Host => $host }), $events->handlers);
    run_until(sub { defined $peer->head && @{ $events->log } }, "adopted, for $host");
    is($peer->status, $status, "is answered $status");
    is($events->order, $order, "and the program hears: $order");
    like($events->last_of('error')->[0], qr/421 Misdirected Request/, 'and why') if $status != 101;
    $conn->abort;
}
{
    my ($near) = unix_pair();
    croaks_like { $context->adopt(fh => $near, initial_data => request(headers => { Host => 'a b' })) }
        qr/\AFailed to adopt socket: 400 Bad Request: The request's Host header is malformed/, 'a Host that is none';
    croaks_like { $context->adopt(fh => $near, hosts => ['x y']) } qr/\Aadopt: hosts: 'x y' is no host/, 'an entry that is none';
    croaks_like { $context->adopt(fh => $near, hosts => undef) } qr/\Aadopt: hosts must be an array reference/, 'undef';
    croaks_like { $context->adopt(fh => $near, upgraded => 1, hosts => ['h']) } qr/\Aadopt: hosts is for an upgrade/, 'too late';
}

for my $case (
    [ 'h', qr/hosts must be an array reference \(got 'h'\)/ ],
    [ {}, qr/hosts must be an array reference/ ],
    [ undef, qr/hosts must be an array reference \(got 'undef'\)/ ],
    [ [undef], qr/hosts number 1 must be a string/ ],
    [ [ 'h', qr/x/ ], qr/hosts number 2 must be a string/ ],
    [ ['*'], qr/hosts: '\*' is no host \('\*\.' stands for/ ],
    [ ['https://h'], qr/hosts: 'https:\/\/h' is no host \(a host has no scheme/ ],
    [ ['h/'], qr/hosts: 'h\/' is no host \(a host is name/ ],
    [ ['h:0'], qr/hosts: 'h:0' is no host \(its port must be/ ],
    [ ['::1'], qr/hosts: '::1' is no host/ ],
    [ [''], qr/hosts: '' is no host/ ],
    [ ["b\xFCcher.example"], qr/hosts: .* is no host/ ],
) {
    my ($hosts, $text) = @$case;
    croaks_like { $context->listen(hosts => $hosts) } qr/\Alisten: $text/, "a croak: $text";
}
{
    # Not an option of clients, and not the address to listen at.
    $context->connect(url => 'ws://127.0.0.1:1/', hosts => ['h'])->abort;
    like(join('', warned()), qr/connect: unknown option 'hosts'/, 'connect does not know it');
}

finish();
