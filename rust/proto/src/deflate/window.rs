//! Taking the window out of an inflater: what it must remember is at most 32 KiB, what it occupies is more.
//!
//! zlib has `inflateGetDictionary` for this, zlib-rs does not show it. But a deflate stream can ask for any part of
//! the window, so one is made that copies all of it: a block of matches as far back as the window is long.

use super::inflater::Inflater;

/// The longest match (RFC 1951 section 3.2.5).
const LONGEST: usize = 258;

/// The last `length` bytes (1 to 32768) that `inflater` has put out. It must stand between two blocks, on a byte's
/// boundary, and is of no use afterwards until it is reset. `None` if it did not.
pub(super) fn extract(inflater: &mut Inflater, length: usize) -> Option<Box<[u8]>> {
    let matches = length.div_ceil(LONGEST);
    let size = matches * LONGEST;
    let mut window = Vec::new();
    window.try_reserve_exact(size).ok()?;
    window.resize(size, 0);
    let block = copying_block(length, matches);
    if inflater.inflate(&block, &mut window).made != size {
        return None;
    }
    window.truncate(length);
    Some(window.into_boxed_slice())
}

/// A last block with fixed Huffman codes (RFC 1951 section 3.2.6): so many of the longest matches, all at the same
/// distance.
fn copying_block(distance: usize, matches: usize) -> Vec<u8> {
    let (symbol, extra_bits, extra) = distance_code(distance);
    let mut bits = Bits::default();
    bits.value(0b011, 3);
    for _ in 0..matches {
        bits.huffman(0b1100_0101, 8);
        bits.huffman(symbol, 5);
        bits.value(extra, extra_bits);
    }
    bits.huffman(0, 7);
    bits.finish()
}

/// The code of a distance, and how many more bits follow with which value.
fn distance_code(distance: usize) -> (u32, u32, u32) {
    let back = distance as u32 - 1;
    if back < 4 {
        return (back, 0, 0);
    }
    let extra_bits = back.ilog2() - 1;
    let symbol = 2 * (extra_bits + 1) + (back >> extra_bits & 1);
    (symbol, extra_bits, back & ((1 << extra_bits) - 1))
}

/// Bits in the order of RFC 1951 section 3.1.1.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    pending: u64,
    count: u32,
}

impl Bits {
    /// A number, its lowest bit first.
    fn value(&mut self, value: u32, count: u32) {
        self.pending |= u64::from(value) << self.count;
        self.count += count;
        while self.count >= 8 {
            self.bytes.push(self.pending as u8);
            self.pending >>= 8;
            self.count -= 8;
        }
    }

    /// A Huffman code, its highest bit first.
    fn huffman(&mut self, code: u32, count: u32) {
        self.value(code.reverse_bits() >> (32 - count), count);
    }

    fn finish(mut self) -> Vec<u8> {
        self.value(0, 7);
        self.bytes
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use flate2::{Compress, Compression, FlushCompress};

    /// Bytes without a period.
    pub fn noise(length: usize) -> Vec<u8> {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn every_length_comes_out_as_it_went_in() {
        let mut lengths = vec![1, 2, 257, 600];
        if !cfg!(miri) {
            lengths.extend((3..600).chain([1000, 4096, 32767, 32768, 32769, 50_000, 100_000]));
        }
        for length in lengths {
            let plain = noise(length);
            let mut compressor = Compress::new(Compression::new(1), false);
            let mut wire = Vec::with_capacity(length * 2 + 100);
            compressor
                .compress_vec(&plain, &mut wire, FlushCompress::Sync)
                .unwrap();
            let mut inflater = Inflater::new();
            let mut out = vec![0; length + 1];
            assert_eq!(inflater.inflate(&wire, &mut out).made, length);
            assert!(out[..length] == plain);
            let kept = length.min(32768);
            let window = extract(&mut inflater, kept).expect("it stands between two blocks");
            assert!(window[..] == plain[length - kept..], "{length} bytes");
        }
    }

    #[test]
    fn an_inflater_inside_a_block_has_no_window_to_give() {
        let mut inflater = Inflater::new();
        // A stored block of 1000 bytes, of which 3 are there.
        let mut out = [0; 10];
        let step = inflater.inflate(b"\x00\xE8\x03\x17\xFCabc", &mut out);
        assert_eq!(&out[..step.made], b"abc");
        assert!(extract(&mut inflater, 3).is_none());
    }
}
