use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Compress::Raw::Zlib;
use Crowd;
use Deflate;
use EV;
use EV::Websockets;
use Frame;
use IO::Select;
use IO::Socket::INET;
use RawPeer;
use Run;
use Test::More;

# Prepared messages and broadcasts, as peers see them that know nothing of the module.

# A message is framed once, for servers and clients, and sent as any other.
{
    my $crowd = Crowd->new(peers => 2);
    my ($ctx, $conn) = ($crowd->ctx, $crowd->conn(0));
    my $text = $ctx->prepare('a text');
    my $binary = $ctx->prepare("\0\xFF", binary => 1);
    isa_ok($text, 'EV::Websockets::Prepared');
    ok($conn->send($text), 'send takes one, and says that it is queued');
    is($conn->send_queue_size, 6, 'counted as any other');
    ok($conn->send($binary), 'a binary one');
    $conn->send('plain');
    $conn->send($text);
    my @frames = $crowd->frames(0, 4);
    is_deeply([ map { $_->{payload} } @frames ], [ 'a text', "\0\xFF", 'plain', 'a text' ], 'in the order of the calls');
    is_deeply([ map { $_->{opcode} } @frames ], [ TEXT, BINARY, TEXT, TEXT ], 'each as what it was prepared');
    is_deeply([ grep { $_->{masked} } @frames ], [], 'a server does not mask');
    undef $text;
    is_deeply($crowd->got(1, 0), [], 'nobody else has got one');
    my $stats = $conn->stats;
    is($stats->{messages_sent}, 4, 'counted');
    is($stats->{payload_sent}, 6 + 2 + 5 + 6, 'with their octets');
}

# With context takeover, what follows a publication that was written without a queue refers to nothing before it.
{
    my $crowd = Crowd->new(peers => 0, listen => { deflate => { threshold => 1, server_no_context_takeover => 0 } });
    $crowd->join_in(headers => { 'Sec-WebSocket-Extensions' => 'permessage-deflate' });
    my ($conn, $inflate) = ($crowd->conn(0), Deflate->new);
    my $words = join ' ', map { $_ * 7919 % 1009 } 1 .. 40;
    $conn->subscribe('t');
    my @got;
    for my $round (1 .. 3) {
        $conn->send("sent $round $words");
        push @got, $crowd->frames(0, 1);
        $crowd->ctx->publish('t', join ' ', map { $_ * 7907 % 1013 } $round .. 60);
        push @got, $crowd->frames(0, 1);
    }
    is_deeply([ map { $_->{rsv} } @got ], [ (4) x 6 ], 'all are compressed');
    my @texts = map { eval { $inflate->inflate($_->{payload}) } } @got;
    is_deeply([ map { $texts[ 2 * $_ - 2 ] } 1 .. 3 ], [ map { "sent $_ $words" } 1 .. 3 ], 'and understood');
}

# What is queued outlives the object.
{
    my $crowd = Crowd->new(peers => 1);
    my $big = 'x' x 300_000;
    $crowd->peer(0)->stop_reading;
    {
        my $message = $crowd->ctx->prepare($big);
        $crowd->conn(0)->send($message) for 1 .. 30;
    }
    $crowd->peer(0)->start_reading;
    my $got = $crowd->got(0, 30);
    is(scalar(grep { $_ eq $big } @$got), 30, 'thirty large ones arrive after the object is gone');
    is($crowd->conn(0)->send_queue_size, 0, 'and the queue is empty');
}

# Characters, as `utf8` says it for connections.
{
    my $crowd = Crowd->new(peers => 1);
    my $ctx = $crowd->ctx;
    my $conn = $crowd->conn(0);
    $conn->send($ctx->prepare("\x{e9}", utf8 => 1));
    $conn->send($ctx->prepare("\x{20ac}"));
    $conn->send($ctx->prepare("\xE9", binary => 1));
    is_deeply($crowd->got(0, 3), [ "\xC3\xA9", "\xE2\x82\xAC", "\xE9" ], 'characters in UTF-8, octets as they are');
}

# A client masks afresh what all of them send.
{
    my @servers;
    my $ctx = EV::Websockets::Context->new;
    my $listen = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1') or die $!;
    my (@conns, $open);
    for (1, 2) {
        push @conns, $ctx->connect(url => 'ws://127.0.0.1:' . $listen->sockport, on_connect => sub { $open++ });
        wait_until(sub { IO::Select->new($listen)->can_read(0) });
        push @servers, RawPeer->new(scalar $listen->accept, role => 'server', on_head => sub { $_[0]->accept });
    }
    wait_until(sub { ($open || 0) == 2 });
    my $message = $ctx->prepare('masked');
    is($ctx->broadcast($message, \@conns), 2, 'two clients');
    $conns[0]->send($message);
    wait_until(sub { @{ $servers[0]->frames } >= 2 && @{ $servers[1]->frames } >= 1 });
    my @frames = map { @{ $_->frames } } @servers;
    is_deeply([ map { $_->{payload} } @frames ], [ ('masked') x 3 ], 'the same message');
    my %mask = map { $_->{key} => 1 } @frames;
    is(scalar keys %mask, 3, 'three masks');
}

