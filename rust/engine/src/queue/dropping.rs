//! Frames that are taken out of a queue again, of which nothing has gone out.
//!
//! Whoever is slow makes one frame go for each that comes. So neither looks at the whole queue: a chunk is found by its
//! number, the oldest one from where the last one was, and what was dropped is cleared away when it is half of all.

use super::{Bytes, Chunk, ChunkPool, Droppables, Earlier, SendQueue};
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

/// Places in a queue, as numbers of chunks.
#[derive(Default)]
pub(super) struct Marks {
    /// The first chunk of which nothing is on its way, as long as no more bytes have gone out than `taken`, and `kept` are on
    /// their way besides.
    whole: u64,
    taken: u64,
    kept: usize,
    /// No chunk before this one is old and may be dropped for it.
    old: u64,
    /// How many chunks were looked at, to drop some.
    #[cfg(test)]
    looked_at: u64,
}

impl SendQueue {
    // The first `kept` bytes of the queue are on their way already, as are those that the kernel has.

    /// Drops the oldest frame that may be dropped because it is old. Returns the octets of its message; `None`: there is none.
    pub fn drop_oldest(&mut self, kept: usize, pool: &mut ChunkPool) -> Option<u64> {
        let whole = self.first_whole(kept);
        let earlier = self.earlier.as_deref_mut()?;
        let from = earlier.find(whole.max(earlier.marks.old));
        let mut chunks = earlier.chunks.range(from..);
        let is_old = |chunk: &Chunk| chunk.droppable == Droppable::Old && !chunk.was_dropped();
        let found = chunks.position(is_old);
        earlier.note_looks(found.map_or(earlier.chunks.len() - from, |found| found + 1));
        let Some(at) = found.map(|found| from + found) else {
            earlier.marks.old = pool.number();
            return None;
        };
        earlier.marks.old = earlier.chunks[at].number + 1;
        Some(self.drop_chunk(at, pool))
    }

    /// Drops the frame of this number because it is outdated. Returns the octets of its message; `None`: it cannot be dropped.
    pub fn drop_frame(&mut self, number: u64, kept: usize, pool: &mut ChunkPool) -> Option<u64> {
        let whole = self.first_whole(kept);
        let earlier = self.earlier.as_deref_mut()?;
        let at = earlier.find(number);
        earlier.note_looks(1);
        let chunk = earlier.chunks.get(at)?;
        let may_drop = chunk.number == number && number >= whole && !chunk.was_dropped();
        may_drop.then(|| self.drop_chunk(at, pool))
    }

    /// How many chunks were looked at, to drop some.
    #[cfg(test)]
    pub fn looked_at(&self) -> u64 {
        let earlier = self.earlier.as_ref();
        earlier.map_or(0, |earlier| earlier.marks.looked_at)
    }

    /// The number of the first of the earlier chunks of which nothing has gone out, nor is among the first `kept` bytes.
    fn first_whole(&mut self, kept: usize) -> u64 {
        let begins = self.head + kept;
        let Some(earlier) = self.earlier.as_deref_mut() else {
            return 0;
        };
        let marks = &earlier.marks;
        if (marks.taken, marks.kept) != (self.taken, kept) || marks.whole == 0 {
            let mut begun = begins;
            let begins_later = |chunk: &Chunk| {
                let is_later = begun == 0;
                begun = begun.saturating_sub(chunk.length());
                is_later
            };
            let found = earlier.chunks.iter().position(begins_later);
            let looks = found.map_or(earlier.chunks.len(), |found| found + 1);
            earlier.note_looks(looks);
            // If all have begun, one that comes later has a higher number than the last of them.
            let last = earlier.chunks.back().map_or(0, |chunk| chunk.number);
            let marks = &mut earlier.marks;
            marks.whole = found.map_or(last + 1, |at| earlier.chunks[at].number);
            (marks.taken, marks.kept) = (self.taken, kept);
        }
        earlier.marks.whole
    }

    /// Drops a frame. Returns the octets of its message.
    fn drop_chunk(&mut self, at: usize, pool: &mut ChunkPool) -> u64 {
        let Some(earlier) = self.earlier.as_deref_mut() else {
            return 0;
        };
        let chunk = &mut earlier.chunks[at];
        let (bytes, message) = (chunk.length(), chunk.message);
        self.waiting -= bytes as u64;
        let payload = frame::sent_payload_len(chunk.bytes());
        self.payload = self.payload.saturating_sub(payload);
        chunk.bytes = Bytes::Own(Vec::new());
        earlier.droppable.forget(message);
        earlier.dropped += 1;
        if at < DROPPED {
            // Taking it out moves hardly any others.
            earlier.chunks.remove(at);
            earlier.dropped -= 1;
        }
        if self.waiting == 0 {
            self.clear(pool);
        } else {
            earlier.sweep();
            self.forget_empty_earlier();
        }
        message
    }
}

impl Earlier {
    /// The place of the chunk of this number, or where it would be.
    fn find(&self, number: u64) -> usize {
        self.chunks.partition_point(|chunk| chunk.number < number)
    }

    /// Takes the first chunk out.
    pub(super) fn pop(&mut self) -> Option<Chunk> {
        let chunk = self.chunks.pop_front()?;
        if chunk.was_dropped() {
            self.dropped -= 1;
        } else if chunk.droppable != Droppable::No {
            self.droppable.forget(chunk.message);
        }
        Some(chunk)
    }

    /// Clears dropped chunks away, when there are many.
    fn sweep(&mut self) {
        if self.dropped > DROPPED && self.dropped > self.chunks.len() / 2 {
            self.note_looks(self.chunks.len());
            self.chunks.retain(|chunk| !chunk.was_dropped());
            self.dropped = 0;
        }
    }

    #[cfg(test)]
    fn note_looks(&mut self, chunks: usize) {
        self.marks.looked_at += chunks as u64;
    }

    #[cfg(not(test))]
    #[inline]
    fn note_looks(&mut self, _: usize) {}
}

impl Droppables {
    /// One of them has gone.
    fn forget(&mut self, message: u64) {
        self.messages -= 1;
        self.payload -= message;
    }
}
