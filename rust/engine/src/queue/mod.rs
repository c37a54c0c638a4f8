//! Frames that wait to be sent: whole frames, in chunks, written with one gathered call.
//!
//! An empty queue holds no memory. Chunks of the usual size go back to a pool that the
//! connections of a context share, so that a busy loop writes into memory that the processor's cache
//! still has. A frame that many queues have is a chunk of its own, whose bytes they share, and can be dropped again
//! as long as nothing of it has gone out.

mod dropping;
mod pool;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;

use evws_proto::connection::{Outgoing, SharedFrame};
use evws_proto::frame;

use crate::sys;

pub use dropping::Droppable;
use pool::{allocate, make_room, CHUNK};
pub use pool::{ChunkPool, NoMemory};

/// How a write ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Written {
    /// The queue is empty.
    All,
    /// The kernel took what it could; it says when it can take more.
    Part,
}

/// The bytes of a chunk.
enum Bytes {
    Own(Vec<u8>),
    Shared(SharedFrame),
}

/// A chunk behind which nothing can be appended any more.
struct Chunk {
    /// Empty: it was dropped.
    bytes: Bytes,
    /// Its number, by which it can be found; those of later chunks are higher.
    number: u64,
    /// If it may be dropped, it is one frame.
    droppable: Droppable,
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Own(bytes) => bytes,
            Bytes::Shared(frame) => frame,
        }
    }

    fn length(&self) -> usize {
        self.bytes().len()
    }

    fn was_dropped(&self) -> bool {
        self.length() == 0
    }

    fn free(self, pool: &mut ChunkPool) {
        if let Bytes::Own(bytes) = self.bytes {
            pool.put(bytes);
        }
    }
}

/// Frames queued for one connection.
#[derive(Default)]
pub struct SendQueue {
    /// The chunk that is being filled; empty if there is none.
    last: Vec<u8>,
    /// The chunks before the last one. There are none as a rule, and then this has no memory.
    earlier: VecDeque<Chunk>,
    /// The number of the next chunk, and how many were dropped of those that are in `earlier` still.
    next_number: u64,
    dropped: usize,
    /// Bytes of the first chunk that the kernel has taken.
    head: usize,
    /// Bytes that the kernel has taken since this queue was made, and bytes that wait.
    taken: u64,
    waiting: u64,
    /// Payload bytes in the queue that the kernel has not taken.
    payload: u64,
    /// Header bytes and payload bytes that the kernel has yet to take of the frame that it has begun.
    partial: (u8, u64),
}

impl SendQueue {
    /// Payload bytes that the kernel has not taken.
    pub fn payload(&self) -> u64 {
        self.payload
    }

    /// How many bytes the kernel has taken.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// How many bytes wait, those of headers and control frames included.
    #[inline]
    pub fn waiting(&self) -> u64 {
        self.waiting
    }

    /// What [`taken`](Self::taken) will be when everything that waits now has gone out.
    pub fn end(&self) -> u64 {
        self.taken + self.waiting
    }

