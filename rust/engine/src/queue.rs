//! What a connection still has to send: whole frames, in chunks, written with one gathered call.
//!
//! An empty queue holds no memory. Chunks of the usual size go back to a pool that the
//! connections of a context share, so that a busy loop writes into memory that is still warm.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;

use evws_proto::frame;

use crate::sys;

/// The size of a pooled chunk: two frames of 64 KiB and their headers.
const CHUNK: usize = 132 * 1024;
/// How many pooled chunks a context keeps. More than that are in use only while peers do not read.
const POOLED: usize = 4;
/// The first size of a chunk that is not pooled.
const SMALL_CHUNK: usize = 256;

/// Chunks that wait for their next use, shared by the connections of a context.
#[derive(Default)]
pub struct ChunkPool {
    free: Vec<Vec<u8>>,
    lent: usize,
}

impl ChunkPool {
    /// An empty chunk with room for `length` bytes. Only a few large ones are lent at a time:
    /// ten thousand connections that each wait to be written must not hold 132 KiB each.
    fn take(&mut self, length: usize) -> Vec<u8> {
        if length <= CHUNK && self.lent < POOLED {
            self.lent += 1;
            return self.free.pop().unwrap_or_else(|| Vec::with_capacity(CHUNK));
        }
        // INVARIANT: only a pooled chunk has the capacity CHUNK.
        Vec::with_capacity(length.max(SMALL_CHUNK) + usize::from(length == CHUNK))
    }

    fn put(&mut self, mut chunk: Vec<u8>) {
        if chunk.capacity() == CHUNK {
            self.lent = self.lent.saturating_sub(1);
            if self.free.len() < POOLED {
                chunk.clear();
                self.free.push(chunk);
            }
        }
    }

    /// Gives the memory of the waiting chunks back to the system.
    pub fn shrink(&mut self) {
        self.free = Vec::new();
    }
}

/// How a write ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Written {
    /// The queue is empty.
    All,
    /// The kernel took what it could; it says when it can take more.
    Part,
}

/// Frames queued for one connection.
#[derive(Default)]
pub struct SendQueue {
    chunks: VecDeque<Vec<u8>>,
    /// Bytes of the first chunk that the kernel has.
    head: usize,
    /// Payload bytes in the queue that the kernel has not taken.
    payload: u64,
    /// Of the frame that the kernel has a part of: header bytes and payload bytes that it lacks.
    partial: (u8, u64),
}

impl SendQueue {
    /// Payload bytes that the kernel has not taken.
    pub fn payload(&self) -> u64 {
        self.payload
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Lets `encode` append whole frames of at most `length` bytes (headers included).
    /// INVARIANT: a frame lies in one chunk, whole.
    pub fn append<T>(
        &mut self,
        pool: &mut ChunkPool,
        length: usize,
        payload: usize,
        encode: impl FnOnce(&mut Vec<u8>) -> T,
    ) -> T {
        if !self
            .chunks
            .back_mut()
            .is_some_and(|last| make_room(last, length))
        {
            self.chunks.push_back(pool.take(length));
        }
        let last = self.chunks.back_mut().expect("a chunk was just pushed");
        let before = last.len();
        let result = encode(last);
        if last.len() > before {
            self.payload += payload as u64;
        } else if last.is_empty() {
            // The frame was refused: an empty queue holds no chunk.
            let unused = self.chunks.pop_back().expect("the chunk is there");
            pool.put(unused);
        }
        result
    }

    /// Offers all of it to the kernel, in one call unless there are very many chunks.
    ///
    /// # Errors
    /// Whatever the kernel says, but for a full socket, which is [`Written::Part`].
    pub fn write(&mut self, fd: BorrowedFd<'_>, pool: &mut ChunkPool) -> io::Result<Written> {
        while let Some(first) = self.chunks.front() {
            let sent = if self.chunks.len() == 1 {
                let only = &first[self.head..];
                (sys::send_gathered(fd, &[IoSlice::new(only)]), only.len())
            } else {
                self.send_many(fd)
            };
            match sent {
                (Ok(taken), offered) => {
                    self.advance(taken, pool);
                    if taken < offered {
                        self.trim(pool);
                        return Ok(Written::Part);
                    }
                }
                (Err(error), _) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.trim(pool);
                    return Ok(Written::Part);
                }
                (Err(error), _) => return Err(error),
            }
        }
        self.chunks = VecDeque::new();
        Ok(Written::All)
    }

