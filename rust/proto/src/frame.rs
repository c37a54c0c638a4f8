//! Frames (RFC 6455 section 5.2): the header's bytes, both ways. Knows nothing of messages or roles.

use std::fmt;

use crate::mask;

/// The longest header: two bytes, eight of length, four of mask key.
pub const MAX_HEADER: usize = 14;

/// The longest payload of a control frame in bytes (RFC 6455 section 5.5).
pub const MAX_CONTROL_PAYLOAD: usize = 125;

/// The first reserved bit in [`Header::rsv`]: permessage-deflate's (RFC 7692 section 6).
pub const RSV1: u8 = 4;

/// The opcode of a frame (RFC 6455 section 11.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// The next fragment of a message that has begun.
    Continuation = 0,
    /// A text message, or its first fragment.
    Text = 1,
    /// A binary message, or its first fragment.
    Binary = 2,
    /// The closing handshake.
    Close = 8,
    /// Asks for a Pong with the same payload.
    Ping = 9,
    /// Answers a Ping, or comes unasked.
    Pong = 10,
}

impl Opcode {
    /// The opcode of these four bits, `None` for the reserved ones.
    #[inline]
    pub fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    /// Whether this is a Close, Ping or Pong.
    #[inline]
    pub fn is_control(self) -> bool {
        self as u8 & 8 != 0
    }
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The last (or only) fragment of its message.
    pub fin: bool,
    /// RSV1 to RSV3 as the bits 4, 2 and 1. Whether they may be set is for the connection to say.
    pub rsv: u8,
    /// The frame's opcode.
    pub opcode: Opcode,
    /// The mask key, if the payload is masked.
    pub mask: Option<[u8; 4]>,
    /// Bytes of payload, at most 2^63 - 1.
    pub payload_len: u64,
}

impl fmt::Display for Header {
    /// Writes the header as `text, FIN, RSV1, masked, 5 bytes`. The mask key is not shown.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self.opcode {
            Opcode::Continuation => "continuation",
            Opcode::Text => "text",
            Opcode::Binary => "binary",
            Opcode::Close => "close",
            Opcode::Ping => "ping",
            Opcode::Pong => "pong",
        })?;
        for (is_set, name) in [
            (self.fin, "FIN"),
            (self.rsv & 4 != 0, "RSV1"),
            (self.rsv & 2 != 0, "RSV2"),
            (self.rsv & 1 != 0, "RSV3"),
            (self.mask.is_some(), "masked"),
        ] {
            if is_set {
                write!(out, ", {name}")?;
            }
        }
        write!(out, ", {} bytes", self.payload_len)
    }
}

/// Why a header is wrong in every connection. The close code of all of these is 1002.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameHeaderError {
    /// Opcode 3 to 7 or 11 to 15.
    #[error("{}", self.text())]
    ReservedOpcode,
    /// A Close, Ping or Pong without FIN.
    #[error("{}", self.text())]
    FragmentedControl,
    /// A Close, Ping or Pong with more than 125 bytes.
    #[error("{}", self.text())]
    LongControl,
    /// A length in more bytes than it needs.
    #[error("{}", self.text())]
    NonMinimalLength,
    /// A length with its highest bit set.
    #[error("{}", self.text())]
    LengthOverflow,
}

impl FrameHeaderError {
    /// Whether what is wrong comes behind the mask bit, in the length; the rest is in the first byte.
    pub fn is_about_length(self) -> bool {
        match self {
            Self::ReservedOpcode | Self::FragmentedControl => false,
            Self::LongControl | Self::NonMinimalLength | Self::LengthOverflow => true,
        }
    }

    /// The error in words, with the section that forbids it.
    pub fn text(self) -> &'static str {
        match self {
            Self::ReservedOpcode => {
                "peer sent a frame with a reserved opcode (RFC 6455 section 5.2)"
            }
            Self::FragmentedControl => {
                "peer sent a fragmented control frame (RFC 6455 section 5.5)"
            }
            Self::LongControl => {
                "peer sent a control frame of more than 125 bytes (RFC 6455 section 5.5)"
            }
            Self::NonMinimalLength => {
                "peer sent a payload length in more bytes than it needs (RFC 6455 section 5.2)"
            }
            Self::LengthOverflow => {
                "peer sent a payload length with its highest bit set (RFC 6455 section 5.2)"
            }
        }
    }
}

