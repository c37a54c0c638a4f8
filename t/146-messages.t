use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Frame;
use Pair;
use RawPeer;
use RawServer;
use Run;
use Test::More;

# Messages from frames of every shape that is allowed, at both roles.

sub shapes {
    my ($peer) = @_;
    return (
        [ 'empty text', [ '', 0 ], $peer->make(TEXT, '') ],
        [ 'empty binary', [ '', 1 ], $peer->make(BINARY, '') ],
        [ 'two fragments', [ 'ab', 0 ], $peer->make(TEXT, 'a', fin => 0), $peer->make(CONT, 'b') ],
        [ 'binary fragments', [ "\xff\x00", 1 ], $peer->make(BINARY, "\xff", fin => 0), $peer->make(CONT, "\0") ],
        [ 'empty fragments', [ '', 0 ], $peer->make(TEXT, '', fin => 0), ($peer->make(CONT, '', fin => 0)) x 50, $peer->make(CONT, '') ],
        [ 'an empty last one', [ 'a', 0 ], $peer->make(TEXT, 'a', fin => 0), $peer->make(CONT, '') ],
        [ 'a hundred fragments', [ join('', 1 .. 100), 0 ], $peer->make(TEXT, '1', fin => 0),
            (map { $peer->make(CONT, $_, fin => 0) } 2 .. 99), $peer->make(CONT, '100') ],
        [ 'control frames between', [ 'abc', 0 ], $peer->make(TEXT, 'a', fin => 0), $peer->make(PING, 'p'),
            $peer->make(CONT, 'b', fin => 0), $peer->make(PONG, 'q'), $peer->make(PING, ''), $peer->make(CONT, 'c') ],
        [ 'a character cut in two', [ "\xe2\x98\xba", 0 ], $peer->make(TEXT, "\xe2", fin => 0),
            $peer->make(CONT, "\x98", fin => 0), $peer->make(CONT, "\xba") ],
        [ 'the last character of Unicode', [ "\xf4\x8f\xbf\xbf", 0 ], $peer->make(TEXT, "\xf4\x8f\xbf\xbf") ],
        [ 'a noncharacter', [ "\xef\xbf\xbf", 0 ], $peer->make(TEXT, "\xef\xbf\xbf") ],
        [ 'a NUL', [ "\0", 0 ], $peer->make(TEXT, "\0") ],
        [ 'bad UTF-8 in binary', [ "\xff\xfe\xc0", 1 ], $peer->make(BINARY, "\xff\xfe\xc0") ],
        (map { [ "$_ bytes", [ 'x' x $_, 1 ], $peer->make(BINARY, 'x' x $_) ] } 124 .. 127, 65534 .. 65537, 300_000),
    );
}

# $send puts bytes on the wire, $events hears what arrives.
sub all_shapes {
    my ($role, $peer, $events) = @_;
    for my $shape (shapes($peer)) {
        my ($name, $expected, @frames) = @$shape;
        my $before = $events->count('message');
        $peer->put(join '', @frames);
        run_until(sub { $events->count('message') > $before || $events->count('close') }, "$role, $name: a message");
        my ($bytes, $binary, $final) = @{ $events->last_of('message') || [] };
        ok(defined $bytes && $bytes eq $expected->[0], "$role, $name: the bytes");
        is($binary, $expected->[1], "$role, $name: is_binary");
        is($final, 1, "$role, $name: is_final");
        is($events->count('message'), $before + 1, "$role, $name: one message");
    }
    # All of them again in one write, and once more in single bytes.
    my @small = grep { length join('', @$_[ 2 .. $#$_ ]) < 1000 } shapes($peer);
    my @expected = map { $_->[1][0] } @small;
    $events->forget;
    $peer->put(join '', map { @$_[ 2 .. $#$_ ] } @small);
    run_until(sub { $events->count('message') == @small }, "$role: all in one write");
    is_deeply([ $events->messages ], \@expected, "$role: the same messages");
    $events->forget;
    my @bytes = split //, join '', map { @$_[ 2 .. $#$_ ] } @small;
    my $drip = EV::idle(sub { $peer->put(shift @bytes) if @bytes });
    run_until(sub { $events->count('message') == @small }, "$role: byte by byte");
    is_deeply([ $events->messages ], \@expected, "$role: the same messages again");
    ok(!$events->count('error'), "$role: no error");
}

my $pair = Pair->listen;
my ($peer) = $pair->raw_peer;
all_shapes('server', $peer, $pair->server);
$peer->put($peer->make(BINARY, 'unmasked by zero', mask => "\0\0\0\0") . $peer->make(TEXT, 'all ones', mask => "\xff" x 4));
run_until(sub { ($pair->server->messages)[-1] eq 'all ones' }, 'any masking key is one');
is(($pair->server->messages)[-2], 'unmasked by zero', 'even zero');

my $raw = RawServer->new;
my $events = Events->new;
my $conn = $pair->context->connect(url => 'ws://127.0.0.1:' . $raw->port, $events->handlers);
run_until(sub { $conn->is_connected }, 'our client');
all_shapes('client', $raw->last_peer, $events);

# Without on_message: all of them are read, checked and counted, and what follows is understood.
{
    my @pongs;
    my $deaf = EV::Websockets::Context->new;
    my $port = $deaf->listen(on_pong => sub { push @pongs, $_[1] });
    my $one = RawPeer->connect($port)->upgrade;
    my @shapes = shapes($one);
    $one->put(join('', map { @$_[ 2 .. $#$_ ] } @shapes) . $one->make(PONG, 'at the end'));
    run_until(sub { $pongs[-1] && $pongs[-1] eq 'at the end' }, 'messages that nobody wants are passed over');
    my ($it) = $deaf->connections;
    is($it->stats->{messages_received}, scalar @shapes, 'and counted');
    $one->put($one->make(TEXT, "\xff", fin => 0) . $one->make(CONT, ''));
    run_until(sub { $one->close_read }, 'bad UTF-8 among them');
    is(($one->close_read)[0], 1007, 'is refused as ever');
}

# Many messages in few reads, from many peers at once: each connection has its
# own, in order.
{
    my %got;
    my $many = Pair->listen(listen => { on_message => sub { push @{ $got{ $_[0]->stash->{path} } }, $_[1] },
        on_connect => sub { $_[0]->stash->{path} = $_[1]{Path} } });
    my @peers = map { RawPeer->connect($many->port)->upgrade(path => "/$_") } 1 .. 20;
    my $n = 0;
    for my $one (@peers) {
        $n++;
        $one->put(join '', map { $one->make(TEXT, "$n:$_") } 1 .. 500);
    }
    run_until(sub { 20 == grep { @{ $got{"/$_"} || [] } == 500 } 1 .. 20 }, '20 peers, 500 messages each');
    is(scalar(grep { my $p = $_; "@{ $got{\"/$p\"} }" ne join ' ', map { "$p:$_" } 1 .. 500 } 1 .. 20), 0,
        'nobody got what was not his');
}

finish();
