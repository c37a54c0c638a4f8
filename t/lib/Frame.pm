package Frame;

# Builds and takes apart frames of RFC 6455 section 5.2, right or wrong ones.

use strict;
use warnings;
use Digest::SHA ();
use Exporter 'import';

our @EXPORT = qw(frame close_payload take_frame accept_key
    CONT TEXT BINARY CLOSE PING PONG);

use constant { CONT => 0, TEXT => 1, BINARY => 2, CLOSE => 8, PING => 9, PONG => 10 };

# frame(opcode, payload, fin, rsv, mask): mask is undef or the four-byte key.
# form (7, 16 or 64) chooses how the length is written, whatever its value;
# claim is a length to state instead of the true one, claim64 the same as two
# 32-bit halves.
sub frame {
    my (%f) = @_;
    my $payload = defined $f{payload} ? $f{payload} : '';
    my $length  = defined $f{claim} ? $f{claim} : length $payload;
    my $form = $f{claim64} ? 64 : $f{form} || ($length < 126 ? 7 : $length < 65536 ? 16 : 64);
    my $fin = exists $f{fin} ? $f{fin} : 1;
    my $first = ($fin ? 0x80 : 0) | (($f{rsv} || 0) << 4) | $f{opcode};
    my $mask_bit = defined $f{mask} ? 0x80 : 0;
    my $head =
          $form == 7  ? pack('CC', $first, $mask_bit | $length)
        : $form == 16 ? pack('CCn', $first, $mask_bit | 126, $length)
        : pack('CCNN', $first, $mask_bit | 127, @{ $f{claim64} || [ 0, $length ] });
    return $head . $payload if !defined $f{mask};
    return $head . $f{mask} . _masked($payload, $f{mask});
}

sub _masked {
    my ($payload, $key) = @_;
    # Both as strings: of two numbers ^ would take the bits.
    return "$payload" ^ substr($key x (1 + length($payload) / 4), 0, length $payload);
}

sub close_payload {
    my ($code, $reason) = @_;
    return pack('n', $code) . (defined $reason ? $reason : '');
}

# Takes the first frame off the buffer. undef as long as it is not complete.
sub take_frame {
    my ($buffer) = @_;
    return undef if length $$buffer < 2;
    my ($first, $second) = unpack 'CC', $$buffer;
    my ($length, $at) = ($second & 0x7f, 2);
    if ($length == 126) {
        return undef if length $$buffer < 4;
        ($length, $at) = (unpack('n', substr $$buffer, 2, 2), 4);
    }
    elsif ($length == 127) {
        return undef if length $$buffer < 10;
        my ($high, $low) = unpack 'NN', substr $$buffer, 2, 8;
        ($length, $at) = ($high * 4294967296 + $low, 10);
    }
    my $masked = $second & 0x80 ? 1 : 0;
    return undef if length $$buffer < $at + 4 * $masked + $length;
    my $key = substr $$buffer, $at, 4 * $masked;
    my $payload = substr $$buffer, $at + 4 * $masked, $length;
    substr($$buffer, 0, $at + 4 * $masked + $length) = '';
    return {
        fin     => $first >> 7,
        rsv     => ($first >> 4) & 7,
        opcode  => $first & 15,
        masked  => $masked,
        key     => $key,
        payload => $masked ? _masked($payload, $key) : $payload,
    };
}

# Section 4.2.2: what the server answers to a Sec-WebSocket-Key.
sub accept_key {
    my ($key) = @_;
    return Digest::SHA::sha1_base64($key . '258EAFA5-E914-47DA-95CA-C5AB0DC85B11') . '=';
}

1;
