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

# What a server answers to the offers of a raw client (RFC 7692 sections 5 and 7.1).

my $P = 'permessage-deflate';
my ($S, $C, $SB, $CB) = qw(server_no_context_takeover client_no_context_takeover
    server_max_window_bits client_max_window_bits);

# Everything that can be left open is: what is answered was asked for.
my %open = ($S => 0, $C => 0);

# [listen's deflate, the offer, the parameters of the answer]; no third
# element: declined. A list of offers is sent in as many header lines.
my @cases = (
    # No options.
    [ 1, $P, "$C; $S" ],
    [ 1, "$P; $C; $S", "$C; $S" ],
    [ 1, "x-webkit-deflate-frame, $P", "$C; $S" ],
    [ 0, $P ],
    [ 0, "$P; client_max_window_bits" ],
    [ {}, $P, "$C; $S" ],
    [ { $S => 0 }, $P, $C ],
    [ { $C => 0 }, $P, $S ],
    [ \%open, $P, '' ],

    # Takeover as the client wants it.
    [ \%open, "$P; $S", $S ],
    [ { %open, $S => 1 }, $P, $S ],
    [ { %open, $C => 1 }, $P, $C ],

    # The server's window: the smaller one.
    [ \%open, "$P; $SB=15", "$SB=15" ],
    (map { [ \%open, "$P; $SB=$_", "$SB=$_" ] } 9 .. 14),
    [ { %open, $SB => 12 }, "$P; $SB=10", "$SB=10" ],
    [ { %open, $SB => 10 }, "$P; $SB=12", "$SB=10" ],
    [ { %open, $SB => 9 }, $P, "$SB=9" ],

    # The client's window: an answer only where the client says that it can, and
    # no compression where it does not, since it would not keep to the limit.
    [ { %open, $CB => 10 }, "$P; $CB", "$CB=10" ],
    [ { %open, $CB => 10 }, "$P; $CB=12", "$CB=10" ],
    [ { %open, $CB => 10 }, $P ],
    [ { %open, $CB => 10 }, "$P; $SB=10, $P; $CB", "$CB=10" ],

    # memory: no more takeover, and no larger a window, than fits.
    [ { %open, memory => 1_000_000 }, $P, '' ],
    [ { %open, memory => 320_000 }, $P, "$SB=12" ],
    [ { %open, memory => 100_000 }, $P, $S ],
    [ { %open, memory => 1 }, $P, "$C; $S" ],
    [ { %open, memory => 320_000 }, "$P; $SB=10", "$SB=10" ],

    # All of them, in any order, blanks anywhere.
    [ { %open, $CB => 9 }, "$P;$CB ;$SB=10\t; $S ;$C", qr/\A\Q$CB=9; \E(?:\Q$C\E; )?\Q$SB=10; $S\E\z/ ],

    # Quoted values are the same values.
    [ \%open, qq{$P; $SB="10"}, "$SB=10" ],
    [ \%open, qq{$P; $SB="1\\0"}, "$SB=10" ],
    [ { %open, $CB => 15 }, qq{$P; $CB="10"}, qr/\A(?:\Q$CB=10\E)?\z/ ],

    # What makes an offer unacceptable.
    (map { [ \%open, "$P; $_" ] }
        "$SB=16", "$SB=7", "$SB=0", "$SB=-9", "$SB=010", "$SB=09", "$SB=1.5", "$SB=9x", "$SB=99999999999999999999",
        $SB, "$CB=16", "$CB=7", "$CB=010", "$CB=x",
        "$S=1", "$C=1", "$C=true",
        "$S; $S", "$C; $C", "$SB=10; $SB=10", "$SB=10; $SB=11", "$CB; $CB", "$CB; $CB=10",
        'unheard_of', 'unheard_of=1', "$S; unheard_of", 'max_window_bits=9'),
    [ \%open, 'x-webkit-deflate-frame' ],
    [ \%open, 'permessage-deflate2' ],
    [ \%open, 'permessage-bzip2; client_max_window_bits' ],

    # Several offers: the first that can be accepted.
    [ \%open, "$P; $SB=10, $P", "$SB=10" ],
    [ \%open, "$P, $P; $SB=10", '' ],
    [ \%open, "$P; unheard_of, $P; $SB=10", "$SB=10" ],
    [ \%open, "$P; $SB=99, x-other; y=z, $P; $S; $S, $P; $SB=11, $P", "$SB=11" ],
    [ \%open, [ "$P; unheard_of", "$P; $SB=10" ], "$SB=10" ],
    [ \%open, [ 'x-other', "$P; $S" ], $S ],
    [ \%open, qq{x-other; quoted="a"; $S, $P; $SB=10}, "$SB=10" ],
);

