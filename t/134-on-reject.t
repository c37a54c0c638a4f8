use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use Adopt;
use Certificates;
use EV;
use EV::Websockets;
use Events;
use IO::Socket::UNIX;
use File::Temp ();
use RawPeer;
use Run;
use Test::More;

# on_reject: a listener's program hears of every client that did not become a
# connection, with why, from where, and what it asked for.

my $context = EV::Websockets::Context->new;
my @told;

sub listener {
    my (%o) = @_;
    return $context->listen(port => 0, host => '127.0.0.1', on_reject => sub { push @told, [@_] }, %o);
}

# What is told when $bytes come, and what follows if $then is given.
sub rejected {
    my ($name, $port, $bytes, $why, $then) = @_;
    @told = ();
    my $peer = RawPeer->connect($port);
    $peer->put($bytes) if length $bytes;
    $then->($peer) if $then;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    run_unticked(sub { @told }, "$name: told") or return;
    settle();
    is scalar @told, 1, "$name: once";
    is scalar @{ $told[0] }, 3, "$name: with three arguments";
    my ($said, $address, $headers) = @{ $told[0] };
    ref $why ? like($said, $why, "$name: why") : is($said, $why, "$name: why");
    is $address, '127.0.0.1', "$name: from where";
    is ref $headers, 'HASH', "$name: always a hash of headers";
    return ($headers, $peer);
}

my $good  = RawPeer->request;
my $plain = listener(
    origins      => ['https://good.example'],
    hosts        => ['127.0.0.1'],
    on_handshake => sub {
        my ($headers) = @_;
        return $headers->{Path} eq '/no' ? 0 : $headers->{Path} eq '/away' ? [302, [Location => '/x'], []] : 1;
    },
);

# ---- answers ----

my ($headers) = rejected('garbage', $plain, "garbage\r\n\r\n", '400 Bad Request: The request is malformed.');
is_deeply $headers, {}, 'no headers of what is no request';

($headers) = rejected('no upgrade', $plain, "GET /p?q HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: 1\r\n\r\n",
    qr/\A426 Upgrade Required: \w/);
is $headers->{'X-A'}, 1, 'the headers of a request that is none of ours';
is $headers->{Path}, '/p', 'and its path';

($headers) = rejected('another host', $plain, RawPeer->request(headers => { Host => 'evil.example' }), qr/\A421 /);
is $headers->{Host}, 'evil.example', 'which one it was';

($headers) = rejected('a foreign page', $plain, RawPeer->request(headers => { Origin => 'https://evil.example' }),
    qr/\A403 Forbidden: \w/);
is $headers->{Origin}, 'https://evil.example', 'which one it was';

rejected('refused by on_handshake', $plain, RawPeer->request(path => '/no'),   '403 Forbidden');
rejected('sent elsewhere',          $plain, RawPeer->request(path => '/away'), '302 Found');
rejected('a head without end', $plain, "GET / HTTP/1.1\r\nX: " . 'x' x 70_000, qr/\A431 /);

# ---- clients that leave ----

my $half = substr $good, 0, 40;
rejected('gone with half a request', $plain, $half, 'gone', sub { $_[0]->finish_writing });
rejected('gone without a word', $plain, '', 'gone', sub { $_[0]->finish_writing });
rejected('reset', $plain, $half, qr/\Agone(?:: \w.*)?\z/, sub { my ($peer) = @_; settle(); $peer->hang_up(reset => 1) });

my $behind = listener(proxy_protocol => 1);
rejected('gone without the head of a proxy', $behind, '', 'gone', sub { $_[0]->finish_writing });
rejected('gone with half of it', $behind, "PROXY TCP4 192.0.2.1 ", 'gone', sub { $_[0]->finish_writing });
rejected('reset within it', $behind, "PROXY TCP4 ", qr/\Agone(?:: \w.*)?\z/, sub { my ($peer) = @_; settle(); $peer->hang_up(reset => 1) });

# ---- time ----

my @undecided;
my $hasty = listener(handshake_timeout => 0.3, on_handshake => sub { push @undecided, $_[1]; $_[1] });
rejected('too late', $hasty, $half, '408 Request Timeout: The request did not arrive in time.');
rejected('not decided in time', $hasty, $good, qr/\A503 Service Unavailable: \w/);

# ---- TLS ----

