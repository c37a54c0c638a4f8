use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Adopt ();
use Events;
use Limited;
use RawPeer;
use RawServer;
use Run;
use Test::More;

# max_header_size and max_headers: a request beyond gets 431, a response beyond is an
# on_error. What is exactly as large as the limit is accepted.

croaks_everywhere('max_header_size', 'must be a non-negative number', -1, 'much', 'nan', 'inf', []);
croaks_everywhere('max_headers', 'must be a whole number from 0 to 4294967295', -1, 'many', 1.5, 'nan', 2**32, {});

my $context = EV::Websockets::Context->new;
my $other   = bystander($context);

# A request of exactly so many bytes, or so many headers.
sub request_of {
    my ($size, $headers) = @_;
    my $request = RawPeer->request;
    my $has = () = $request =~ /^[^\r\n]+:/mg;
    my $more = defined $headers ? "X: y\r\n" x ($headers - $has) : '';
    $request =~ s/\r\n\z/$more\r\n/;
    return $request if !defined $size;
    my $fill = 'Y: ' . 'y' x ($size - length($request) - 5);
    $request =~ s/\r\n\z/$fill\r\n\r\n/;
    return $request;
}

sub answered {
    my ($name, $port, $bytes, $status) = @_;
    my $peer = RawPeer->connect($port)->put($bytes);
    run_until(sub { defined $peer->head && ($status == 101 || $peer->eof) }, "$name: answered");
    is($peer->status, $status, "$name: $status");
    is_served($other, $name) if $status == 431;
    return;
}

my @page = (on_request => sub { [ 200, [], ['page'] ] });
for my $case ([], \@page) {
    my $name = @$case ? 'with on_request' : 'listen';
    my $port = $context->listen(host => '127.0.0.1', @$case);
    is(length request_of(16384), 16384, 'a request of 16 KiB');
    answered("$name: 16 KiB", $port, request_of(16384), 101);
    answered("$name: a byte more", $port, request_of(16385), 431);
    answered("$name: 100 headers", $port, request_of(undef, 100), 101);
    answered("$name: 101 headers", $port, request_of(undef, 101), 431);

    $port = $context->listen(host => '127.0.0.1', max_header_size => 300, max_headers => 7, @$case);
    answered("$name: as many bytes as are allowed", $port, request_of(300), 101);
    answered("$name: one more", $port, request_of(301), 431);
    answered("$name: as many headers as are allowed", $port, request_of(undef, 7), 101);
    answered("$name: one more header", $port, request_of(undef, 8), 431);
    answered("$name: a target that is too long", $port, RawPeer->request(path => '/' . 'x' x 300), 431);

    $port = $context->listen(host => '127.0.0.1', max_header_size => 0, max_headers => 0, handshake_timeout => 60, @$case);
    answered("$name: 1 MB where there is no limit", $port, request_of(1_000_000, 5_000), 101);
}

# A head that never ends: it is answered as soon as the limit is passed, whatever comes.
{
    my $port = $context->listen(host => '127.0.0.1', max_header_size => 1000);
    my $peer = RawPeer->connect($port)->put("GET / HTTP/1.1\r\nHost: h\r\n");
    $peer->put_from(sub { "X-A: y\r\n" x 10 });
    run_until(sub { $peer->eof }, 'headers without end');
    is($peer->status, 431, 'are answered with 431');
    cmp_ok($peer->written, '<', 16_000_000, 'and not read for ever');
    is_served($other, 'headers without end');

    my $slow = RawPeer->connect($port);
    my $bytes = "GET / HTTP/1.1\r\nX: " . 'y' x 1000;
    for my $byte (split //, $bytes) {
        $slow->put($byte);
        EV::run(EV::RUN_NOWAIT());
    }
    run_until(sub { $slow->eof }, 'byte by byte');
    is($slow->status, 431, 'the same');
}

# Sockets that are adopted, with a request in the initial data or behind it.
{
    my ($near, $far) = Adopt::unix_pair();
    croaks_like { $context->adopt(fh => $near, initial_data => request_of(301), max_header_size => 300) }
        qr/\AFailed to adopt socket: 431 /, 'a request that is too large is no upgrade';
    my $events = Events->new;
    my $peer = Adopt::peer_on($far);
    $context->adopt(fh => $near, $events->handlers, max_headers => 7);
    $peer->put(request_of(undef, 8));
    run_until(sub { $events->count('error') && $peer->head }, 'one that comes later is refused');
    is($peer->status, 431, 'with 431');
    like($events->last_of('error')->[0], qr/431 Request Header Fields Too Large/, 'which on_error says');
}
for my $option (qw(max_header_size max_headers)) {
    my ($near) = Adopt::unix_pair();
    croaks_like { $context->adopt(fh => $near, upgraded => 1, $option => 10) }
        qr/\Aadopt: .*\Q$option\E/, "$option is of no use when the upgrade is over";
}

# ---- the client's side ----

my ($before, $fields, $after) = ('', [], '');
my $server = RawServer->new(answer => sub {
    my ($peer) = @_;
    $peer->put($before . $peer->response(fields => $fields) . $after);
});

sub connects {
    my ($name, $text, %options) = @_;
    my $events = Events->new;
    $context->connect(url => 'ws://127.0.0.1:' . $server->port . '/', $events->handlers, %options);
    run_until(sub { $events->count($text ? 'error' : 'connect') }, "client: $name");
    is($events->order, $text ? 'error' : 'connect', "client: $name: no more than that");
    like($events->last_of('error')->[0], $text, "client: $name: in words") if $text;
    is_served($other, "client: $name") if $text;
    return;
}
my $too_large = qr/\Aserver sent too large a response: its head has more than (\d+) bytes \(max_header_size\)\z/;
my $too_many  = qr/\Aserver sent too many headers: more than (\d+) \(max_headers\)\z/;

connects('a usual response');
$fields = [ map { "X-$_: y" } 1 .. 97 ];
connects('100 headers');
push @$fields, 'X-98: y';
connects('101 headers', $too_many);
connects('101 headers that are allowed', undef, max_headers => 101);
connects('or all', undef, max_headers => 0);
$fields = [ 'X: ' . 'y' x 16384 ];
connects('more than 16 KiB', $too_large);
connects('which are allowed', undef, max_header_size => 20_000);
connects('as is everything', undef, max_header_size => 0);
connects('less than it takes', $too_large, max_header_size => 50);
$fields = [];
$before = "HTTP/1.1 100 Continue\r\n\r\n" x 1000;
connects('interim responses without end', $too_large);
$before = '';

# A server that sends a header without end.
$server = RawServer->new(answer => sub { $_[0]->put("HTTP/1.1 101 OK\r\nX: ")->put_from(sub { 'y' x 1000 }) });
connects('a header without end', $too_large);
$server = RawServer->new(answer => sub { $_[0]->put("HTTP/1.1 101 OK\r\n")->put_from(sub { "X: y\r\n" x 20 }) });
connects('headers without end', $too_many, max_header_size => 0);

finish();
