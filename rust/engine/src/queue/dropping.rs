//! Frames that are taken out of a queue again, of which nothing has gone out.

use super::{Bytes, Chunk, ChunkPool, SendQueue};
use evws_proto::frame;

/// Whether a frame in the queue may be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Droppable {
    /// It may not.
    No,
    /// It may, when it is the oldest.
    Old,
    /// It may, when there is a newer one of its kind.
    Outdated,
}

/// So many dropped chunks may stay in a queue, and half of all.
const DROPPED: usize = 16;

impl SendQueue {
    // The first `kept` bytes of the queue are on their way already, as are those that the kernel has.

    /// Drops the oldest frame that may be dropped because it is old. Returns whether there was one.
    pub fn drop_oldest(&mut self, kept: usize, pool: &mut ChunkPool) -> bool {
        let first = self.skip_begun(kept);
        let mut chunks = self.earlier.range(first..);
        let is_old = |chunk: &Chunk| chunk.droppable == Droppable::Old && !chunk.was_dropped();
        let Some(found) = chunks.position(is_old) else {
            return false;
        };
        self.drop_chunk(first + found);
        // It lies near the front, where taking it out moves hardly any others.
        self.earlier.remove(first + found);
        self.dropped -= 1;
        self.sweep(pool);
        true
    }

    /// Drops the frame of this number because it is outdated. Returns whether it could be.
    pub fn drop_frame(&mut self, number: u64, kept: usize, pool: &mut ChunkPool) -> bool {
        let found = self
            .earlier
            .binary_search_by_key(&number, |chunk| chunk.number);
        let is_whole = |&at: &usize| at >= self.skip_begun(kept) && !self.earlier[at].was_dropped();
        let Some(at) = found.ok().filter(is_whole) else {
            return false;
        };
        self.drop_chunk(at);
        self.sweep(pool);
        true
    }

    /// Drops the frames that may be outdated and whose number is not among those that are to stay. Returns how many.
    pub fn drop_others(
        &mut self,
        stays: impl Fn(u64) -> bool,
        kept: usize,
        pool: &mut ChunkPool,
    ) -> u64 {
        let mut count = 0;
        for at in self.skip_begun(kept)..self.earlier.len() {
            let chunk = &self.earlier[at];
            let may_drop = chunk.droppable == Droppable::Outdated && !chunk.was_dropped();
            if may_drop && !stays(chunk.number) {
                self.drop_chunk(at);
                count += 1;
            }
        }
        self.sweep(pool);
        count
    }

    /// The first of the earlier chunks of which nothing has gone out, nor is among the first `kept` bytes.
    fn skip_begun(&self, kept: usize) -> usize {
        let mut begun = self.head + kept;
        let begins_later = |chunk: &Chunk| {
            let is_later = begun == 0;
            begun = begun.saturating_sub(chunk.length());
            is_later
        };
        let found = self.earlier.iter().position(begins_later);
        found.unwrap_or(self.earlier.len())
    }

    fn drop_chunk(&mut self, at: usize) {
        let chunk = &mut self.earlier[at];
        let payload = frame::sent_payload_len(chunk.bytes());
        self.waiting -= chunk.length() as u64;
        self.payload = self.payload.saturating_sub(payload);
        chunk.bytes = Bytes::Own(Vec::new());
        self.dropped += 1;
    }

    /// Clears dropped chunks away, when there are many.
    fn sweep(&mut self, pool: &mut ChunkPool) {
        if self.waiting == 0 {
            self.clear(pool);
        } else if self.dropped > DROPPED && self.dropped > self.earlier.len() / 2 {
            self.earlier.retain(|chunk| !chunk.was_dropped());
            self.dropped = 0;
        }
    }
}
