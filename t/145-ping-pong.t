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

# A Pong for every Ping, never dropped, never merged; and on_pong.

# Without pings of its own: who floods and does not read is held back for as long as that takes, and says nothing meanwhile.
my $pair = Pair->open(listen => { on_message => sub { $_[0]->send($_[1]) }, ping_interval => 0 });
my ($server, $client) = ($pair->server, $pair->client);

my $peer = RawPeer->connect($pair->port)->upgrade;
run_until(sub { $server->count('connect') == 2 && $peer->head }, 'a raw peer');
my $conn = $server->conn;
$server->forget;

my @payloads = ('', 'x', "\0\xff\x80", 'y' x 125, map { "ping $_" } 1 .. 500);
$peer->put(join '', map { $peer->make(PING, $_) } @payloads);
run_until(sub { $peer->frames_of(PONG) == @payloads }, '504 Pings in one write: 504 Pongs');
is_deeply([ map { $_->{payload} } $peer->frames_of(PONG) ], \@payloads, 'with their payloads, in order');
is($server->order, '', 'Pings are answered without a callback');

# Between the fragments of a message, in both directions.
$peer->put($peer->make(TEXT, 'frag', fin => 0) . $peer->make(PING, 'between') . $peer->make(CONT, 'ment'));
run_until(sub { $server->count('message') && ($peer->frames_of(PONG))[-1]{payload} eq 'between' }, 'a Ping between fragments is answered');
is(($server->messages)[0], 'fragment', 'and the message is whole');
$conn->send_fragment('open', 0, 0);
$peer->send_frame(PING, 'while we send');
run_until(sub { ($peer->frames_of(PONG))[-1]{payload} eq 'while we send' }, 'a Pong between our own fragments');
$conn->send_fragment('closed', 0, 1);

# Pongs that nobody asked for.
$server->forget;
$peer->send_frame(PONG, $_) for 'one', '', "\xff";
run_until(sub { $server->count('pong') == 3 }, 'three Pongs');
is_deeply([ map { $_->[2] } grep { $_->[0] eq 'pong' } @{ $server->log } ], [ 'one', '', "\xff" ], 'on_pong has their payloads');

# Both ends are ours.
$pair->c->send_ping("p$_") for 1 .. 100;
run_until(sub { $client->count('pong') == 100 }, '100 pings, 100 pongs');
is_deeply([ map { $_->[2] } grep { $_->[0] eq 'pong' } @{ $client->log } ], [ map { "p$_" } 1 .. 100 ], 'in order');
ok(!utf8::is_utf8($client->last_of('pong')->[0]), 'as bytes');

# Our client answers too.
{
    my $raw = RawServer->new;
    my $ours = $pair->context->connect(url => 'ws://127.0.0.1:' . $raw->port);
    run_until(sub { $ours->is_connected }, 'our client at a raw server');
    $raw->last_peer->put(join '', map { $raw->last_peer->make(PING, "s$_") } 1 .. 100);
    run_until(sub { $raw->last_peer->frames_of(PONG) == 100 }, 'answers 100 Pings');
    is_deeply([ map { "$_->{masked} $_->{payload}" } $raw->last_peer->frames_of(PONG) ], [ map { "1 s$_" } 1 .. 100 ],
        'masked, in order');
}

# A flood of Pings from a peer that never reads the Pongs: memory stays
# bounded and everybody else is served; and when it does read at last, every
# single Pong is there.
{
    my $flood = RawPeer->connect($pair->port)->upgrade;
    run_until(sub { $flood->head }, 'a peer that will flood');
    $flood->stop_reading;
    my $before = rss_kib();
    my ($made, $limit) = (0, 1_000_000);
    $flood->put_from(sub {
        return undef if $made >= $limit;
        return join '', map { $flood->make(PING, sprintf '%0125d', $made++) } 1 .. 200;
    });
    # Until it has been stuck for a while, or has written all of its 131 MB.
    my ($written, $stuck, $served) = (0, 0, 0);
    while ($stuck < 20 && $flood->{source}) {
        my $count = $client->count('message');
        $pair->c->send('still there?');
        run_until(sub { $client->count('message') > $count }, 'another connection is served') or last if $served++ < 5;
        settle();
        $stuck = $flood->written == $written ? $stuck + 1 : 0;
        $written = $flood->written;
        last if $flood->eof;
    }
    note("$made pings made, $written bytes written");
    ok($flood->{source}, 'the flood is held back') or diag("$written bytes were taken");
    SKIP: {
        skip 'no /proc', 1 if !defined $before;
        cmp_ok(rss_kib() - $before, '<', 40_000, 'memory stays bounded');
    }
    my $count = $client->count('message');
    $pair->c->send('and now?');
    run_until(sub { $client->count('message') > $count }, 'another connection is still served');

    delete $flood->{source};
    $flood->start_reading;
    my $checked = 0;
    my $wrong = 0;
    my $taken = sub {
        my $before = $checked;
        $flood->frames;
        for my $frame (splice @{ $flood->{frames} }) {
            $wrong++ if $frame->{opcode} != PONG || $frame->{payload} ne sprintf '%0125d', $checked;
            $checked++;
        }
        return $checked > $before;
    };
    # Waits for some at a time: in a debugging perl all of them take the peer long.
    1 while $checked < $made && wait_until($taken);
    is($checked, $made, 'once the peer reads, it gets a Pong for each of its Pings');
    is($wrong, 0, 'each the right one, in order');
}

finish();
