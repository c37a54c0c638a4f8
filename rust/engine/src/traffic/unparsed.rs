//! Bytes that were read from one peer and wait to be parsed.
//!
//! INVARIANT: what was taken and is given back is where it was, unless all had been taken. So however often the parser stops,
//! no more is moved than the piece that it works on.

/// Bytes that wait, in order.
#[derive(Debug, Default)]
pub struct Unparsed {
    bytes: Vec<u8>,
    /// How many of them were taken.
    taken: usize,
}

impl From<Vec<u8>> for Unparsed {
    fn from(bytes: Vec<u8>) -> Self {
        Unparsed { bytes, taken: 0 }
    }
}

impl Unparsed {
    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Copies the first bytes into `buffer`, as many as there are and as fit, and takes them out. How many.
    pub fn take(&mut self, buffer: &mut [u8]) -> usize {
        let rest = &self.bytes[self.taken..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.taken += count;
        if self.taken == self.bytes.len() {
            *self = Unparsed::default();
        }
        count
    }

    /// Puts the last bytes that were taken, or the first of all, before the others. False: there is no memory for them.
    #[must_use]
    pub fn give_back(&mut self, bytes: &[u8]) -> bool {
        if !self.is_empty() {
            self.taken -= bytes.len();
            debug_assert!(self.bytes[self.taken..].starts_with(bytes));
            return true;
        }
        if self.bytes.try_reserve_exact(bytes.len()).is_err() {
            return false;
        }
        self.bytes.extend_from_slice(bytes);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_taken_again() {
        let mut unparsed = Unparsed::from((0..100).collect::<Vec<u8>>());
        let (mut buffer, mut got) = ([0; 30], Vec::new());
        while !unparsed.is_empty() {
            let count = unparsed.take(&mut buffer);
            let used = count.min(7);
            got.extend_from_slice(&buffer[..used]);
            if used < count {
                assert!(unparsed.give_back(&buffer[used..count]));
            }
        }
        assert_eq!(got, (0..100).collect::<Vec<u8>>());
        assert_eq!(unparsed.bytes.capacity(), 0);
        assert!(unparsed.give_back(b"abc"));
        assert_eq!(unparsed.take(&mut buffer), 3);
        assert!(unparsed.is_empty());
    }

    // What waited behind a piece was moved to the front, and back, each time that the parser stopped.
    #[test]
    fn what_waits_is_not_moved() {
        let mut unparsed = Unparsed::from(vec![1; 100]);
        let place = unparsed.bytes.as_ptr();
        let mut buffer = [0; 30];
        for _ in 0..7 {
            assert_eq!(unparsed.take(&mut buffer), 30);
            assert!(unparsed.give_back(&buffer[10..]));
            assert_eq!(
                (unparsed.bytes.as_ptr(), unparsed.bytes.len()),
                (place, 100)
            );
        }
    }
}
