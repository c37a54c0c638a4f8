use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Deflate;
use DeflatePeer;
use EV;
use EV::Websockets;
use Frame;
use Pair;
use RawPeer;
use Run;
use Test::More;

# max_message_size bounds what a compressed message becomes, while it is being
# inflated: a few kilobytes that would be gigabytes cost no more than the limit.

my $P = 'permessage-deflate';
my $LIMIT = 100_000;
my $MiB = 1024 * 1024;
my %open = (server_no_context_takeover => 0, client_no_context_takeover => 0);

# A message of that many megabytes of zeros, a thousandth of them long.
sub bomb {
    my ($megabytes) = @_;
    my ($block) = Deflate->new(takeover => 0)->fragments("\0" x $MiB, '');
    my $last = Deflate->new->message('end');
    return $block x $megabytes . $last;
}
my $bomb = bomb(256);
cmp_ok(length $bomb, '<', 400_000, 'a bomb of 256 MiB');

sub too_big {
    my ($name, $it) = @_;
    my ($peer, $events) = ($it->peer, $it->events);
    run_until(sub { $peer->close_read || $peer->eof }, "$name: answered");
    is(($peer->close_read)[0], 1009, "$name: 1009 on the wire");
    $peer->finish_writing;
    run_until(sub { $events->count('close') && $peer->eof }, "$name: ended");
    like($events->last_of('error')->[0], qr/message exceeds max_message_size/, "$name: the text");
    is($events->last_of('close')->[0], 1009, "$name: 1009 in on_close");
    is($events->order, 'connect error close', "$name: no message");
}

my %pieces = (
    'in one frame'            => sub { ($bomb) },
    'in fragments of 100'     => sub { unpack '(a100)*', substr $bomb, 0, 100_000 },
    'in two fragments'        => sub { unpack '(a200000)*', $bomb },
    'after an innocent start' => sub { ((Deflate->new->fragments('x' x 50_000, ''))[0], $bomb) },
);
for my $role (qw(server client)) {
    my $open = sub {
        my ($limit, $deflate) = @_;
        return DeflatePeer->open(role => $role, ext => $P, deflate => $deflate || \%open, options => { max_message_size => $limit });
    };
    for my $opcode (TEXT, BINARY) {
        for my $how (sort keys %pieces) {
            my $name = "$role: " . ($opcode == TEXT ? 'text' : 'binary') . " $how";
            my @payloads = $pieces{$how}->();
            my $it = $open->($LIMIT);
            my $before = rss_kib();
            $it->send_compressed($opcode, @payloads);
            too_big($name, $it);
            SKIP: {
                skip 'no /proc', 1 if !defined $before;
                cmp_ok(rss_kib() - $before, '<', 16_000, "$name: memory stays bounded");
            }
        }
    }

    # Many of them at once.
    SKIP: {
        my @them = map { $open->($LIMIT) } 1 .. 100;
        my $before = rss_kib();
        my $part = substr $bomb, 0, 20_000;
        $_->send_compressed(BINARY, $part) for @them;
        run_until(sub { @them == grep { $_->events->count('close') || $_->peer->close_read } @them }, "$role: a hundred bombs");
        skip 'no /proc', 1 if !defined $before;
        cmp_ok(rss_kib() - $before, '<', 40_000, "$role: a hundred bombs: memory stays bounded");
    }

    # The limit itself is allowed, one more is not; and it is one of each message.
    {
        my $it = $open->($LIMIT);
        my $d = Deflate->new;
        $it->send_compressed(TEXT, $d->message('x' x $LIMIT)) for 1 .. 3;
        $it->send_compressed(TEXT, $d->fragments('x' x 60_000, 'x' x 40_000, ''));
        run_until(sub { $it->events->count('message') == 4 || $it->events->count('close') }, "$role: up to the limit");
        is_deeply([ map { length } $it->events->messages ], [ ($LIMIT) x 4 ], "$role: messages are delivered");
        $it->events->forget;
        $it->send_compressed(TEXT, $d->message('x' x ($LIMIT + 1)));
        run_until(sub { $it->peer->close_read || $it->peer->eof }, "$role: one octet more");
        is(($it->peer->close_read)[0], 1009, "$role: is too much");
        $it->peer->finish_writing;
        run_until(sub { $it->events->count('close') }, "$role: ended");
        is($it->events->order, 'error close', "$role: and is not delivered");
    }
    {
        my $it = $open->($LIMIT);
        $it->send_compressed(BINARY, Deflate->new->fragments('x' x 60_000, 'x' x 40_001, ''));
        too_big("$role: one octet more, in fragments", $it);
    }

    # 0 is no limit.
    {
        my $it = $open->(0);
        $it->send_compressed(BINARY, bomb(16));
        run_until(sub { $it->events->count('message') || $it->events->count('close') }, "$role: no limit");
        is($it->events->order, 'connect message', "$role: a large message arrives");
        ok((($it->events->messages)[0] || '') eq "\0" x (16 * $MiB) . 'end', "$role: whole");
    }
}

# A bomb in the middle of others that share its context's inflater.
{
    my $pair = Pair->open(listen => { deflate => 1, max_message_size => $LIMIT, on_message => sub { $_[0]->send($_[1]) } });
    for my $round (1 .. 3) {
        my $peer = RawPeer->connect($pair->port)->upgrade(headers => { 'Sec-WebSocket-Extensions' => $P });
        run_until(sub { $peer->head }, 'another connection of the same listener');
        $peer->put($peer->make(BINARY, substr($bomb, 0, 20_000), rsv => 4, fin => 0));
        run_until(sub { $peer->close_read || $peer->eof }, 'is ended for its bomb');
        my $text = "round $round " x 1000;
        $pair->c->send($text);
        run_until(sub { $pair->client->count('message') == $round }, 'the first one is served');
        is(($pair->client->messages)[-1], $text, 'as before');
    }
    is($pair->client->order, 'connect' . ' message' x 3, 'and noticed nothing');
}

finish();
