use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Deflate;
use Events;
use Frame;
use RawServer;
use Run;
use Test::More;

# What a client offers, and what it makes of the answers of a raw server (RFC
# 7692 sections 5 and 7.1).

my $P = 'permessage-deflate';
my ($S, $C, $SB, $CB) = qw(server_no_context_takeover client_no_context_takeover
    server_max_window_bits client_max_window_bits);

my @fields;
my $raw = RawServer->new(answer => sub { $_[0]->accept(fields => [ map { "Sec-WebSocket-Extensions: $_" } @fields ]) });
my $context = EV::Websockets::Context->new;
my $url = 'ws://127.0.0.1:' . $raw->port . '/';

# Connects; (connection, events, peer) when it is decided.
sub answered {
    my ($deflate, @answer) = @_;
    @fields = @answer;
    my $events = Events->new;
    my $conn = $context->connect(url => $url, (defined $deflate ? (deflate => $deflate) : ()), $events->handlers);
    wait_until(sub { $events->count('connect') || $events->count('error') }) or diag 'undecided';
    return ($conn, $events, $raw->last_peer);
}

sub shown { my ($o) = @_; return ref $o ? '{' . join(', ', map { "$_ $o->{$_}" } sort keys %$o) . '}' : defined $o ? $o : 'default' }

# What is offered: name and parameters, sorted.
for (
    [ undef, [ $P, $CB ] ],
    [ 1, [ $P, $CB ] ],
    [ {}, [ $P, $CB ] ],
    [ { $S => 1 }, [ $P, $CB, $S ] ],
    [ { $C => 1 }, [ $P, $CB, $C ] ],
    [ { $SB => 10 }, [ $P, $CB, "$SB=10" ] ],
    [ { $CB => 10 }, [ $P, "$CB=10" ] ],
    [ { memory => 1_000_000 }, [ $P, $CB ] ],
    [ { memory => 1 }, [ $P, $CB, $C, $S ] ],
    [ { $S => 1, $C => 1, $SB => 9, $CB => 14 }, [ $P, "$CB=14", $C, "$SB=9", $S ] ],
) {
    my ($deflate, $expected) = @$_;
    my (undef, undef, $peer) = answered($deflate);
    my @offers = $peer->header('Sec-WebSocket-Extensions');
    is(scalar @offers, 1, shown($deflate) . ': one offer');
    my ($name, @params) = split /\s*;\s*/, $offers[0];
    is_deeply([ $name, sort @params ], $expected, shown($deflate) . ': what it says');
}
{
    my (undef, undef, $peer) = answered(0);
    is_deeply([ $peer->header('Sec-WebSocket-Extensions') ], [], '0: nothing is offered');
}

# [connect's deflate, the answer]
my @good = (
    [ undef ], [ 0 ], [ { $S => 1, $SB => 9 } ],
    [ undef, $P ],
    [ undef, "$P; $S" ], [ undef, "$P; $C" ], [ undef, "$P; $S; $C" ],
    (map { [ undef, "$P; $CB=$_" ] } 9 .. 15),
    (map { [ undef, "$P; $SB=$_" ] } 8 .. 15),
    [ undef, qq{$P; $SB="10"} ], [ undef, "$P;$SB=10 ;\t$CB=10;$S ; $C" ],
    [ { $S => 1 }, "$P; $S" ],
    [ { $C => 1 }, "$P; $C" ], [ { $C => 1 }, $P ],
    [ { $SB => 10 }, "$P; $SB=10" ], [ { $SB => 10 }, "$P; $SB=9" ],
    [ { $CB => 10 }, "$P; $CB=10" ], [ { $CB => 10 }, "$P; $CB=9" ], [ { $CB => 10 }, $P ],
);
for (@good) {
    my ($deflate, @answer) = @$_;
    my $name = shown($deflate) . ' answered ' . (@answer ? "'$answer[0]'" : 'without');
    my ($conn, $events, $peer) = answered($deflate, @answer);
    is($conn->state, 'connected', "$name: connected") or diag $events->last_of('error')->[0];
    is($conn->extensions, $answer[0], "$name: extensions() is the answer");

    my $bits = @answer && $answer[0] =~ /client_max_window_bits=(\d+)/ ? $1 : ref $deflate && $deflate->{$CB} || 15;
    my $takeover = @answer && $answer[0] =~ /client_no/ ? 0 : 1;
    my $deflate_peer = Deflate->new(bits => $bits, takeover => $takeover);
    my $random = join '', map { chr(97 + rand 26) } 1 .. 3000;
    my @messages = ($random, $random, "$random$random");
    $conn->send($_) for @messages;
    run_until(sub { $peer->frames_of(TEXT) == @messages || $events->count('close') }, "$name: messages go out");
    my @frames = $peer->frames_of(TEXT);
    is(join(' ', map { $_->{rsv} } @frames), join(' ', (@answer ? 4 : 0) x 3), "$name: RSV1 tells that they are compressed");
    my @got = map { @answer ? eval { $deflate_peer->inflate($_->{payload}) } || $@ : $_->{payload} } @frames;
    is_deeply(\@got, \@messages, "$name: a window of $bits bits is enough to inflate them");
}

