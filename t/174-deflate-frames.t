use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Deflate;
use DeflatePeer;
use EV;
use EV::Websockets;
use Frame;
use Run;
use Test::More;

# Compressed messages from a raw peer, right ones and wrong ones, in both roles
# (RFC 7692 sections 6 and 7.2).

my $P = 'permessage-deflate';
my %open = (server_no_context_takeover => 0, client_no_context_takeover => 0);
sub octets { return pack 'H*', join '', @_ }

# [name, [opcode, expected], the payloads of its fragments]. All of one list go
# over one connection, so that they share the window.
my $lorem = join ' ', map { "word$_" } 1 .. 5000;
my $random = join '', map { chr int rand 256 } 1 .. 70_000;
utf8::encode(my $camels = "\x{1f42a}\x{20ac}" x 2000);

sub right {
    return (
        # The examples of section 7.2.3.
        [ '7.2.3.1: one block', TEXT, 'Hello', octets('f248cdc9c90700') ],
        [ '7.2.3.1: in two fragments', TEXT, 'Hello', octets('f248cd'), octets('c9c90700') ],
        [ '7.2.3.2: from the window of the message before', TEXT, 'Hello', octets('f200110000') ],
        [ '7.2.3.3: a block without compression', TEXT, 'Hello', octets('000500faff48656c6c6f00') ],
        [ '7.2.3.4: BFINAL', TEXT, 'Hello', octets('f348cdc9c9070000') ],
        [ 'a message after one with BFINAL', TEXT, 'Hello', octets('f248cdc9c90700') ],
        [ '7.2.3.5: two blocks', TEXT, 'Hello', octets('f248050000', '00ffff', 'cac9c90700') ],
        [ '7.2.3.6: an empty message', TEXT, '', octets('00') ],
        [ 'an empty binary message', BINARY, '', octets('00') ],
        [ 'an empty message of three fragments', BINARY, '', '', '', octets('00') ],
        [ 'an empty message, a fixed block', TEXT, '', octets('0200') ],
    );
}

# With a compressor of perl's zlib. Kept apart: its window has not seen the above.
sub streamed {
    my $d = Deflate->new;
    my @cases;
    for ([ 'text', TEXT, $lorem ], [ 'the same again', TEXT, $lorem ], [ 'random', BINARY, $random ],
         [ 'one octet', BINARY, 'x' ], [ 'nothing', TEXT, '' ], [ 'UTF-8', TEXT, $camels ], [ 'a megabyte', BINARY, 'ab' x 524_288 ]) {
        my ($name, $opcode, $bytes) = @$_;
        push @cases, [ $name, $opcode, $bytes, $d->message($bytes) ];
        push @cases, [ "$name, in fragments cut by the compressor", $opcode, $bytes,
            $d->fragments(unpack '(a' . (1 + int length($bytes) / 5) . ')*', $bytes) ] if length $bytes;
        my $payload = $d->message($bytes);
        push @cases, [ "$name, cut anywhere", $opcode, $bytes, unpack '(a' . (1 + int length($payload) / 7) . ')*', $payload ];
    }
    push @cases, [ 'BFINAL', TEXT, $lorem, Deflate->new->final_message($lorem) ];
    $d = Deflate->new(level => 0);
    push @cases, [ 'stored blocks', BINARY, $random, $d->message($random) ];
    return @cases;
}

for my $role (qw(server client)) {
    for my $list (\&right, \&streamed) {
        my $it = DeflatePeer->open(role => $role, deflate => \%open, ext => $P);
        my ($peer, $events) = ($it->peer, $it->events);
        for ($list->()) {
            my ($name, $opcode, $bytes, @payloads) = @$_;
            my $before = $events->count('message');
            $it->send_compressed($opcode, @payloads);
            run_until(sub { $events->count('message') > $before || $events->count('close') }, "$role: $name: arrives");
            my $got = $events->last_of('message');
            ok($got && $got->[0] eq $bytes, "$role: $name: as it was") or diag join ' ', $events->order, map { "'$_'" } @{ $events->last_of('error') || [] };
            is($got && $got->[1], $opcode == BINARY ? 1 : 0, "$role: $name: its kind");
        }
        # Plain ones and control frames in between.
        $events->forget;
        my $d = Deflate->new;
        my ($first, $second, $third) = $d->fragments('one, ', 'two, ', 'three');
        $peer->put($peer->make(TEXT, 'plain') . $peer->make(TEXT, $first, fin => 0, rsv => 4) . $peer->make(PING, 'ping')
            . $peer->make(CONT, $second, fin => 0) . $peer->make(PONG, 'pong') . $peer->make(CONT, $third)
            . $peer->make(TEXT, 'pl', fin => 0) . $peer->make(CONT, 'ain') . $peer->make(BINARY, ''));
        run_until(sub { $events->count('message') == 4 }, "$role: plain and compressed, pings between fragments");
        is_deeply([ $events->messages ], [ 'plain', 'one, two, three', 'plain', '' ], "$role: each as it was");
        is($events->order, 'message pong message message message', "$role: in the order they came");
        run_until(sub { $peer->frames_of(PONG) }, "$role: the ping is answered");
        is(($peer->frames_of(PONG))[0]{rsv}, 0, "$role: plainly");
        $peer->send_close(1000);
        run_until(sub { $events->count('close') }, "$role: close");
    }
}

