package Malformed;

# Everything that a peer must not send, for both roles: the name, the code
# that the connection has to fail with, and the bytes.

use strict;
use warnings;
use Frame;

# cases($peer): $peer->make builds frames as its role has to.
sub cases {
    my ($peer) = @_;
    my $make = sub { $peer->make(@_) };
    return (_frame_cases($peer, $make), _fragment_cases($make), _close_cases($make), _utf8_cases($make));
}

sub _frame_cases {
    my ($peer, $make) = @_;
    # A client that does not mask, a server that does.
    my $mask = $peer->{role} eq 'client' ? undef : 'mask';
    my $said = $peer->{role} eq 'client' ? 'unmasked' : 'masked';
    return (
        (map { [ "reserved bits $_", 1002, $make->(TEXT, 'x', rsv => $_) ] } 1 .. 7),
        [ 'a reserved bit on a Ping', 1002, $make->(PING, 'x', rsv => 4) ],
        [ 'a reserved bit on a continuation', 1002, $make->(TEXT, 'x', fin => 0), $make->(CONT, 'y', rsv => 4) ],
        (map { [ "opcode $_", 1002, $make->($_, 'x') ] } 3 .. 7, 11 .. 15),
        (map { [ "opcode $_, no payload, no FIN", 1002, $make->($_, '', fin => 0) ] } 3, 11),
        [ "a text frame, $said", 1002, $make->(TEXT, 'hello', mask => $mask) ],
        [ "an empty frame, $said", 1002, $make->(BINARY, '', mask => $mask) ],
        [ "a Ping, $said", 1002, $make->(PING, 'hello', mask => $mask) ],
        [ "a Close, $said", 1002, $make->(CLOSE, close_payload(1000), mask => $mask) ],
        [ '5 bytes with a 16-bit length', 1002, $make->(TEXT, 'hello', form => 16) ],
        [ '125 bytes with a 16-bit length', 1002, $make->(TEXT, 'x' x 125, form => 16) ],
        [ '0 bytes with a 16-bit length', 1002, $make->(BINARY, '', form => 16) ],
        [ '5 bytes with a 64-bit length', 1002, $make->(TEXT, 'hello', form => 64) ],
        [ '65535 bytes with a 64-bit length', 1002, $make->(BINARY, '', claim64 => [ 0, 65535 ]) ],
        [ 'a length of 2^63', 1002, $make->(BINARY, '', claim64 => [ 0x80000000, 0 ]) ],
        [ 'a length of 2^64-1', 1002, $make->(BINARY, '', claim64 => [ 0xffffffff, 0xffffffff ]) ],
        (map { [ "control frame $_ without FIN", 1002, $make->($_, '', fin => 0) ] } CLOSE, PING, PONG),
        (map { [ "control frame $_ of 126 bytes", 1002, $make->($_, 'x' x 126) ] } CLOSE, PING, PONG),
        [ 'the head alone of a Ping of 126 bytes', 1002, $make->(PING, '', claim => 126) ],
        [ 'a Ping of 65536 bytes', 1002, $make->(PING, '', claim64 => [ 0, 65536 ]) ],
        [ 'a Ping with a 16-bit length', 1002, $make->(PING, 'x', form => 16) ],
    );
}

sub _fragment_cases {
    my ($make) = @_;
    return (
        [ 'a continuation of nothing', 1002, $make->(CONT, 'x') ],
        [ 'a continuation of nothing, more to come', 1002, $make->(CONT, 'x', fin => 0) ],
        [ 'a continuation after a whole message', 1002, $make->(TEXT, 'x'), $make->(CONT, 'y') ],
        [ 'a text frame inside a text message', 1002, $make->(TEXT, 'x', fin => 0), $make->(TEXT, 'y') ],
        [ 'a binary frame inside a text message', 1002, $make->(TEXT, 'x', fin => 0), $make->(BINARY, 'y') ],
        [ 'a new fragmented one inside another', 1002, $make->(BINARY, 'x', fin => 0), $make->(BINARY, 'y', fin => 0) ],
        [ 'a continuation after the final one', 1002, $make->(TEXT, 'x', fin => 0), $make->(CONT, 'y'), $make->(CONT, 'z') ],
    );
}

sub _close_cases {
    my ($make) = @_;
    return (
        [ 'a Close of one byte', 1002, $make->(CLOSE, "\x03") ],
        (map { [ "a Close with code $_", 1002, $make->(CLOSE, close_payload($_)) ] }
            0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535),
        [ 'a Close whose reason is no UTF-8', 1007, $make->(CLOSE, close_payload(1000, "fine until \xff")) ],
        [ 'a Close whose reason is cut', 1007, $make->(CLOSE, close_payload(1000, "caf\xc3")) ],
        [ 'a Close whose reason is a surrogate', 1007, $make->(CLOSE, close_payload(1000, "\xed\xa0\x80")) ],
    );
}

sub _utf8_cases {
    my ($make) = @_;
    my %bad = (
        'a lone continuation byte' => "\x80", 'byte FF' => "\xff", 'byte FE' => "\xfe", 'byte C0' => "\xc0\x80",
        'an overlong slash' => "\xc0\xaf", 'C1' => "\xc1\xbf", 'an overlong of three' => "\xe0\x9f\xbf",
        'an overlong of four' => "\xf0\x8f\xbf\xbf", 'a surrogate' => "\xed\xa0\x80", 'the last surrogate' => "\xed\xbf\xbf",
        'beyond U+10FFFF' => "\xf4\x90\x80\x80", 'byte F5' => "\xf5\x80\x80\x80", 'a cut character inside' => "\xe2\x98x",
        'Latin-1' => "caf\xe9 au lait",
    );
    return (
        (map { [ "text with $_", 1007, $make->(TEXT, "ok $bad{$_} ok") ] } sort keys %bad),
        [ 'text that ends inside a character', 1007, $make->(TEXT, "ok \xe2\x98") ],
        [ 'a message that ends inside a character', 1007, $make->(TEXT, 'ok', fin => 0), $make->(CONT, "\xf0\x9f\x98") ],
        [ 'an empty fragment does not complete it', 1007, $make->(TEXT, "\xc3", fin => 0), $make->(CONT, '') ],
        [ 'bad text in the second fragment', 1007, $make->(TEXT, 'ok', fin => 0), $make->(CONT, "\xff") ],
        [ 'bad text across fragments', 1007, $make->(TEXT, "\xe2", fin => 0), $make->(CONT, 'x') ],
        # At the first impossible byte, not at the end of the message.
        [ 'bad text in an unfinished message', 1007, $make->(TEXT, "ok \xff", fin => 0) ],
        [ "bad text in an unfinished frame", 1007, $make->(TEXT, "ok \xff ok", claim => 100) ],
        [ 'bad text in a later fragment', 1007, $make->(TEXT, 'ok', fin => 0), $make->(CONT, "\xed\xa0", fin => 0) ],
        [ 'bad text with a Ping between', 1007, $make->(TEXT, "\xe2\x98", fin => 0), $make->(PING, 'p'), $make->(CONT, "\xe2", fin => 0) ],
    );
}

1;
