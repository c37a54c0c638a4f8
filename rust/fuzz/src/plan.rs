//! What the fuzzer's bytes stand for: first choices, then the bytes that are fed.

/// Bytes that are taken from the front; 0 when there are no more.
pub struct Plan<'a>(pub &'a [u8]);

impl<'a> Plan<'a> {
    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        first
    }

    /// As many as there are, and `count` at most.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Where input of `length` bytes is cut, `seed` deciding: portions of one size, or of sizes without a pattern.
pub fn cuts(seed: u8, length: usize) -> Vec<usize> {
    let mut state = u32::from(seed);
    let largest = 1 + usize::from(seed >> 3);
    let mut at = 0;
    let mut cuts = Vec::new();
    loop {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        at += match seed & 1 {
            0 => largest,
            _ => 1 + (state >> 16) as usize % largest,
        };
        if at >= length {
            return cuts;
        }
        cuts.push(at);
    }
}

/// Input beyond this is cut near its ends only: with all places looked at, there would be no time for others.
const LONG: usize = 2000;

/// Each way in which `length` bytes are cut here: byte by byte, in portions, in two.
pub fn ways(seed: u8, length: usize) -> [Vec<usize>; 3] {
    let middle = length * (usize::from(seed) + 1) / 257;
    let is_looked_at = |at: &usize| length <= LONG || *at < 300 || *at + 300 > length;
    [
        (1..length).filter(is_looked_at).collect(),
        cuts(seed, length)
            .into_iter()
            .filter(is_looked_at)
            .collect(),
        Some(middle).filter(|at| *at > 0).into_iter().collect(),
    ]
}

/// What `judge` says of the first portion of `bytes` that it has something to say about, portions ending at `cuts`.
pub fn verdict<T>(bytes: &[u8], cuts: &[usize], judge: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
    cuts.iter()
        .chain([&bytes.len()])
        .find_map(|&cut| judge(&bytes[..cut]))
}

/// Asserts that the verdict is one, however the bytes come, and gives it.
pub fn one_verdict<T: PartialEq + std::fmt::Debug>(
    seed: u8,
    bytes: &[u8],
    judge: impl Fn(&[u8]) -> Option<T>,
) -> Option<T> {
    let whole = verdict(bytes, &[], &judge);
    for cuts in ways(seed, bytes.len()) {
        assert_eq!(verdict(bytes, &cuts, &judge), whole, "cut at {cuts:?}");
    }
    whole
}