    /// Offers as many chunks as one call takes; returns what came of it, and how much was offered.
    fn send_many(&self, fd: BorrowedFd<'_>) -> (io::Result<usize>, usize) {
        let mut parts = [IoSlice::new(&[]); sys::MAX_GATHERED];
        let mut count = 0;
        let mut offered = 0;
        let mut skip = self.head;
        for (part, chunk) in parts.iter_mut().zip(&self.chunks) {
            *part = IoSlice::new(&chunk[skip..]);
            offered += chunk.len() - skip;
            skip = 0;
            count += 1;
        }
        (sys::send_gathered(fd, &parts[..count]), offered)
    }

    /// Forgets everything: the stream has ended.
    pub fn clear(&mut self, pool: &mut ChunkPool) {
        for chunk in std::mem::take(&mut self.chunks) {
            pool.put(chunk);
        }
        *self = SendQueue::default();
    }

    fn advance(&mut self, mut taken: usize, pool: &mut ChunkPool) {
        while let Some(first) = self.chunks.front() {
            let rest = first.len() - self.head;
            if taken < rest {
                self.count_payload(taken);
                self.head += taken;
                return;
            }
            taken -= rest;
            if self.chunks.len() > 1 {
                self.count_payload(rest);
            } else {
                self.payload = 0;
                self.partial = (0, 0);
            }
            self.head = 0;
            let done = self.chunks.pop_front().expect("it is the first");
            pool.put(done);
        }
    }

    /// Walks over the frames in the next `taken` bytes of the first chunk and counts their payload.
    fn count_payload(&mut self, taken: usize) {
        let Some(chunk) = self.chunks.front() else {
            return;
        };
        let (mut at, end) = (self.head, self.head + taken);
        let (mut header, mut payload) = self.partial;
        while at < end {
            if header == 0 && payload == 0 {
                let length = frame::sent_header_len([chunk[at], chunk[at + 1]]);
                payload = frame::sent_payload_len(&chunk[at..at + length]);
                header = length as u8;
            }
            let step = usize::from(header).min(end - at);
            header -= step as u8;
            at += step;
            let step = payload.min((end - at) as u64);
            payload -= step;
            // The payload of a Close frame and of what it ends is not counted when it is queued.
            self.payload = self.payload.saturating_sub(step);
            at += step as usize;
        }
        self.partial = (header, payload);
    }

    /// A peer that does not read keeps no more memory than its bytes need.
    fn trim(&mut self, pool: &mut ChunkPool) {
        if self.chunks.len() == 1 && self.chunks[0].capacity() == CHUNK {
            let rest = self.chunks[0].len() - self.head;
            if rest <= CHUNK / 4 {
                let exact = self.chunks[0][self.head..].to_vec();
                let whole = std::mem::replace(&mut self.chunks[0], exact);
                self.head = 0;
                pool.put(whole);
            }
        }
    }
}

/// Whether `length` more bytes fit into the chunk, growing a small one up to the usual size.
fn make_room(chunk: &mut Vec<u8>, length: usize) -> bool {
    let needed = chunk.len() + length;
    if needed <= chunk.capacity() {
        return true;
    }
    // A chunk of the usual size is full; a larger one was made for a single frame.
    if chunk.capacity() < CHUNK && needed < CHUNK {
        chunk.reserve_exact(needed.next_power_of_two().min(CHUNK - 1) - chunk.len());
        return true;
    }
    false
}
