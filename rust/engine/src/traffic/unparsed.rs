//! Bytes that were read from one peer and wait to be parsed.
//!
//! INVARIANT: what was taken and is given back is where it was, unless all had been taken. So however often the parser stops,
//! no more is moved than the piece that it works on.

/// Bytes that wait, in order. It holds no memory while there are none.
#[derive(Debug, Default)]
pub struct Unparsed(Option<Box<Waiting>>);

#[derive(Debug)]
struct Waiting {
    bytes: Vec<u8>,
    /// How many of them were taken.
    taken: usize,
}

impl From<Vec<u8>> for Unparsed {
    fn from(bytes: Vec<u8>) -> Self {
        let waits = !bytes.is_empty();
        Unparsed(waits.then(|| Box::new(Waiting { bytes, taken: 0 })))
    }
}

impl Unparsed {
    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Copies the first bytes into `buffer`, as many as there are and as fit, and takes them out. How many.
    pub fn take(&mut self, buffer: &mut [u8]) -> usize {
        let Some(waiting) = &mut self.0 else { return 0 };
        let rest = &waiting.bytes[waiting.taken..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        waiting.taken += count;
        if waiting.taken == waiting.bytes.len() {
            self.0 = None;
        }
        count
    }

    /// Puts the last bytes that were taken, or the first of all, before the others. False: there is no memory for them.
    #[must_use]
    pub fn give_back(&mut self, bytes: &[u8]) -> bool {
        if let Some(waiting) = &mut self.0 {
            waiting.taken -= bytes.len();
            debug_assert!(waiting.bytes[waiting.taken..].starts_with(bytes));
            return true;
        }
        let mut all = Vec::new();
        if all.try_reserve_exact(bytes.len()).is_err() {
            return false;
        }
        all.extend_from_slice(bytes);
        *self = all.into();
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
        assert!(unparsed.0.is_none());
        assert!(unparsed.give_back(b"abc"));
        assert_eq!(unparsed.take(&mut buffer), 3);
        assert!(unparsed.is_empty());
    }

    // What waited behind a piece was moved to the front, and back, each time that the parser stopped.
    #[test]
    fn what_waits_is_not_moved() {
        let mut unparsed = Unparsed::from(vec![1; 100]);
        let place = |unparsed: &Unparsed| {
            unparsed
                .0
                .as_ref()
                .map(|waiting| waiting.bytes.as_ptr_range())
        };
        let before = place(&unparsed);
        assert!(before.is_some());
        let mut buffer = [0; 30];
        for _ in 0..7 {
            assert_eq!(unparsed.take(&mut buffer), 30);
            assert!(unparsed.give_back(&buffer[10..]));
            assert_eq!(place(&unparsed), before);
        }
    }
}
