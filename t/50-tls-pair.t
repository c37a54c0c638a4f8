use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

use Certificates;
use EV;
use EV::Websockets;
use Events;
use Pair;
use Run;

# The module at both ends of wss://.

my $made = Certificates->new;
$made->ca('ca');
$made->issue('server', issuer => 'ca');
my %listen = $made->listen_with('server');
my $ca = $made->file('ca.pem');

sub pair {
    my (%o) = @_;
    return Pair->open(
        scheme  => 'wss',
        context => { ssl_ca => $ca },
        %o,
        listen  => { %listen, %{ $o{listen} || {} } },
    );
}

subtest 'a conversation' => sub {
    my $pair = pair(path => '/chat?x=1', connect => { protocol => 'a, b' }, listen => { protocol => 'b' });
    is $pair->server->last_of('connect')->[0]{Path}, '/chat', 'the request came through';
    is $pair->c->get_protocol, 'b', 'subprotocol';
    is $pair->s->peer_address, '127.0.0.1', 'address';
    $pair->c->send('hello');
    $pair->s->send("gr\xc3\xbc\xc3\x9f dich");
    $pair->s->send_binary("\0\xff" x 10);
    $pair->c->send_ping('are you there');
    run_until(sub { $pair->client->count('message') == 2 && $pair->server->count('message') && $pair->client->count('pong') },
        'messages and a pong');
    is_deeply [$pair->server->messages], ['hello'], 'to the server';
    is_deeply [$pair->client->messages], ["gr\xc3\xbc\xc3\x9f dich", "\0\xff" x 10], 'to the client';
    is $pair->client->last_of('pong')->[0], 'are you there', 'the pong';
    $pair->c->close(4001, 'enough');
    run_until(sub { $pair->client->count('close') && $pair->server->count('close') }, 'both are closed');
    is_deeply $pair->server->last_of('close'), [4001, 'enough'], 'the code at the server';
    is_deeply $pair->client->last_of('close'), [4001, undef], 'which it answers';
    is $pair->client->count('error') + $pair->server->count('error'), 0, 'no error';
};

subtest 'the server closes' => sub {
    my $pair = pair();
    $pair->s->send('last words');
    $pair->s->close(1001, 'going');
    run_until(sub { $pair->client->count('close') && $pair->server->count('close') }, 'both are closed');
    is_deeply [$pair->client->messages], ['last words'], 'what was sent before arrives';
    is_deeply $pair->client->last_of('close'), [1001, 'going'], 'the code';
};

subtest 'large messages, both ways at once' => sub {
    my $pair = pair();
    my @payload = map { my $n = $_; pack 'N*', map { $_ * $n } 1 .. 750_000 } 1, 3;
    $pair->c->send_binary($payload[0]);
    $pair->s->send_binary($payload[1]);
    ok $pair->c->send_queue_size > 0, 'the queue is counted';
    run_until(sub { $pair->client->count('message') && $pair->server->count('message') }, 'arrived');
    ok +($pair->server->messages)[0] eq $payload[0], '3 MB to the server';
    ok +($pair->client->messages)[0] eq $payload[1], '3 MB to the client';
    is $pair->c->send_queue_size, 0, 'and the queue is empty';
};

subtest 'many small messages in order' => sub {
    my $pair = pair();
    my @sent = map { "$_:" . 'x' x ($_ * 7 % 300) } 1 .. 20_000;
    for (@sent) { $pair->c->send($_); $pair->s->send($_) }
    run_until(sub { $pair->client->count('message') == @sent && $pair->server->count('message') == @sent }, 'all are there');
    is_deeply [$pair->server->messages], \@sent, 'to the server';
    is_deeply [$pair->client->messages], \@sent, 'to the client';
};

subtest 'messages that come with the answer to the upgrade' => sub {
    my @sent = map { "$_:" . 'y' x 2000 } 1 .. 500;
    my $pair = pair(listen => { on_connect => sub { my $conn = shift; $conn->send($_) for @sent } });
    run_until(sub { $pair->client->count('message') == @sent }, 'all are there');
    is_deeply [$pair->client->messages], \@sent, 'in order';
};

