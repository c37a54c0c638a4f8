use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use Certificates;
use EV;
use EV::Websockets;
use Events;
use File::Temp ();
use IO::Socket::UNIX;
use OpenSSLPeer;
use RawPeer;
use Run;
use Test::More;

# How many connections a listener has at once: max_connections, those of one
# address, and max_handshakes under way. The count is exact, however a
# connection ends: a place that was not given back once would be lost for ever.

my $context = EV::Websockets::Context->new;
my $server  = Events->new;
my @told;
my %on = ($server->handlers, on_reject => sub { push @told, $_[0] });

sub upgraded {
    my ($port, $name, %o) = @_;
    my $peer = RawPeer->connect($port, %o);
    $peer->upgrade;
    run_until(sub { defined $peer->status }, "$name: answered");
    return $peer;
}

sub is_full {
    my ($port, $name, $sentence, %o) = @_;
    @told = ();
    my $peer = upgraded($port, $name, %o);
    is $peer->status, 503, "$name: there is no place";
    is_deeply [ $peer->header('Retry-After') ], ['5'], "$name: and when to come back";
    run_until(sub { $peer->eof && @told }, "$name: the end");
    is_deeply \@told, ["503 Service Unavailable: $sentence"], "$name: the program is told";
}
my $whole = 'There are too many connections.';
my $block = 'There are too many connections from this address.';

# ---- however a connection ends ----

my @kept;
my %open = (%on, on_handshake => sub {
    my ($headers, $handshake) = @_;
    my $path = $headers->{Path};
    die "no\n" if $path eq '/die';
    push @kept, $handshake if $path eq '/later';
    return $path eq '/later' ? $handshake : $path ne '/no';
});
my $port = $context->listen(max_connections => 1, handshake_timeout => 1, on_request => sub { [200, [], ['ok']] }, %open);

sub free {
    my ($name) = @_;
    my $before = $server->count('connect');
    my $peer;
    # A place is free when the server has noticed the end.
    run_until(sub {
        if (!$peer || ($peer->status || 0) == 503) {
            $peer = RawPeer->connect($port);
            $peer->upgrade;
        }
        return $server->count('connect') > $before;
    }, "$name: the place is free again");
    return $peer;
}

my $peer = free('at first');
is_full($port, 'a second', $whole);
my %end = (
    'a reset'            => sub { $_[0]->hang_up(reset => 1) },
    'an end'             => sub { $_[0]->finish_writing },
    'a Close'            => sub { $_[0]->send_close(1000) },
    'a broken frame'     => sub { $_[0]->put("\xff\xff\xff\xff") },
    'our close'          => sub { $_->close for $context->connections; $_[0]->send_close(1000) },
    'our abort'          => sub { $_->abort for $context->connections },
);
for my $name (sort keys %end) {
    my $closed = $server->count('close');
    $end{$name}->($peer);
    run_until(sub { $server->count('close') > $closed }, "$name: closed");
    $peer = free($name);
    is_full($port, "after $name", $whole);
}

