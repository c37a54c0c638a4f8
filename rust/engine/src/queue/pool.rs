//! The memory of queues: chunks that the connections of a context share, and others.

/// The size of a pooled chunk: two frames of 64 KiB and their headers.
pub(super) const CHUNK: usize = 132 * 1024;
/// How many pooled chunks a context keeps. More than that are in use only while peers do not read.
pub(super) const POOLED: usize = 4;
/// The first size of a chunk that is not pooled.
const SMALL_CHUNK: usize = 256;

/// Chunks that wait for their next use, shared by the connections of a context.
#[derive(Default)]
pub struct ChunkPool {
    pub(super) free: Vec<Vec<u8>>,
    pub(super) lent: usize,
    /// How many numbers were given.
    numbers: u64,
    /// There is no memory for another one.
    #[cfg(test)]
    pub is_exhausted: bool,
}

impl ChunkPool {
    /// An empty chunk with room for `length` bytes. Only a few pooled chunks are lent at a time:
    /// ten thousand connections that each wait to be written must not hold 132 KiB each.
    pub(super) fn take(&mut self, length: usize) -> Result<Vec<u8>, NoMemory> {
        #[cfg(test)]
        if self.is_exhausted {
            return Err(NoMemory);
        }
        if length <= CHUNK && self.lent < POOLED {
            if let Some(chunk) = self.free.pop().or_else(|| allocate(CHUNK)) {
                self.lent += 1;
                return Ok(chunk);
            }
        }
        // INVARIANT: only a pooled chunk has the capacity CHUNK.
        allocate(length.max(SMALL_CHUNK) + usize::from(length == CHUNK)).ok_or(NoMemory)
    }

    pub(super) fn put(&mut self, mut chunk: Vec<u8>) {
        if chunk.capacity() == CHUNK {
            self.lent = self.lent.saturating_sub(1);
            if self.free.len() < POOLED {
                chunk.clear();
                self.free.push(chunk);
            }
        }
    }

    /// A number that no chunk has had, higher than all before. It is the pool that counts, so that a queue which was empty has
    /// nothing to keep.
    pub(super) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Gives the memory of the waiting chunks back to the system.
    pub fn shrink(&mut self) {
        self.free = Vec::new();
    }
}

/// There is no memory for a frame. The queue has not changed.
#[derive(Debug, PartialEq, Eq)]
pub struct NoMemory;

/// Memory, if there is some.
pub(super) fn allocate(capacity: usize) -> Option<Vec<u8>> {
    let mut chunk = Vec::new();
    chunk.try_reserve_exact(capacity).ok()?;
    Some(chunk)
}

/// Whether `length` more bytes fit into the chunk, growing a small one up to the usual size.
pub(super) fn make_room(chunk: &mut Vec<u8>, length: usize) -> bool {
    let needed = chunk.len().saturating_add(length);
    if needed <= chunk.capacity() {
        return true;
    }
    // A chunk of the usual size is full; a larger one was made for a single frame.
    if chunk.capacity() < CHUNK && needed < CHUNK {
        let more = needed.next_power_of_two().min(CHUNK - 1) - chunk.len();
        return chunk.try_reserve_exact(more).is_ok();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chunk that comes back is known by its capacity: none of those that are not pooled may have it.
    #[test]
    fn what_is_not_pooled_has_another_capacity() {
        let mut pool = ChunkPool::default();
        let lent: Vec<Vec<u8>> = (0..POOLED).map(|_| pool.take(1).unwrap()).collect();
        for length in [1, CHUNK - 1, CHUNK, CHUNK + 1] {
            let chunk = pool.take(length).unwrap();
            assert!(chunk.capacity() >= length && chunk.capacity() != CHUNK);
            pool.put(chunk);
            assert_eq!((pool.lent, pool.free.len()), (POOLED, 0));
        }
        let mut grown = vec![0; CHUNK * 3 / 5];
        assert!(make_room(&mut grown, CHUNK * 2 / 5));
        assert_eq!(grown.capacity(), CHUNK - 1);
        assert!(!make_room(&mut vec![0; CHUNK / 2], CHUNK / 2));
        lent.into_iter().for_each(|chunk| pool.put(chunk));
        assert_eq!((pool.lent, pool.free.len()), (0, POOLED));
        pool.shrink();
        assert_eq!(pool.free.capacity(), 0);
    }
}
