use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Encode ();
use Events;
use Frame;
use Pair;
use Run;
use Socket qw(AF_UNIX SOCK_STREAM PF_UNSPEC);
use Test::More;

# Characters and bytes: what goes out of a string, and what comes in.

# What has been read by a peer that knows bytes only. send_binary and its kin
# sent perl's inner UTF-8 for what has a wide character in it, and for bytes that
# perl had upgraded: what arrived was not what was sent.
my $pair = Pair->listen;
sub peer {
    my ($o) = @_;
    $pair = Pair->listen(listen => $o) if $o;
    return $pair->raw_peer;
}
sub upgraded { my ($bytes) = @_; utf8::upgrade($bytes); return $bytes }
sub payloads {
    my ($peer, $opcode, $count, $name) = @_;
    run_until(sub { $peer->frames_of($opcode) >= $count }, "$name: arrived");
    return [ map { $_->{payload} } $peer->frames_of($opcode) ];
}

my $wide  = "caf\x{e9} \x{263a}";
my $utf8  = Encode::encode('UTF-8', $wide);
my $latin = "caf\x{e9}";
my $bytes = join '', map { chr } 0 .. 255;
my @impossible = ("\x{d800}", "a\x{dfff}", do { no warnings; chr 0x110000 });

{
    my ($peer, $conn) = peer();
    for my $method (qw(send_binary send_ping send_pong)) {
        croaks_with { $conn->$method($wide) } "$method: wide character: what is sent must be bytes", "$method: a wide character";
    }
    croaks_with { $conn->send_fragment($wide, 1, 0) } 'send_fragment: wide character: what is sent must be bytes',
        'send_fragment: a wide character in a binary message';
    croaks_with { $conn->close(1000, $wide) } 'close: wide character: what is sent must be bytes',
        'close: a wide character in the reason';
    is($conn->state, 'connected', 'nothing has happened');
    is($conn->send_queue_size, 0, 'and nothing was queued');

    $conn->send_binary($_) for $bytes, upgraded($bytes);
    is_deeply(payloads($peer, BINARY, 2, 'send_binary'), [ $bytes, $bytes ], 'bytes are bytes, however perl keeps them');
    $conn->send_ping($_) for $latin, upgraded($latin);
    is_deeply(payloads($peer, PING, 2, 'send_ping'), [ $latin, $latin ], 'in a Ping, too');
    $conn->send_pong($_) for $latin, upgraded($latin);
    is_deeply(payloads($peer, PONG, 2, 'send_pong'), [ $latin, $latin ], 'and in a Pong');

    # send takes what perl has, as 0.10 did; send_text the characters.
    $conn->send($_) for $wide, $utf8, $latin, upgraded($latin);
    is_deeply(payloads($peer, TEXT, 4, 'send'), [ $utf8, $utf8, $latin, Encode::encode('UTF-8', $latin) ],
        'send: the octets of the string, as 0.10 sent them');
    $conn->send_text($_) for $wide, $latin, upgraded($latin), 'plain', '', "\x{10fffd}", 'x' x 70_000 . "\x{e9}", 42;
    my $text = payloads($peer, TEXT, 12, 'send_text');
    is_deeply([ map { Encode::decode('UTF-8', $_) } @$text[ 4 .. 11 ] ],
        [ $wide, $latin, $latin, 'plain', '', "\x{10fffd}", 'x' x 70_000 . "\x{e9}", 42 ], 'send_text: the characters');
    my $given = $latin;
    $conn->send_text($given);
    ok(!utf8::is_utf8($given), 'the string itself is as it was');
    croaks_with { $conn->send_text($_) }
        'send_text: a character that cannot be sent: a surrogate, or one above U+10FFFF', 'send_text: no character of Unicode'
        for @impossible;
    croaks_with { $conn->send_text(undef) } 'send_text: data must be defined', 'send_text(undef)';
    { package Stringy; use overload '""' => sub { ${ $_[0] } }, fallback => 1 }
    $conn->send_text(bless \(my $s = $wide), 'Stringy');
    $conn->send_binary(bless \(my $b = upgraded($bytes)), 'Stringy');
    croaks_with { $conn->send_binary(bless \(my $w = $wide), 'Stringy') }
        'send_binary: wide character: what is sent must be bytes', 'an object that is a wide string';
    is(payloads($peer, TEXT, 14, 'an object')->[13], $utf8, 'an object that is a string');
    is(payloads($peer, BINARY, 3, 'an object')->[2], $bytes, 'of bytes');

    $conn->send_fragment('begun', 0, 0);
    croaks_like { $conn->send_text('in between') } qr/\ACannot send while a fragmented message is in progress; finish the fragment/,
        'send_text in the middle of a message';
    # A text is a text to its end: what send_fragment is told afterwards does not count.
    $conn->send_fragment($wide, 1, 1);
    is(payloads($peer, CONT, 1, 'a fragment')->[0], $utf8, 'send_fragment of text is as send');
    $conn->send_fragment('begun', 1, 0);
    croaks_with { $conn->send_fragment($wide, 0, 1) } 'send_fragment: wide character: what is sent must be bytes',
        'a binary message is one to its end';
    $conn->send_fragment(upgraded($latin));
    is(payloads($peer, CONT, 2, 'the last fragment')->[1], $latin, 'and its fragments are bytes');
}