# Those that did not become connections.
$peer->hang_up;
my $early = free('between');
$early->hang_up;
my $request = RawPeer->request;
my %came_to_nothing = (
    'half a request that ends'   => sub { RawPeer->connect($port)->put(substr $request, 0, 30)->finish_writing },
    'half a request and a reset' => sub { RawPeer->connect($port)->put(substr $request, 0, 30)->hang_up(reset => 1) },
    'half a request, too late'   => sub { RawPeer->connect($port)->put(substr $request, 0, 30) },
    'garbage'                    => sub { RawPeer->connect($port)->put("x\r\n\r\n") },
    'refused'                    => sub { RawPeer->connect($port)->put(RawPeer->request(path => '/no')) },
    'died'                       => sub { RawPeer->connect($port)->put(RawPeer->request(path => '/die')) },
    'gone while asked'           => sub { RawPeer->connect($port)->put(RawPeer->request(path => '/later'))->finish_writing },
    'never decided'              => sub { RawPeer->connect($port)->put(RawPeer->request(path => '/later')) },
    'a request that is answered' => sub {
        RawPeer->connect($port)->put("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    },
);
my @held;
for my $name (sort keys %came_to_nothing) {
    push @held, $came_to_nothing{$name}->();
    my $next = free($name);
    is_full($port, "after $name", $whole);
    my $closed = $server->count('close');
    $next->hang_up;
    run_until(sub { $server->count('close') > $closed }, 'and gone');
}
is scalar(grep { /exception in on_handshake/ } warned()), 1, 'one of them warned';

# Who is under way counts, and so does a request that is kept alive.
my $half = RawPeer->connect($port)->put(substr $request, 0, 30);
settle();
is_full($port, 'behind half a request', $whole);
$half->hang_up;
my $alive = RawPeer->connect($port);
run_until(sub {
    $alive->put("GET / HTTP/1.1\r\nHost: h\r\n\r\n") if !defined $alive->status || $alive->status == 503;
    $alive = RawPeer->connect($port) if $alive->eof;
    return ($alive->status || 0) == 200;
}, 'a request');
is_full($port, 'behind one that is kept alive', $whole);
$alive->hang_up;

# ---- by address ----

my $by_address = $context->listen(max_connections_per_address => 1, host => ['127.0.0.1', '::1'], %on);
my $first = upgraded($by_address, 'one of an address');
is $first->status, 101, 'has its place';
is_full($by_address, 'a second of it', $block);
my $other = upgraded($by_address, 'one of another address', host => '::1');
is $other->status, 101, 'has one, too';
is_full($by_address, 'a second of the other', $block, host => '::1');
my $both = $context->listen(max_connections => 2, max_connections_per_address => 1, host => ['127.0.0.1', '::1'], %on);
upgraded($both, 'both limits');
is_full($both, 'the address comes first', $block);

# Whoever comes by a Unix socket has no address, but counts.
my $folder = File::Temp->newdir;
$context->listen(path => "$folder/s", max_connections => 2, max_connections_per_address => 1, %on);
my @unix = map {
    my $unix = RawPeer->new(IO::Socket::UNIX->new(Peer => "$folder/s"), role => 'client');
    $unix->upgrade;
    run_until(sub { defined $unix->status }, 'by a Unix socket');
    $unix;
} 1 .. 3;
is_deeply [ map { $_->status } @unix ], [ 101, 101, 503 ], 'two, and no third';

# ---- TLS ----

my $made = Certificates->new;
$made->ca('ca');
$made->issue('server', issuer => 'ca');
my $secure = $context->listen(max_connections => 1, %on, $made->listen_with('server'));
my @tls;
for my $expected (101, 503) {
    push @tls, OpenSSLPeer->client($made, $secure, $made->file('ca.pem'));
    $tls[-1]->raw->upgrade;
    run_until(sub { defined $tls[-1]->raw->status }, 'answered within TLS');
    is $tls[-1]->raw->status, $expected, "with $expected";
}

# ---- max_handshakes ----

my $narrow = $context->listen(max_handshakes => 2, %on);
my @silent = map { RawPeer->connect($narrow) } 1, 2;
settle();
my $waits = RawPeer->connect($narrow);
$waits->upgrade;
settle();
is $waits->head, undef, 'two say nothing: a third waits to be accepted';
my $turns = 0;
my $check = EV::check(sub { $turns++ });
settle();
cmp_ok $turns, '<', 20, 'and the loop rests meanwhile';
undef $check;
$silent[0]->hang_up;
run_until(sub { ($waits->status || 0) == 101 }, 'until one is over');
my @more = map { upgraded($narrow, "one more, $_") } 1 .. 5;
is scalar(grep { $_->status == 101 } @more), 5, 'established ones do not count';
# Connections that are only kept for a further request make room: those that were when
# the last place was taken, and those that come to it later.
my $get = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
for my $name ('before', 'after') {
    my $serving = $context->listen(max_handshakes => 2, handshake_timeout => 0,
        on_request => sub { [200, [], ['ok']] }, %on);
    my @idle;
    for (1, 2) {
        push @idle, RawPeer->connect($serving);
        settle();
        $idle[-1]->put($get) if $name eq 'before';
        run_until(sub { defined $idle[-1]->status }, "$name: answered") if $name eq 'before' && @idle == 1;
    }
    $_->put($get) for $name eq 'after' ? @idle : ();
    run_until(sub { 2 == grep { defined $_->status } @idle }, "$name: two are answered");
    is upgraded($serving, "$name: a third comes in")->status, 101, "$name: and they do not keep it out";
}
# A listener that is stopped still takes those that the system has accepted.
my $stopped = $context->listen(max_handshakes => 1, %on);
my $holds = RawPeer->connect($stopped);
settle();
my $last = RawPeer->connect($stopped);
$last->upgrade;
settle();
$context->stop_listening($stopped);
run_until(sub { ($last->status || 0) == 101 }, 'one that waited when its listener was stopped');

# ---- croaks ----

for my $name (qw(max_connections max_connections_per_address max_handshakes)) {
    for my $value (-1, 1.5, 'many', 1e12, [], 'nan') {
        croaks_like { $context->listen($name => $value) } qr/\Alisten: $name must be a whole number from 0 to \d+ \(got '/,
            "$name => $value";
    }
    ok eval { $context->listen($name => undef, host => '127.0.0.1'); 1 }, "$name => undef is not given";
}

finish();