/// Reads a header from the front of `input`: the header and its length in bytes, or `None` while it is incomplete.
///
/// # Errors
/// [`FrameHeaderError`] as soon as the bytes that are there decide it, also when the rest of the header is missing.
#[inline]
pub fn parse_header(input: &[u8]) -> Result<Option<(Header, usize)>, FrameHeaderError> {
    let Some(&first) = input.first() else {
        return Ok(None);
    };
    let opcode = Opcode::from_bits(first & 0x0F).ok_or(FrameHeaderError::ReservedOpcode)?;
    let fin = first & 0x80 != 0;
    if opcode.is_control() && !fin {
        return Err(FrameHeaderError::FragmentedControl);
    }
    let Some(&second) = input.get(1) else {
        return Ok(None);
    };
    let (payload_len, at) = match second & 0x7F {
        short @ 0..=125 => (u64::from(short), 2),
        _ if opcode.is_control() => return Err(FrameHeaderError::LongControl),
        126 => match parse_len16(input)? {
            Some(len) => (len, 4),
            None => return Ok(None),
        },
        _ => match parse_len64(input)? {
            Some(len) => (len, 10),
            None => return Ok(None),
        },
    };
    if second & 0x80 == 0 {
        return Ok(Some((
            Header {
                fin,
                rsv: first >> 4 & 7,
                opcode,
                mask: None,
                payload_len,
            },
            at,
        )));
    }
    match input.get(at..at + 4) {
        Some(&[a, b, c, d]) => {
            let mask = Some([a, b, c, d]);
            Ok(Some((
                Header {
                    fin,
                    rsv: first >> 4 & 7,
                    opcode,
                    mask,
                    payload_len,
                },
                at + 4,
            )))
        }
        _ => Ok(None),
    }
}

#[inline]
fn parse_len16(input: &[u8]) -> Result<Option<u64>, FrameHeaderError> {
    match input.get(2..4) {
        Some(&[high, low]) => match u16::from_be_bytes([high, low]) {
            0..=125 => Err(FrameHeaderError::NonMinimalLength),
            len => Ok(Some(u64::from(len))),
        },
        _ => Ok(None),
    }
}

#[inline]
fn parse_len64(input: &[u8]) -> Result<Option<u64>, FrameHeaderError> {
    if input.get(2).is_some_and(|high| high & 0x80 != 0) {
        return Err(FrameHeaderError::LengthOverflow);
    }
    let Some(bytes) = input.get(2..10) else {
        return Ok(None);
    };
    let len = bytes
        .iter()
        .fold(0, |len, &byte| len << 8 | u64::from(byte));
    if len <= 0xFFFF {
        return Err(FrameHeaderError::NonMinimalLength);
    }
    Ok(Some(len))
}

/// Appends `header` to `out`, its length in the fewest bytes.
#[inline]
pub fn encode_header(header: &Header, out: &mut Vec<u8>) {
    let first = u8::from(header.fin) << 7 | (header.rsv & 7) << 4 | header.opcode as u8;
    // The headers of small frames have their sizes written here, so that no call copies them.
    match (header.payload_len, header.mask) {
        (short @ 0..=125, None) => out.extend_from_slice(&[first, short as u8]),
        (short @ 0..=125, Some([a, b, c, d])) => {
            out.extend_from_slice(&[first, 0x80 | short as u8, a, b, c, d]);
        }
        _ => encode_long_header(header, first, out),
    }
}

/// Appends a header whose length does not fit into its second byte.
#[inline(never)]
fn encode_long_header(header: &Header, first: u8, out: &mut Vec<u8>) {
    // Built on the stack and appended at once: one capacity check instead of one for each part.
    let mut bytes = [0; MAX_HEADER];
    bytes[0] = first;
    let masked = u8::from(header.mask.is_some()) << 7;
    let mut at = if header.payload_len <= 0xFFFF {
        bytes[1] = masked | 126;
        bytes[2..4].copy_from_slice(&(header.payload_len as u16).to_be_bytes());
        4
    } else {
        bytes[1] = masked | 127;
        bytes[2..10].copy_from_slice(&header.payload_len.to_be_bytes());
        10
    };
    if let Some(key) = header.mask {
        bytes[at..at + 4].copy_from_slice(&key);
        at += 4;
    }
    out.extend_from_slice(&bytes[..at]);
}

/// Bytes of a whole frame with `payload_len` bytes of payload, as [`encode`] writes it.
#[inline]
pub fn encoded_len(payload_len: usize, masked: bool) -> usize {
    let length_bytes = match payload_len {
        0..=125 => 0,
        126..=0xFFFF => 2,
        _ => 8,
    };
    2 + length_bytes + if masked { 4 } else { 0 } + payload_len
}

/// Appends a whole frame without reserved bits to `out`, its payload masked if `mask` holds a key.
#[inline]
pub fn encode(fin: bool, opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
    encode_with(fin, 0, opcode, payload, mask, out);
}

/// Encodes a frame as [`encode`] does, with reserved bits.
#[inline]
pub fn encode_with(
    fin: bool,
    rsv: u8,
    opcode: Opcode,
    payload: &[u8],
    mask: Option<[u8; 4]>,
    out: &mut Vec<u8>,
) {
    out.reserve(encoded_len(payload.len(), mask.is_some()));
    encode_header(
        &Header {
            fin,
            rsv,
            opcode,
            mask,
            payload_len: payload.len() as u64,
        },
        out,
    );
    match mask {
        Some(key) => mask::copy_masked(key, payload, out),
        None => out.extend_from_slice(payload),
    }
}