# Compressed once, for whoever has agreed on it. A connection that takes its context over is still understood afterwards,
# though its compressor has not seen the message.
for my $takeover (0, 1) {
    my $offer = 'permessage-deflate' . ($takeover ? '' : '; server_no_context_takeover');
    my $crowd = Crowd->new(peers => 1, listen => { deflate => { threshold => 1 } });
    my $other = $crowd->join_in(headers => { 'Sec-WebSocket-Extensions' => $offer });
    my $words = 'words and words and ' x 20;
    my $ctx = $crowd->ctx;
    my $prepared = $ctx->prepare($words);
    my $never = $ctx->prepare($words, compress => 0);
    my $deflated = $crowd->conn($other);
    for my $round (1 .. 3) {
        $deflated->send("$round$words");
        is($ctx->broadcast($prepared, [ $crowd->conns ]), 2, 'both get it');
        $deflated->send("again $round$words");
    }
    $deflated->send($never);
    is_deeply($crowd->got(0, 3), [ ($words) x 3 ], 'plain without compression');
    my $inflater = Compress::Raw::Zlib::Inflate->new(-WindowBits => -15);
    my @got;
    my @frames = $crowd->frames($other, 10);
    for my $frame (@frames) {
        my $data = $frame->{payload};
        if ($frame->{rsv}) {
            my $input = $data . "\0\0\xFF\xFF";
            $data = '';
            $inflater->inflate($input, my $out);
            $data .= $out;
        }
        push @got, $data;
    }
    my @expected = map { ("$_$words", $words, "again $_$words") } 1 .. 3;
    is_deeply(\@got, [ @expected, $words ], 'a peer that inflates one stream understands all, takeover ' . $takeover);
    cmp_ok(length $frames[1]{payload}, '<', 60, 'the prepared one is compressed');
    ok(!$frames[-1]{rsv}, 'compress => 0 is plain');
}

# Between the fragments of a message nothing else may lie: a broadcast waits for its end, and send refuses.
{
    my $crowd = Crowd->new(peers => 2);
    my ($one, $two) = $crowd->conns;
    my $ctx = $crowd->ctx;
    $one->send_fragment('first ', 0, 0);
    my $message = $ctx->prepare('between');
    croaks_like(sub { $one->send($message) }, qr/fragmented message is in progress/, 'send refuses a prepared one, too');
    is($ctx->broadcast($message, [ $one, $two ]), 2, 'a broadcast is queued');
    $one->send_fragment('last', 0, 1);
    $one->send('after');
    is_deeply($crowd->got(0, 4), [ 'first ', 'last', 'between', 'after' ], 'and goes out behind the last fragment');
    is_deeply($crowd->got(1, 1), ['between'], 'at once to others');
}

# Who gets a broadcast.
{
    my $crowd = Crowd->new(peers => 4);
    my ($ctx, @conn) = ($crowd->ctx, $crowd->conns);
    $conn[3]->close;
    is($ctx->broadcast('all', [ @conn, $conn[0] ]), 3, 'each that is open, once');
    is($ctx->broadcast('some', [@conn], except => $conn[1]), 2, 'but for one');
    is($ctx->broadcast("\0", [ $conn[2] ], binary => 1), 1, 'binary');
    is($ctx->broadcast('nobody', []), 0, 'nobody');
    is_deeply($crowd->got(0, 2), [ 'all', 'some' ], 'the first');
    is_deeply($crowd->got(1, 1), ['all'], 'the one that was left out');
    is_deeply($crowd->got(2, 3), [ 'all', 'some', "\0" ], 'the third');
}