    /// Whether no frame waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    fn first(&self) -> &[u8] {
        self.earlier.front().map_or(&self.last, Chunk::bytes)
    }

    /// Appends a frame.
    ///
    /// # Errors
    /// [`NoMemory`]
    #[inline]
    pub fn append(&mut self, pool: &mut ChunkPool, frame: &Outgoing<'_>) -> Result<(), NoMemory> {
        let length = frame.encoded_len();
        frame.encode(self.room(pool, length)?);
        self.waiting += length as u64;
        self.payload += frame.payload.len() as u64;
        Ok(())
    }

    /// Appends a Close frame, and the end of a fragmented message before it, whose payload is not counted.
    ///
    /// # Errors
    /// [`NoMemory`]
    pub fn append_close(&mut self, pool: &mut ChunkPool, frames: &[u8]) -> Result<(), NoMemory> {
        self.room(pool, frames.len())?.extend_from_slice(frames);
        self.waiting += frames.len() as u64;
        Ok(())
    }

    /// Appends a copy of a frame.
    ///
    /// # Errors
    /// [`NoMemory`]
    pub fn append_copy(&mut self, pool: &mut ChunkPool, frame: &[u8]) -> Result<(), NoMemory> {
        self.room(pool, frame.len())?.extend_from_slice(frame);
        self.waiting += frame.len() as u64;
        self.payload += frame::sent_payload_len(frame);
        Ok(())
    }

    /// Appends a frame that other queues may have, too. Returns a number by which it is found, which no other one has had.
    ///
    /// # Errors
    /// [`NoMemory`]
    pub fn append_frame(
        &mut self,
        pool: &mut ChunkPool,
        frame: SharedFrame,
        droppable: Droppable,
    ) -> Result<u64, NoMemory> {
        let (length, payload) = (frame.len(), frame::sent_payload_len(&frame));
        self.push_chunk(pool, Bytes::Shared(frame), droppable)?;
        self.waiting += length as u64;
        self.payload += payload;
        Ok(self.next_number - 1)
    }

    /// The number of the first chunk that is there, or of the one that will be.
    pub fn first_number(&self) -> u64 {
        let first = self.earlier.front();
        first.map_or(self.next_number, |chunk| chunk.number)
    }

    /// Ends the last chunk, and puts one behind it.
    fn push_chunk(
        &mut self,
        pool: &mut ChunkPool,
        bytes: Bytes,
        droppable: Droppable,
    ) -> Result<(), NoMemory> {
        self.earlier.try_reserve(2).map_err(|_| NoMemory)?;
        if self.last.len() <= self.last.capacity() / 4 {
            // Chunks that shared ones have cut short must not use up the pool, nor much more memory than they have bytes.
            let mut exact = allocate(self.last.len()).ok_or(NoMemory)?;
            exact.extend_from_slice(&self.last);
            pool.put(std::mem::replace(&mut self.last, exact));
        }
        self.end_last();
        self.earlier.push_back(Chunk {
            bytes,
            number: self.next_number,
            droppable,
        });
        self.next_number += 1;
        Ok(())
    }

    /// Nothing more is appended to the last chunk. There must be room in `earlier`.
    fn end_last(&mut self) {
        if !self.last.is_empty() {
            self.earlier.push_back(Chunk {
                bytes: Bytes::Own(std::mem::take(&mut self.last)),
                number: self.next_number,
                droppable: Droppable::No,
            });
            self.next_number += 1;
        }
    }

    /// A chunk with room for whole frames of `length` bytes, which must be appended to it.
    /// INVARIANT: a frame lies in one chunk.
    #[inline]
    fn room(&mut self, pool: &mut ChunkPool, length: usize) -> Result<&mut Vec<u8>, NoMemory> {
        if length > self.last.capacity() - self.last.len() {
            self.make_room(pool, length)?;
        }
        Ok(&mut self.last)
    }

    /// The chunk that is being filled is there, and has room for `length` bytes.
    #[inline(never)]
    fn make_room(&mut self, pool: &mut ChunkPool, length: usize) -> Result<(), NoMemory> {
        if self.last.capacity() == 0 {
            self.last = pool.take(length)?;
        } else if !make_room(&mut self.last, length) {
            self.earlier.try_reserve(1).map_err(|_| NoMemory)?;
            let next = pool.take(length)?;
            self.end_last();
            self.last = next;
        }
        Ok(())
    }

    // ---- writing ----

    /// The kernel has taken bytes that were never queued, since nothing else was.
    #[inline]
    pub fn count_written(&mut self, bytes: usize) {
        self.taken += bytes as u64;
    }

    /// Offers the whole queue to the kernel, in one call unless there are very many chunks.
    ///
    /// # Errors
    /// The errors of sendmsg(2), but for a full socket, which is [`Written::Part`].
    pub fn write(&mut self, fd: BorrowedFd<'_>, pool: &mut ChunkPool) -> io::Result<Written> {
        while !self.is_empty() {
            let sent = if self.earlier.is_empty() {
                let only = &self.last[self.head..];
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
        Ok(Written::All)
    }

    /// Offers as many chunks as one call takes; returns the call's result, and how many bytes were offered.
    fn send_many(&self, fd: BorrowedFd<'_>) -> (io::Result<usize>, usize) {
        let mut parts = [IoSlice::new(&[]); sys::MAX_GATHERED];
        let mut count = 0;
        let mut offered = 0;
        for (part, bytes) in parts.iter_mut().zip(self.parts()) {
            *part = IoSlice::new(bytes);
            offered += bytes.len();
            count += 1;
        }
        (sys::send_gathered(fd, &parts[..count]), offered)
    }

    /// Everything has gone out.
    #[inline]
    fn empty(&mut self, pool: &mut ChunkPool) {
        if self.earlier.capacity() > 0 {
            return self.clear(pool);
        }
        pool.put(std::mem::take(&mut self.last));
        self.head = 0;
        self.payload = 0;
        self.partial = (0, 0);
    }

    /// Drops all frames: the stream has ended.
    pub fn clear(&mut self, pool: &mut ChunkPool) {
        let rest = SendQueue {
            taken: self.taken,
            // The number of a chunk that is gone must not be another one's.
            next_number: self.next_number,
            ..SendQueue::default()
        };
        let queue = std::mem::replace(self, rest);
        for chunk in queue.earlier {
            chunk.free(pool);
        }
        pool.put(queue.last);
    }

    /// The bytes that the kernel has yet to take, chunk by chunk.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let mut skip = self.head;
        let earlier = self.earlier.iter().map(Chunk::bytes);
        let chunks = earlier.chain([&self.last[..]]);
        let rests = chunks.map(move |chunk| &chunk[std::mem::take(&mut skip)..]);
        rests.filter(|rest| !rest.is_empty())
    }

    /// Drops the bytes that the kernel has taken.
    pub fn advance(&mut self, mut taken: usize, pool: &mut ChunkPool) {
        self.taken += taken as u64;
        self.waiting -= taken as u64;
        if self.waiting == 0 {
            // Nothing is left to be counted.
            return self.empty(pool);
        }
        loop {
            let rest = self.first().len() - self.head;
            if taken < rest {
                self.count_payload(taken);
                self.head += taken;
                return;
            }
            taken -= rest;
            self.count_payload(rest);
            self.head = 0;
            // INVARIANT: something waits, so this was not the last chunk.
            let Some(done) = self.earlier.pop_front() else {
                return;
            };
            self.dropped -= usize::from(done.was_dropped());
            done.free(pool);
            if self.earlier.is_empty() {
                self.earlier = VecDeque::new();
            }
        }
    }

    /// Walks over the frames in the next `taken` bytes of the first chunk and counts their payload.
    fn count_payload(&mut self, taken: usize) {
        let chunk = self.earlier.front().map_or(&self.last[..], Chunk::bytes);
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

    /// Gives most of a pooled chunk back: the queue of a peer that does not read needs no more memory than
    /// its bytes.
    pub fn trim(&mut self, pool: &mut ChunkPool) {
        if self.earlier.is_empty() && self.last.capacity() == CHUNK {
            let rest = self.last.len() - self.head;
            if rest <= CHUNK / 4 {
                let Some(mut exact) = allocate(rest) else {
                    return;
                };
                exact.extend_from_slice(&self.last[self.head..]);
                pool.put(std::mem::replace(&mut self.last, exact));
                self.head = 0;
            }
        }
    }
}
