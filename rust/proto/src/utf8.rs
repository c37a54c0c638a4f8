//! UTF-8 as it arrives: in pieces, and wrong at the first byte that no continuation can make right.

/// From this many bytes on the vector code wins over its call; below, the standard library's ASCII run does.
const VECTOR_MIN: usize = 64;

/// Bytes that are not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid UTF-8")]
pub struct Invalid;

/// Whether `bytes` are UTF-8 as a whole.
#[inline]
pub fn is_valid(bytes: &[u8]) -> bool {
    if bytes.len() < VECTOR_MIN {
        std::str::from_utf8(bytes).is_ok()
    } else {
        simdutf8::basic::from_utf8(bytes).is_ok()
    }
}

/// Checks text that comes in pieces. Holds the up to three bytes of a character that the last piece cut off.
#[derive(Clone, Copy, Debug, Default)]
pub struct Validator {
    cut: [u8; 3],
    cut_len: u8,
}

impl Validator {
    /// The state before the first byte.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// [`Invalid`] if a byte in it can be part of no UTF-8 text that begins with what came before. The
    /// validator is of no use after that.
    #[inline]
    pub fn feed(&mut self, piece: &[u8]) -> Result<(), Invalid> {
        let rest = if self.cut_len == 0 {
            piece
        } else {
            self.complete_cut(piece)?
        };
        let (whole, cut) = rest.split_at(rest.len() - cut_tail_len(rest));
        if !is_valid(whole) {
            return Err(Invalid);
        }
        if !cut.is_empty() {
            if !is_prefix(cut) {
                return Err(Invalid);
            }
            self.cut[..cut.len()].copy_from_slice(cut);
            self.cut_len = cut.len() as u8;
        }
        Ok(())
    }

    /// Whether the text so far ends with a whole character.
    #[inline]
    pub fn is_complete(&self) -> bool {
        self.cut_len == 0
    }

    /// Adds bytes of `piece` to the character that was cut off until it is whole; returns the rest.
    fn complete_cut<'a>(&mut self, piece: &'a [u8]) -> Result<&'a [u8], Invalid> {
        let mut character = [0; 4];
        let mut len = usize::from(self.cut_len);
        character[..len].copy_from_slice(&self.cut[..len]);
        for (used, &byte) in piece.iter().enumerate() {
            character[len] = byte;
            len += 1;
            let so_far = &character[..len];
            if std::str::from_utf8(so_far).is_ok() {
                self.cut_len = 0;
                return Ok(&piece[used + 1..]);
            }
            // At four bytes a character is whole or wrong, so the array cannot overflow.
            if !is_prefix(so_far) {
                return Err(Invalid);
            }
        }
        self.cut[..len].copy_from_slice(&character[..len]);
        self.cut_len = len as u8;
        Ok(&[])
    }
}

/// Whether more bytes could turn `bytes`, which begin with a character's first byte, into UTF-8.
fn is_prefix(bytes: &[u8]) -> bool {
    match std::str::from_utf8(bytes) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    }
}

/// Bytes at the end of `bytes` that begin a character and lack some of its bytes: 0 to 3.
#[inline]
fn cut_tail_len(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let needed = match bytes[bytes.len() - back] {
            0x80..=0xBF => continue,
            0xC0..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xFF => 4,
            _ => 1,
        };
        return if needed > back { back } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The position of the first byte that is refused, feeding one at a time.
    fn refused_at(bytes: &[u8]) -> Option<usize> {
        let mut validator = Validator::new();
        bytes
            .iter()
            .position(|byte| validator.feed(&[*byte]).is_err())
    }

    #[test]
    fn the_first_impossible_byte_is_refused() {
        assert_eq!(refused_at("a\u{e9}\u{20ac}\u{1f600}".as_bytes()), None);
        assert_eq!(refused_at(b"ab\x80"), Some(2), "a continuation alone");
        assert_eq!(
            refused_at(b"\xC0\x80"),
            Some(0),
            "an overlong character of two bytes"
        );
        assert_eq!(
            refused_at(b"\xE0\x9F\xBF"),
            Some(1),
            "an overlong character of three bytes"
        );
        assert_eq!(
            refused_at(b"\xF0\x8F\xBF\xBF"),
            Some(1),
            "an overlong character of four bytes"
        );
        assert_eq!(refused_at(b"\xED\xA0\x80"), Some(1), "a surrogate");
        assert_eq!(refused_at(b"\xF4\x90\x80\x80"), Some(1), "beyond U+10FFFF");
        assert_eq!(
            refused_at(b"\xF5"),
            Some(0),
            "a first byte that begins nothing"
        );
        assert_eq!(
            refused_at(b"\xE2\x82x"),
            Some(2),
            "a character that breaks off"
        );
    }

    #[test]
    fn the_end_may_not_cut_a_character() {
        let euro = "\u{20ac}".as_bytes();
        let mut validator = Validator::new();
        assert!(validator.is_complete());
        validator.feed(&euro[..2]).unwrap();
        assert!(!validator.is_complete());
        validator.feed(b"").unwrap();
        assert!(!validator.is_complete());
        validator.feed(&euro[2..]).unwrap();
        assert!(validator.is_complete());
    }

    #[test]
    fn long_runs_are_checked_to_their_last_byte() {
        let lengths: &[usize] = if cfg!(miri) {
            &[63, 65]
        } else {
            &[63, 64, 65, 127, 128, 1000]
        };
        for &length in lengths {
            for bad in 0..length {
                let mut bytes = vec![b'a'; length];
                bytes[bad] = 0xFF;
                assert!(!is_valid(&bytes), "length {length}, bad byte at {bad}");
                assert!(
                    Validator::new().feed(&bytes).is_err(),
                    "length {length}, bad byte at {bad}"
                );
            }
            assert!(is_valid(&vec![b'a'; length]));
        }
    }

    #[test]
    fn the_state_is_small() {
        assert!(std::mem::size_of::<Validator>() <= 8);
    }
}
