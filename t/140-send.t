use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Frame;
use Pair;
use RawPeer;
use Run;
use Test::More;

# The sending methods, as a raw peer sees their frames.

my $pair = Pair->listen;
my $peer = RawPeer->connect($pair->port)->upgrade;
run_until(sub { $pair->server->count('connect') && $peer->head }, 'connected');
my $conn = $pair->server->conn;

# fin, opcode and payload of the frames that $code makes the peer see.
sub frames_after {
    my ($count, $name, $code) = @_;
    my $before = @{ $peer->frames };
    $code->();
    run_until(sub { @{ $peer->frames } >= $before + $count }, "$name: $count frames");
    my @frames = @{ $peer->frames };
    return [ map { [ $_->{fin}, $_->{opcode}, $_->{payload} ] } @frames[ $before .. $#frames ] ];
}

is_deeply(frames_after(1, 'send', sub { $conn->send('text') }), [ [ 1, TEXT, 'text' ] ], 'a text frame');
is_deeply(frames_after(1, 'send_binary', sub { $conn->send_binary("\0\xff") }), [ [ 1, BINARY, "\0\xff" ] ], 'a binary frame');
is_deeply(frames_after(2, 'empty ones', sub { $conn->send(''); $conn->send_binary('') }),
    [ [ 1, TEXT, '' ], [ 1, BINARY, '' ] ], 'empty frames');
is_deeply(frames_after(1, 'send_ping', sub { $conn->send_ping('p') }), [ [ 1, PING, 'p' ] ], 'a Ping');
is_deeply(frames_after(1, 'send_pong', sub { $conn->send_pong('q') }), [ [ 1, PONG, 'q' ] ], 'a Pong');
is_deeply(frames_after(2, 'no argument', sub { $conn->send_ping; $conn->send_pong }),
    [ [ 1, PING, '' ], [ 1, PONG, '' ] ], 'empty ones without an argument');
is_deeply(frames_after(2, 'undef', sub { $conn->send_ping(undef); $conn->send_pong(undef) }),
    [ [ 1, PING, '' ], [ 1, PONG, '' ] ], 'and for undef');
is_deeply(frames_after(2, 'long', sub { $conn->send_ping('x' x 126); $conn->send_pong('y' x 5000) }),
    [ [ 1, PING, 'x' x 125 ], [ 1, PONG, 'y' x 125 ] ], 'cut to 125 bytes');
is_deeply(frames_after(1, '125', sub { $conn->send_ping('z' x 125) }), [ [ 1, PING, 'z' x 125 ] ], '125 bytes are whole');
is(scalar(grep { $_->{masked} || $_->{rsv} } @{ $peer->frames }), 0, 'a server does not mask, reserved bits are clear');
is(join('', warned()), '', 'no warning so far');

# Fragments.
is_deeply(frames_after(1, 'one fragment', sub { $conn->send_fragment('whole') }), [ [ 1, TEXT, 'whole' ] ],
    'send_fragment($bytes): text and final by default');
is_deeply(frames_after(1, 'binary', sub { $conn->send_fragment('whole', 1) }), [ [ 1, BINARY, 'whole' ] ], 'is_binary');
is_deeply(
    frames_after(3, 'three fragments', sub {
        $conn->send_fragment('one', 0, 0);
        $conn->send_fragment('two', 0, 0);
        $conn->send_fragment('three', 0, 1);
    }),
    [ [ 0, TEXT, 'one' ], [ 0, CONT, 'two' ], [ 1, CONT, 'three' ] ], 'first, continuation, final',
);
is_deeply(
    frames_after(2, 'binary fragments', sub { $conn->send_fragment('', 1, 0); $conn->send_fragment('', 0, 1) }),
    [ [ 0, BINARY, '' ], [ 1, CONT, '' ] ], 'the first one says what kind it is; empty ones are fine',
);
my $open_fragment = 'Cannot send while a fragmented message is in progress; '
    . 'finish the fragment with send_fragment(..., is_final => 1) first (is_final is the third argument)';
is_deeply(
    frames_after(3, 'between fragments', sub {
        $conn->send_fragment('a', 0, 0);
        croaks_with { $conn->send('no') } $open_fragment, 'send between fragments';
        croaks_with { $conn->send_binary('no') } $open_fragment, 'send_binary between fragments';
        $conn->send_ping('yes');
        $conn->send_fragment('b');
    }),
    [ [ 0, TEXT, 'a' ], [ 1, PING, 'yes' ], [ 1, CONT, 'b' ] ], 'a Ping goes between, data does not',
);
is_deeply(frames_after(1, 'afterwards', sub { $conn->send('again') }), [ [ 1, TEXT, 'again' ] ], 'send works again');

# A multi-byte character may be cut in two between fragments.
is_deeply(
    frames_after(2, 'half characters', sub { $conn->send_fragment("\xe2", 0, 0); $conn->send_fragment("\x98\xba") }),
    [ [ 0, TEXT, "\xe2" ], [ 1, CONT, "\x98\xba" ] ], 'octets as they are',
);

# The length has the shortest form there is.
for my $case ([ 125, 2 ], [ 126, 4 ], [ 65535, 4 ], [ 65536, 10 ]) {
    my ($length, $head) = @$case;
    my $seen = length($peer->rest);
    my $raw = RawPeer->connect($pair->port)->upgrade;
    my $connects = $pair->server->count('connect');
    run_until(sub { $pair->server->count('connect') > $connects && $raw->head }, 'one more peer');
    $pair->server->conn->send_binary('x' x $length);
    run_until(sub { length $raw->rest >= $length + $head }, "$length bytes");
    is(length $raw->rest, $length + $head, "$length bytes: a head of $head bytes");
}

# A thousand messages in one go, in order.
is_deeply(
    frames_after(1000, 'a thousand', sub { $conn->send("message $_") for 1 .. 1000 }),
    [ map { [ 1, TEXT, "message $_" ] } 1 .. 1000 ], 'in order, each a frame of its own',
);

# 20 MB through a socket that takes a few hundred KB at a time.
{
    my $big = join '', map { pack 'N', $_ } 1 .. 5_000_000;
    my ($frame) = @{ frames_after(1, '20 MB', sub { $conn->send_binary($big) }) };
    ok($frame->[2] eq $big, 'every byte in its place');
    is($conn->send_queue_size, 0, 'the queue is empty again');
}

finish();