# The same for a topic. No test had ever asked for it: its subscribers as they are now get the message, between what
# else they get; and it is no publication, which a topic would keep.
{
    my $crowd = Crowd->new(peers => 4);
    my ($ctx, @conn) = ($crowd->ctx, $crowd->conns);
    $ctx->topic('news', history => 10);
    $_->subscribe('news') for @conn[ 0 .. 2 ];
    $conn[2]->close;
    my $before = $ctx->position('news');
    is($ctx->broadcast('all', to => 'news'), 2, 'each subscriber that is open');
    is($ctx->broadcast('nobody', to => 'olds'), 0, 'a topic that nobody has subscribed to');
    is_deeply($ctx->position('news'), $before, 'the topic does not keep it');
    is($ctx->publish('news', 'published'), 2, 'a publication');
    is($ctx->broadcast('some', to => 'news', except => $conn[1]), 1, 'but for one');
    is($ctx->broadcast($ctx->prepare("\0", binary => 1), to => 'news'), 2, 'a prepared one');
    $conn[0]->unsubscribe('news');
    is($ctx->broadcast('later', to => 'news'), 1, 'nor does one get it that has gone');
    is_deeply($crowd->got(0, 4), [ 'all', 'published', 'some', "\0" ], 'the first');
    is_deeply($crowd->got(1, 4), [ 'all', 'published', "\0", 'later' ], 'the second');
    is_deeply($crowd->got(3, 0), [], 'who has not subscribed');
    croaks_like(sub { $ctx->broadcast('x', to => '') }, qr/^broadcast: (?:topic|to) must be 1 to 65535 octets, not 0/, 'no topic');
    croaks_like(sub { $ctx->broadcast('x', to => []) }, qr/^broadcast: (?:topic|to) must be a defined string/, 'a reference');
}

# max_send_queue counts, each connection's own way.
{
    my $crowd = Crowd->new(peers => 1, listen => { max_send_queue => 1000, send_queue_policy => 'croak' });
    my ($ctx, $conn) = ($crowd->ctx, $crowd->conn(0));
    my $message = $ctx->prepare('x' x 600);
    is($ctx->broadcast($message, [$conn]), 1, 'room for one') for 1, 2;
    is($ctx->broadcast($message, [$conn]), 0, 'and no further one: not queued');
    croaks_like(sub { $conn->send($message) }, qr/send queue is full/, 'send croaks, as it was asked to');
    is(scalar @{ $crowd->got(0, 2) }, 2, 'two have arrived');
    is($conn->stats->{messages_dropped}, 1, 'one is counted as dropped');
}

# Another context's, a destroyed one, and what cannot be prepared.
{
    my $crowd = Crowd->new(peers => 1);
    my $conn = $crowd->conn(0);
    my $other = EV::Websockets::Context->new;
    my $message = $other->prepare('x');
    croaks_with(sub { $conn->send($message) }, 'send: the message was prepared by another context', 'another context');
    croaks_like(sub { $crowd->ctx->broadcast($message, [$conn]) }, qr/^broadcast: the message was prepared by another/,
        'for a broadcast, too');
    undef $other;
    croaks_like(sub { $conn->send($message) }, qr/^send: the message was prepared by another context/, 'which is gone');
    my $ctx = $crowd->ctx;
    my $mine = $ctx->prepare('x');
    croaks_with(sub { $ctx->prepare($mine) }, 'prepare: the message is prepared already', 'prepared twice');
    croaks_with(sub { $ctx->prepare(undef) }, 'prepare: data must be defined', 'undef');
    croaks_like(sub { $ctx->prepare("\x{100}", binary => 1) }, qr/^prepare: wide character/, 'characters in binary');
    croaks_like(sub { $ctx->prepare('x', binry => 1) }, qr/^prepare: unknown option 'binry': did you mean 'binary'/,
        'a misspelling');
    croaks_like(sub { $ctx->prepare('x', 'binary') }, qr/^odd number of options/, 'an odd number');
    croaks_like(sub { $ctx->broadcast($mine, [$conn], binary => 1) },
        qr/^broadcast: binary was decided when the message was prepared/, 'binary, too late');
    croaks_like(sub { $ctx->broadcast('x') }, qr/^broadcast: connections, or to, must be given/, 'to nobody');
    croaks_like(sub { $ctx->broadcast('x', [$conn], to => 'x') }, qr/^broadcast: to is for a topic/, 'both');
    croaks_like(sub { $ctx->broadcast('x', [42]) }, qr/^broadcast: a connection must be an EV::Websockets::Connection \(got '42'\)/,
        'no connection');
    croaks_like(sub { $ctx->broadcast('x', $conn) }, qr/^broadcast: connections must be an array reference/, 'no array');
    croaks_like(sub { $ctx->broadcast('x', [$conn], except => 'him') }, qr/^broadcast: except must be an EV::Websockets::Conn/,
        'except nobody');
    croaks_like(sub { EV::Websockets::Context->new->broadcast('x', [$conn]) },
        qr/^broadcast: a connection is a connection of another context/, q{another context's});
    is_deeply($crowd->got(0, 0), [], 'and none of that was sent');
}

# Objects that go in any order.
{
    my $crowd = Crowd->new(peers => 1);
    my @messages = map { $crowd->ctx->prepare($_) } 1 .. 100;
    $crowd->conn(0)->send($_) for @messages;
    splice @messages, 10, 50;
    is(scalar @{ $crowd->got(0, 100) }, 100, 'a hundred');
    undef $crowd;
    @messages = ();
    pass('and the objects after their context');
}

finish();