/// Bytes of the header of a frame that [`encode`] wrote, from its first two bytes.
#[inline]
pub fn sent_header_len(first_two: [u8; 2]) -> usize {
    let length_bytes = match first_two[1] & 0x7F {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    2 + length_bytes + if first_two[1] & 0x80 != 0 { 4 } else { 0 }
}

/// Bytes of payload of a frame that [`encode`] wrote, from its header. 0 if `header` is cut short.
#[inline]
pub fn sent_payload_len(header: &[u8]) -> u64 {
    match parse_header(header) {
        Ok(Some((header, _))) => header.payload_len,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_the_examples_of_the_rfc() {
        // RFC 6455 section 5.7.
        let mut out = Vec::new();
        encode(true, Opcode::Text, b"Hello", None, &mut out);
        assert_eq!(out, [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
        out.clear();
        encode(
            true,
            Opcode::Text,
            b"Hello",
            Some([0x37, 0xfa, 0x21, 0x3d]),
            &mut out,
        );
        assert_eq!(
            out,
            [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]
        );
        out.clear();
        encode(false, Opcode::Text, b"Hel", None, &mut out);
        assert_eq!(out, [0x01, 0x03, 0x48, 0x65, 0x6c]);
        out.clear();
        encode(true, Opcode::Binary, &[0; 256], None, &mut out);
        assert_eq!(out[..4], [0x82, 0x7E, 0x01, 0x00]);
        out.clear();
        encode(true, Opcode::Binary, &[0; 65536], None, &mut out);
        assert_eq!(out[..10], [0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn lengths_are_known_from_what_was_encoded() {
        for payload_len in [0, 1, 125, 126, 127, 65535, 65536, 70000] {
            for mask in [None, Some([1, 2, 3, 4])] {
                let mut out = Vec::new();
                encode(true, Opcode::Binary, &vec![7; payload_len], mask, &mut out);
                assert_eq!(out.len(), encoded_len(payload_len, mask.is_some()));
                let header_len = sent_header_len([out[0], out[1]]);
                assert_eq!(header_len + payload_len, out.len());
                assert_eq!(sent_payload_len(&out[..header_len]), payload_len as u64);
            }
        }
    }

    #[test]
    fn an_incomplete_header_is_no_error() {
        let mut out = Vec::new();
        encode(
            true,
            Opcode::Text,
            &[0; 65536],
            Some([1, 2, 3, 4]),
            &mut out,
        );
        for cut in 0..MAX_HEADER {
            assert_eq!(parse_header(&out[..cut]), Ok(None), "{cut} bytes");
        }
        let (header, length) = parse_header(&out).unwrap().unwrap();
        assert_eq!(length, MAX_HEADER);
        assert_eq!(header.payload_len, 65536);
        assert_eq!(header.mask, Some([1, 2, 3, 4]));
    }

    #[test]
    fn the_largest_length_is_accepted_and_one_more_is_not() {
        let mut bytes = [0x82, 0x7F, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
        let (header, _) = parse_header(&bytes).unwrap().unwrap();
        assert_eq!(header.payload_len, i64::MAX as u64);
        bytes[2..].copy_from_slice(&(1u64 << 63).to_be_bytes());
        assert_eq!(parse_header(&bytes), Err(FrameHeaderError::LengthOverflow));
    }

    #[test]
    fn errors_come_with_the_first_byte_that_decides_them() {
        assert_eq!(parse_header(&[0x83]), Err(FrameHeaderError::ReservedOpcode));
        assert_eq!(parse_header(&[0x8B]), Err(FrameHeaderError::ReservedOpcode));
        assert_eq!(
            parse_header(&[0x09]),
            Err(FrameHeaderError::FragmentedControl)
        );
        assert_eq!(
            parse_header(&[0x89, 126]),
            Err(FrameHeaderError::LongControl)
        );
        assert_eq!(
            parse_header(&[0x88, 0xFF]),
            Err(FrameHeaderError::LongControl)
        );
        assert_eq!(
            parse_header(&[0x82, 126, 0, 125]),
            Err(FrameHeaderError::NonMinimalLength)
        );
        assert_eq!(
            parse_header(&[0x82, 127, 0x80]),
            Err(FrameHeaderError::LengthOverflow)
        );
        let short_in_eight = [0x82, 127, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF];
        assert_eq!(
            parse_header(&short_in_eight),
            Err(FrameHeaderError::NonMinimalLength)
        );
    }

    #[test]
    fn a_header_is_shown_with_all_that_is_set() {
        let shown = |fin, rsv, opcode, mask| {
            let header = Header {
                fin,
                rsv,
                opcode,
                mask,
                payload_len: 5,
            };
            header.to_string()
        };
        assert_eq!(shown(true, 0, Opcode::Text, None), "text, FIN, 5 bytes");
        let masked = shown(false, 0, Opcode::Continuation, Some([1; 4]));
        assert_eq!(masked, "continuation, masked, 5 bytes");
        for (rsv, name) in [(4, "RSV1"), (2, "RSV2"), (1, "RSV3")] {
            let expected = format!("ping, {name}, 5 bytes");
            assert_eq!(shown(false, rsv, Opcode::Ping, None), expected);
        }
    }
}
