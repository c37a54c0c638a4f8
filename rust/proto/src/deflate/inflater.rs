//! An inflater that can stop between two blocks. flate2 does not pass zlib's `Z_BLOCK` on, zlib-rs does.

use std::fmt;
use zlib_rs::{Inflate, InflateFlush, Status};

/// Bytes that one step puts out at most. More than the end of a message can come to: a match of 258 bytes takes two bits.
/// Enough that what is referred to is found there as a rule, and not in the window, which takes longer.
pub(super) const OUTPUT: usize = 64 * 1024;

/// Raw deflate, with the largest window, which is right for every sender.
pub(super) struct Inflater(Inflate);

/// How far a step has come.
#[derive(Debug)]
pub(super) struct InflateStep {
    /// Bytes of the input that it took.
    pub used: usize,
    /// Bytes at the start of the output that it wrote, those before a mistake in the input too.
    pub made: usize,
    pub end: End,
}

/// Why a step has come no farther.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The input is used up, or there is no more room, or a block ended where that was asked for.
    Paused,
    /// A block with BFINAL has ended.
    Stream,
    /// The input is no deflate data.
    Invalid,
}

impl Inflater {
    pub fn new() -> Self {
        Self(Inflate::new(false, super::MAX_WINDOW_BITS))
    }

    /// Begins another stream, which knows nothing of what came before.
    pub fn reset(&mut self) {
        self.0.reset(false);
    }

    /// Sets the window that the stream may refer to, before its first byte.
    pub fn set_window(&mut self, window: &[u8]) -> Result<(), ()> {
        self.0.set_dictionary(window).map(|_| ()).map_err(|_| ())
    }

    /// Inflates until the input ends or the output is full.
    pub fn inflate(&mut self, input: &[u8], output: &mut [u8]) -> InflateStep {
        self.step(input, output, InflateFlush::SyncFlush)
    }

    /// Inflates until the input ends, the output is full or a block has ended. Then what was used of the input ends with
    /// the byte that has the block's last bit.
    pub fn inflate_block(&mut self, input: &[u8], output: &mut [u8]) -> InflateStep {
        self.step(input, output, InflateFlush::Block)
    }

    fn step(&mut self, input: &[u8], output: &mut [u8], flush: InflateFlush) -> InflateStep {
        let (taken, written) = (self.0.total_in(), self.0.total_out());
        let status = self.0.decompress(input, output, flush);
        InflateStep {
            used: (self.0.total_in() - taken) as usize,
            made: (self.0.total_out() - written) as usize,
            end: match status {
                Ok(Status::Ok | Status::BufError) => End::Paused,
                Ok(Status::StreamEnd) => End::Stream,
                Err(_) => End::Invalid,
            },
        }
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Inflater").finish_non_exhaustive()
    }
}