my $made = Certificates->new;
$made->ca('ca');
$made->issue('server', issuer => 'ca');
my $secure    = listener($made->listen_with('server'));
my $impatient = listener($made->listen_with('server'), handshake_timeout => 0.5);
my $hello_nonsense = "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00";
rejected('nonsense instead of TLS', $secure, $hello_nonsense, qr/\ATLS: \w/);
rejected('HTTP instead of TLS', $secure, $good, 'TLS: the client speaks plain HTTP');
rejected('nothing instead of TLS', $impatient, '', 'timeout');
rejected('gone within TLS', $secure, "\x16\x03\x01", 'gone', sub { $_[0]->finish_writing });
my ($client, @failed);
$client = $context->connect(url => "wss://127.0.0.1:$secure/", on_error => sub { push @failed, $_[1] });
@told = ();
run_until(sub { @told && @failed }, 'a client that does not believe the certificate: both ends are told');
like $told[0][0], qr/\ATLS: \w/, 'that it was TLS';

# ---- not for what on_request answers ----

my $server = Events->new;
my $serving = listener($server->handlers, on_request => sub { [200, [], ['here']] });
@told = ();
my $one = RawPeer->connect($serving)->put("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
run_until(sub { ($one->rest || '') =~ /here/ }, 'a request is answered');
$one->finish_writing;
run_until(sub { $one->eof }, 'and its client goes');
my $last = RawPeer->connect($serving)->put("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
run_until(sub { $last->eof }, 'the same for a last request');
is_deeply \@told, [], 'nobody was rejected';
rejected('half of a second request', $serving, "GET / HTTP/1.1\r\nHost: h\r\n\r\nGET / HT", 'gone', sub {
    my ($peer) = @_;
    run_until(sub { ($peer->rest || '') =~ /here/ }, 'the first is answered');
    $peer->finish_writing;
});
rejected('too large a body', $serving, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n", qr/\A413 /);
@told = ();
my $good_one = RawPeer->connect($serving);
$good_one->upgrade;
run_until(sub { $server->count('connect') }, 'a good client');
$good_one->hang_up;
run_until(sub { $server->count('close') }, 'goes');
is_deeply \@told, [], 'and was not rejected';

# ---- Unix sockets have no address ----

my $folder = File::Temp->newdir;
$context->listen(path => "$folder/s", on_reject => sub { push @told, [@_] });
@told = ();
my $unix = RawPeer->new(IO::Socket::UNIX->new(Peer => "$folder/s"), role => 'client')->put("x\r\n\r\n");
run_until(sub { @told }, 'by a Unix socket');
is $told[0][1], undef, 'no address';

# ---- what the callback does ----

my $dies = $context->listen(on_reject => sub { die "no more\n" });
RawPeer->connect($dies)->put("x\r\n\r\n");
run_until(sub { 1 == grep { /\AEV::Websockets: exception in on_reject: no more\n/ } warned() }, 'a callback that dies warns');

my ($gone, $address);
my $other = EV::Websockets::Context->new;
my $brutal = $other->listen(on_reject => sub { $gone = $_[0]; undef $other });
my $open = RawPeer->connect($brutal)->put("x\r\n\r\n");
run_until(sub { $gone && $open->eof }, 'a callback that destroys its context');

# The address that an event has brought is not that of another connection.
my $bystander = Events->new;
my ($near, $far) = tcp_pair();
my $conn = $context->adopt(fh => $near, upgraded => 1, $bystander->handlers);
run_until(sub { $bystander->count('connect') }, 'another connection');
my $asks = $context->listen(host => '::1', port => 0, on_reject => sub { $address = [$_[1], $conn->peer_address] });
RawPeer->connect($asks, host => '::1')->put("x\r\n\r\n");
run_until(sub { $address }, 'a callback asks for it');
is_deeply $address, ['::1', '127.0.0.1'], 'each has its own';

# ---- shutdown ----

@told = ();
my $waits = EV::Websockets::Context->new;
my (@kept, $ended);
my $port = $waits->listen(on_reject => sub { push @told, [@_] }, on_handshake => sub { push @kept, $_[1]; $_[1] });
my $decided = RawPeer->connect($port);
$decided->upgrade;
run_until(sub { @kept }, 'a client that waits for a decision');
$waits->shutdown(cb => sub { $ended = 1 });
run_until(sub { $ended }, 'and a shutdown');
is_deeply [map { $_->[0] } @told], ['503 Service Unavailable'], 'which is told';

croaks_like { $context->listen(on_reject => 1) } qr/\Alisten: on_reject must be a code reference \(got '1'\)/, 'no code';

finish();