# ---- what must fail the connection ----

my $hello = octets('f248cdc9c90700');
my @wrong = (
    [ 'RSV1 when nothing was negotiated', 1002, undef, sub { $_[0]->make(TEXT, $hello, rsv => 4) } ],
    [ 'RSV1 on an empty frame when nothing was negotiated', 1002, undef, sub { $_[0]->make(BINARY, '', rsv => 4) } ],
    [ 'RSV1 on a Ping', 1002, $P, sub { $_[0]->make(PING, 'x', rsv => 4) } ],
    [ 'RSV1 on a Pong', 1002, $P, sub { $_[0]->make(PONG, '', rsv => 4) } ],
    [ 'RSV1 on a Close', 1002, $P, sub { $_[0]->make(CLOSE, close_payload(1000), rsv => 4) } ],
    [ 'RSV1 on a continuation', 1002, $P, sub { $_[0]->make(TEXT, 'x', fin => 0) . $_[0]->make(CONT, 'y', rsv => 4) } ],
    [ 'RSV1 on a second fragment too', 1002, $P,
        sub { $_[0]->make(TEXT, substr($hello, 0, 3), fin => 0, rsv => 4) . $_[0]->make(CONT, substr($hello, 3), rsv => 4) } ],
    (map { my $rsv = $_; [ "reserved bits $rsv", 1002, $P, sub { $_[0]->make(TEXT, $hello, rsv => $rsv) } ] } 1, 2, 3, 5, 6, 7),
    [ 'no block type 3', qr/\A100[27]\z/, $P, sub { $_[0]->make(TEXT, "\xff\xff\xff\xff", rsv => 4) } ],
    [ 'the lengths of a stored block differ', qr/\A100[27]\z/, $P, sub { $_[0]->make(BINARY, octets('000500faf048656c6c6f00'), rsv => 4) } ],
    [ 'the window of a message that never was', qr/\A100[27]\z/, $P, sub { $_[0]->make(TEXT, octets('f200110000'), rsv => 4) } ],
    [ 'an error in the last fragment', qr/\A100[27]\z/, $P,
        sub { $_[0]->make(TEXT, octets('f248'), fin => 0, rsv => 4) . $_[0]->make(CONT, "\xff" x 10) } ],
    [ 'an error in the first fragment, the second to come', qr/\A100[27]\z/, $P, sub { $_[0]->make(BINARY, "\xff" x 10, fin => 0, rsv => 4) } ],
    [ 'no UTF-8', 1007, $P, sub { $_[0]->make(TEXT, Deflate->new->message("ok \xff ok"), rsv => 4) } ],
    [ 'no UTF-8 across fragments', 1007, $P, sub {
        my ($one, $two) = Deflate->new->fragments("\xe2\x98", 'x');
        $_[0]->make(TEXT, $one, fin => 0, rsv => 4) . $_[0]->make(CONT, $two) } ],
    [ 'a text that ends inside a character', 1007, $P, sub { $_[0]->make(TEXT, Deflate->new->message("\xf0\x9f\x90"), rsv => 4) } ],
    # The last six octets of what has come wait for what follows them.
    [ 'no UTF-8 in an unfinished message', 1007, $P, sub {
        $_[0]->make(TEXT, (Deflate->new->fragments("ok \xff ok", ''))[0], fin => 0, rsv => 4) } ],
);
for my $role (qw(server client)) {
    for (@wrong) {
        my ($name, $code, $ext, $bytes) = @$_;
        my $it = DeflatePeer->open(role => $role, deflate => \%open, ext => $ext);
        my ($peer, $events) = ($it->peer, $it->events);
        $peer->put($bytes->($peer));
        run_until(sub { $peer->close_read || $peer->eof }, "$role: $name: answered");
        $peer->finish_writing;
        run_until(sub { $events->count('close') && $peer->eof }, "$role: $name: ended");
        is($events->order, 'connect error close', "$role: $name: on_error, then on_close, no message");
        like(($events->last_of('error') || [''])->[0], qr/\S/, "$role: $name: with a text");
        my ($told) = $peer->close_read;
        ref $code ? like($told, $code, "$role: $name: the code") : is($told, $code, "$role: $name: the code");
        is($events->last_of('close')->[0], $told, "$role: $name: the same in on_close");
    }
}

# Where no takeover was agreed on, what refers to the message before is wrong.
for my $case ([ server => $P, 1 ], [ client => "$P; server_no_context_takeover; client_no_context_takeover", 1 ]) {
    my ($role, $ext, $deflate) = @$case;
    my $it = DeflatePeer->open(role => $role, deflate => $deflate, ext => $ext);
    my ($peer, $events) = ($it->peer, $it->events);
    $it->send_compressed(TEXT, $hello) for 1, 2;
    run_until(sub { $events->count('message') == 2 }, "$role: no takeover: each for itself");
    $it->send_compressed(TEXT, octets('f200110000'));
    run_until(sub { $peer->close_read || $peer->eof }, "$role: no takeover: a reference to the last message");
    $peer->finish_writing;
    run_until(sub { $events->count('close') }, "$role: no takeover: ended");
    is($events->order, 'connect message message error close', "$role: no takeover: nothing wrong is delivered");
}

finish();