# A reason has to be UTF-8: what is not was sent all the same, and failed the
# connection at the peer.
for (
    [ 'UTF-8',               Encode::encode('UTF-8', $latin) ],
    [ 'UTF-8, upgraded',     upgraded(Encode::encode('UTF-8', $latin)) ],
    [ 'characters',          $latin ],
    [ 'characters upgraded', upgraded($latin) ],
) {
    my ($name, $reason) = @$_;
    my ($peer, $conn) = peer();
    $conn->close(4000, $reason);
    is(payloads($peer, CLOSE, 1, $name)->[0], pack('n', 4000) . Encode::encode('UTF-8', $latin), "a reason: $name");
}
croaks_with { EV::Websockets::Context->new->shutdown(reason => $wide) }
    'shutdown: wide character: what is sent must be bytes', 'shutdown: a wide character';

# ---- utf8 => 1 ----

{
    my ($peer, $conn) = peer({ utf8 => 1 });
    $conn->send($_) for $wide, $latin, 'plain';
    is_deeply([ map { Encode::decode('UTF-8', $_) } @{ payloads($peer, TEXT, 3, 'utf8: send') } ], [ $wide, $latin, 'plain' ],
        'utf8: send encodes');
    croaks_with { $conn->send($impossible[0]) }
        'send: a character that cannot be sent: a surrogate, or one above U+10FFFF', 'utf8: send: no character of Unicode';
    $conn->send_fragment($latin, 0, 0);
    $conn->send_fragment($wide, 0, 1);
    is(payloads($peer, TEXT, 4, 'utf8: send_fragment')->[3], Encode::encode('UTF-8', $latin), 'utf8: send_fragment encodes text');
    is(payloads($peer, CONT, 1, 'utf8: the next')->[0], $utf8, 'to its end');
    $conn->send_fragment($latin, 1, 0);
    $conn->send_fragment($latin);
    is(payloads($peer, CONT, 2, 'utf8: binary fragments')->[1], $latin, 'utf8: and leaves binary messages alone');
    $conn->send_binary($latin);
    is(payloads($peer, BINARY, 2, 'utf8: send_binary')->[1], $latin, 'utf8: send_binary sends bytes');
    croaks_like { $conn->send_binary($wide) } qr/\Asend_binary: wide character/, 'utf8: and no characters';

    my $server = $pair->server;
    $peer->send_frame(TEXT, $utf8);
    $peer->send_frame(BINARY, $utf8);
    $peer->send_frame(TEXT, 'plain');
    $peer->send_frame(TEXT, '');
    # Cut in the middle of a character.
    $peer->send_frame(TEXT, substr($utf8, 0, 4), fin => 0);
    $peer->send_frame(CONT, substr $utf8, 4);
    $peer->send_frame(TEXT, $utf8 x 4000);
    $peer->send_frame(TEXT, $utf8);
    run_until(sub { $server->count('message') == 7 }, 'utf8: the messages');
    is_deeply([ $server->messages ], [ $wide, $utf8, 'plain', '', $wide, $wide x 4000, $wide ],
        'utf8: on_message decodes text, whole or in fragments, and no binary message');
    $peer->send_frame(TEXT, "\xff");
    run_until(sub { $server->count('close') }, 'utf8: text that is none');
    is($server->last_of('close')->[0], 1007, 'still fails the connection');
}
{
    my $echo = Pair->open(
        connect => { utf8 => 1, deflate => { threshold => 0 } },
        listen  => { deflate => 1, on_message => sub { $_[0]->send_binary($_[1]); $_[0]->send($_[1]) } },
    );
    $echo->c->send($wide);
    run_until(sub { $echo->client->count('message') == 2 }, 'utf8 of connect, with deflate');
    is_deeply([ $echo->client->messages ], [ $utf8, $wide ], 'characters on this side, bytes on the other');
}
{
    socketpair(my $near, my $far, AF_UNIX, SOCK_STREAM, PF_UNSPEC) or die $!;
    my $context = EV::Websockets::Context->new;
    my ($one, $other) = map { Events->new } 1, 2;
    $context->adopt(fh => $near, upgraded => 1, utf8 => 1, $one->handlers);
    my $client = $context->adopt(fh => $far, role => 'client', $other->handlers);
    run_until(sub { $one->count('connect') && $other->count('connect') }, 'adopted');
    $client->send($utf8);
    run_until(sub { $one->count('message') }, 'utf8 of adopt');
    is($one->last_of('message')->[0], $wide, 'decodes');

    croaks_with { $context->connect(url => 'ws://127.0.0.1/', utf8 => 1, validate_utf8 => 0) }
        'connect: utf8 is for text that is UTF-8, and validate_utf8 is false', 'utf8 without a check';
    croaks_with { $context->listen(host => '127.0.0.1', utf8 => 1, validate_utf8 => 0) }
        'listen: utf8 is for text that is UTF-8, and validate_utf8 is false', 'utf8 without a check: listen';
}

finish;