sub params {
    my ($header) = @_;
    return undef if !defined $header;
    my ($name, @params) = split /\s*;\s*/, $header;
    return $name eq $P ? join '; ', sort @params : "an answer of '$name'";
}

# A connection, and the head that it was answered with.
sub offered {
    my ($pair, $offer) = @_;
    $pair->server->follow_next;
    my $peer = RawPeer->connect($pair->port)->upgrade(headers => { 'Sec-WebSocket-Extensions' => $offer });
    wait_until(sub { $peer->head }) or diag 'no answer';
    return $peer;
}

# One listener for each setting.
my %pair;
sub listener {
    my ($deflate) = @_;
    my $key = ref $deflate ? join ' ', map { "$_=$deflate->{$_}" } sort keys %$deflate : $deflate;
    return $pair{$key} ||= Pair->listen(listen => { deflate => $deflate, on_message => sub { $_[0]->send($_[1]) } });
}

for (@cases) {
    my ($deflate, $offer, $expected) = @$_;
    my $options = ref $deflate ? '{' . join(', ', map { "$_ $deflate->{$_}" } sort keys %$deflate) . '}' : $deflate;
    my $name = "$options: " . (ref $offer ? join ' / ', @$offer : $offer);
    my $pair = listener($deflate);
    my $peer = offered($pair, $offer);
    is($peer->status, 101, "$name: accepted as a connection");
    my @answers = $peer->header('Sec-WebSocket-Extensions');
    cmp_ok(scalar @answers, '<=', 1, "$name: one answer") or diag "@answers";
    my $got = params($answers[0]);
    ref $expected ? like($got, $expected, $name) : is($got, $expected, $name);
    run_until(sub { $pair->server->count('connect') }, "$name: on_connect");
    is($pair->server->conn->extensions, $answers[0], "$name: extensions() is the answer");
    $peer->send_frame(TEXT, 'plain is always right');
    run_until(sub { $peer->frames_of(TEXT) }, "$name: an echo");
    my ($echo) = $peer->frames_of(TEXT);
    is_deeply([ @$echo{qw(rsv payload)} ], [ 0, 'plain is always right' ], "$name: short, so it comes back plain");
    $peer->hang_up;
    run_until(sub { $pair->server->count('close') }, "$name: gone");
}

# A window of 8 bits, which zlib cannot compress with (but with which nothing
# that a client compresses is wrong).
{
    my $peer = offered(listener(\%open), "$P; $CB=8");
    like(params($peer->header('Sec-WebSocket-Extensions')), qr/\A(?:\Q$CB=8\E)?\z/, "$CB=8 is accepted");
    $peer = offered(listener(\%open), "$P; $SB=8, $P; $SB=9");
    is(params($peer->header('Sec-WebSocket-Extensions')), "$SB=9", "$SB=8 is not, the next offer is");
}

# A header that is no list of extensions is malformed, and must not be taken for
# an offer that somehow fits.
for my $bad ("$P; =", "$P; $SB=", qq{$P; $SB=""}, qq{$P; $SB=" 9"}, qq{$P; $S=""}, qq{$P; $SB="10}, qq{x-other; y="a, $P; $S", $P}, "$P; $SB=10 11", "$P $S", "$P; ($S)", "$P/1", "$P;", '=', '; ;') {
    my $peer = offered(listener(\%open), $bad);
    my ($answer) = $peer->header('Sec-WebSocket-Extensions');
    ok($peer->status == 400 || !defined $answer, "'$bad' is malformed or declined") or diag $peer->head;
}

# The offer is among the headers that the program gets, as it was sent.
{
    my $pair = Pair->listen(listen => { deflate => 1, on_handshake => sub { { 'X-Seen' => $_[0]{'Sec-WebSocket-Extensions'} } } });
    my $peer = offered($pair, [ "$P; $SB=99", $P ]);
    is_deeply([ $peer->header('X-Seen') ], [ "$P; $SB=99, $P" ], 'on_handshake sees the offers');
    is(params($peer->header('Sec-WebSocket-Extensions')), "$C; $S", 'and does not change the answer');
}

finish();