subtest 'pause and resume' => sub {
    my $pair = pair();
    $pair->c->pause_recv;
    $pair->s->send("$_ " . 'z' x 60_000) for 1 .. 100;
    settle();
    is $pair->client->count('message'), 0, 'nothing while paused';
    $pair->c->resume_recv;
    run_until(sub { $pair->client->count('message') >= 3 }, 'some');
    $pair->c->pause_recv;
    my $seen = $pair->client->count('message');
    settle();
    is $pair->client->count('message'), $seen, 'paused again';
    $pair->c->resume_recv;
    run_until(sub { $pair->client->count('message') == 100 }, 'all');
    is_deeply [map { /^(\d+)/ } $pair->client->messages], [1 .. 100], 'in order';
    is_deeply [grep { $_ != 60_000 } map { tr/z// } $pair->client->messages], [], 'whole';
};

subtest 'backpressure' => sub {
    my ($sent, $high) = (0, 0);
    my $fill = sub {
        my ($conn) = @_;
        while ($sent < 400 && $conn->send_queue_size < 500_000) {
            $conn->send_binary(pack('N', $sent++) . 'b' x 50_000);
        }
        $high = $conn->send_queue_size if $conn->send_queue_size > $high;
    };
    my $pair = pair(connect => { on_drain => $fill });
    $pair->s->pause_recv;
    $fill->($pair->c);
    settle();
    ok $sent < 400, 'a reader that does not read holds the writer up';
    ok $pair->c->send_queue_size > 0, 'what it does not take is counted';
    $pair->s->resume_recv;
    run_until(sub { $pair->server->count('message') == 400 }, 'on_drain goes on to the end');
    is_deeply [map { unpack 'N', $_ } $pair->server->messages], [0 .. 399], 'in order';
    ok $high < 600_000, 'the queue was never much longer than was asked for';
    run_until(sub { $pair->c->send_queue_size == 0 }, 'and is empty in the end');
};

subtest 'many connections' => sub {
    my $context = EV::Websockets::Context->new(ssl_ca => $ca);
    my ($echoed, $closed) = (0, 0);
    my $port = $context->listen(%listen, on_message => sub { $_[0]->send("re: $_[1]") });
    my @kept = map {
        my $number = $_;
        $context->connect(
            url        => "wss://localhost:$port/$number",
            on_connect => sub { $_[0]->send($number) },
            on_message => sub { $echoed++ if $_[1] eq "re: $number"; $_[0]->close },
            on_close   => sub { $closed++ if $_[1] == 1000 },
            on_error   => sub { diag $_[1] },
        );
    } 1 .. 100;
    run_until(sub { $closed == 100 }, 'all are closed');
    is $echoed, 100, 'and each had its echo';
};

subtest 'on_handshake rejects, and a plain 426' => sub {
    my $context = EV::Websockets::Context->new(ssl_ca => $ca);
    my $error;
    my $port = $context->listen(%listen, on_handshake => sub { 0 });
    $context->connect(url => "wss://127.0.0.1:$port/", on_error => sub { $error = $_[1] });
    run_until(sub { defined $error }, 'an error');
    like $error, qr/403/, 'with the status';
};

subtest 'a destroyed context' => sub {
    my $server = Pair->listen(listen => {%listen});
    my $context = EV::Websockets::Context->new(ssl_ca => $ca);
    my $client = $context->connect(url => 'wss://127.0.0.1:' . $server->port, on_connect => sub { });
    run_until(sub { $server->server->count('connect') && $client->is_connected }, 'connected');
    $client->send('one last thing');
    undef $context;
    run_until(sub { $server->server->count('close') }, 'the server sees the end');
    is_deeply [$server->server->messages], ['one last thing'], 'after what was queued';
    is $server->server->last_of('close')->[0], 1006, 'without a Close';
};

finish;