my @bad = (
    (map { [ undef, "$P; $_" ] }
        "$SB=16", "$SB=7", "$SB=0", "$SB=09", "$SB=x", qq{$SB=""}, $SB,
        "$CB=16", "$CB=7", "$CB=010", "$CB=x", $CB,
        "$S=1", "$C=1", qq{$C=""}, "$S; $S", "$C; $C", "$SB=10; $SB=10", "$CB=10; $CB=10",
        'unheard_of', 'unheard_of=1', "$S; unheard_of"),
    [ undef, "$P, $P" ], [ undef, $P, $P ], [ undef, "$P; $S, $P; $C" ],
    [ undef, 'x-other' ], [ undef, "$P, x-other" ], [ undef, "x-other, $P" ], [ undef, $P, 'x-other' ],
    [ undef, 'permessage-bzip2' ], [ undef, 'x-webkit-deflate-frame' ],
    [ undef, "$P; =" ], [ undef, qq{$P; $SB="10} ], [ undef, "$P $S" ],
    # Nothing was offered.
    [ 0, $P ], [ 0, 'x-other' ],
    # What was asked for is not there, or is less than that.
    [ { $S => 1 }, $P ], [ { $S => 1 }, "$P; $C" ],
    [ { $SB => 10 }, $P ], [ { $SB => 10 }, "$P; $SB=11" ], [ { $SB => 10 }, "$P; $SB=15" ],
    [ { $CB => 10 }, "$P; $CB=11" ], [ { $CB => 10 }, "$P; $CB=15" ],
);
for (@bad) {
    my ($deflate, @answer) = @$_;
    my $name = shown($deflate) . ' answered ' . join ' / ', map { "'$_'" } @answer;
    my ($conn, $events, $peer) = answered($deflate, @answer);
    is($conn->state, 'closed', "$name: fails");
    run_until(sub { $peer->eof }, "$name: and is cut off");
    is($events->order, 'error', "$name: on_error alone");
    like(($events->last_of('error') || [''])->[0], qr/extension|permessage-deflate/i, "$name: with a text that says why");
    is($conn->extensions, undef, "$name: nothing was negotiated");
}

# zlib cannot compress with a window of 8 bits. A client may refuse, or send
# plain messages, or keep within it by other means; not more.
{
    my ($conn, $events, $peer) = answered(undef, "$P; $CB=8");
    my $text = join('', map { chr(97 + rand 26) } 1 .. 400) x 4;
    if ($events->count('connect')) {
        $conn->send($text);
        run_until(sub { $peer->frames_of(TEXT) }, "$CB=8: accepted, a message goes out");
        my ($frame) = $peer->frames_of(TEXT);
        my $got = $frame->{rsv} ? eval { Deflate->new(bits => 8)->inflate($frame->{payload}) } || $@ : $frame->{payload};
        is($got, $text, "$CB=8: and is within the window");
    }
    else {
        is($events->order, 'error', "$CB=8: refused");
        like($events->last_of('error')->[0], qr/client_max_window_bits/, "$CB=8: by its name");
    }
}

finish();
