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
use dropping::Marks;
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
    /// If it may be dropped, the octets of its message as the program has given it.
    message: u64,
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

/// The chunks before the last one, and what is known of those that may be dropped.
#[derive(Default)]
struct Earlier {
    /// There is at least one, as long as there is an `Earlier`.
    chunks: VecDeque<Chunk>,
    /// How many of these were dropped.
    dropped: usize,
    /// The frames that may be dropped and were not.
    droppable: Droppables,
    /// Where whole chunks begin, and the oldest one that may be dropped.
    marks: Marks,
}

/// Frames that wait and may still be dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Droppables {
    /// How many.
    pub messages: u64,
    /// The octets of their messages, as the program has given them.
    pub payload: u64,
}

/// What a frame that may be dropped counts for beyond its bytes: it has a chunk of its own, and it may be that nobody shares
/// its memory. Otherwise a queue of short ones would be many times as large as its limit.
pub const DROPPABLE_COST: u64 = 128;

/// Frames queued for one connection.
#[derive(Default)]
pub struct SendQueue {
    /// The chunk that is being filled; empty if there is none.
    last: Vec<u8>,
    /// The chunks before the last one; `None`, as a rule: there are none.
    earlier: Option<Box<Earlier>>,
    /// Bytes of the first chunk that the kernel has taken.
    head: usize,
    /// Bytes that the kernel has taken since this queue was made, and bytes that wait.
    taken: u64,
    waiting: u64,
    /// Bytes that were thrown away when the queue was cleared.
    lost: u64,
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

    /// What the limits of a queue count: the bytes that wait, and what frames that may be dropped take besides.
    #[inline]
    pub fn load(&self) -> u64 {
        self.waiting + self.droppable().messages * DROPPABLE_COST
    }

    /// The frames that wait and may still be dropped.
    #[inline]
    pub fn droppable(&self) -> Droppables {
        let earlier = self.earlier.as_ref();
        earlier.map_or(Droppables::default(), |earlier| earlier.droppable)
    }

    /// What [`taken`](Self::taken) will be when everything that waits now has gone out.
    pub fn end(&self) -> u64 {
        self.taken + self.waiting
    }

    /// How many bytes all frames have that were not dropped one by one, wherever they are now.
    pub fn made(&self) -> u64 {
        self.end() + self.lost
    }

    /// Whether no frame waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    fn first(&self) -> &[u8] {
        let earlier = self.earlier.as_ref();
        let front = earlier.and_then(|earlier| earlier.chunks.front());
        front.map_or(&self.last, Chunk::bytes)
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

    /// Appends a frame that other queues may have, too, of a message of `message` octets. Returns a number by which it is
    /// found, which no other one of this pool has had.
    ///
    /// # Errors
    /// [`NoMemory`]
    pub fn append_frame(
        &mut self,
        pool: &mut ChunkPool,
        frame: SharedFrame,
        droppable: Droppable,
        message: u64,
    ) -> Result<u64, NoMemory> {
        let (length, payload) = (frame.len(), frame::sent_payload_len(&frame));
        self.end_last(pool)?;
        let number = pool.number();
        let earlier = self.earlier.get_or_insert_default();
        earlier.chunks.push_back(Chunk {
            bytes: Bytes::Shared(frame),
            number,
            droppable,
            message,
        });
        if droppable != Droppable::No {
            earlier.droppable.messages += 1;
            earlier.droppable.payload += message;
        }
        self.waiting += length as u64;
        self.payload += payload;
        Ok(number)
    }

    /// The number of the first chunk before the last one.
    pub fn first_number(&self) -> Option<u64> {
        let first = self.earlier.as_ref()?.chunks.front();
        first.map(|chunk| chunk.number)
    }

    /// Nothing more is appended to the last chunk, and there is room for one behind it.
    fn end_last(&mut self, pool: &mut ChunkPool) -> Result<(), NoMemory> {
        self.reserve()?;
        if self.last.len() <= self.last.capacity() / 4 {
            // Chunks that shared ones have cut short must not use up the pool, nor much more memory than they have bytes.
            let Some(mut exact) = allocate(self.last.len()) else {
                self.forget_empty_earlier();
                return Err(NoMemory);
            };
            exact.extend_from_slice(&self.last);
            pool.put(std::mem::replace(&mut self.last, exact));
        }
        self.move_last(pool);
        Ok(())
    }

    /// There is room for two chunks more before the last one.
    fn reserve(&mut self) -> Result<(), NoMemory> {
        let earlier = match &mut self.earlier {
            Some(earlier) => earlier,
            none => none.insert(Box::default()),
        };
        let reserved = earlier.chunks.try_reserve(2).map_err(|_| NoMemory);
        if reserved.is_err() {
            self.forget_empty_earlier();
        }
        reserved
    }

    /// Without a chunk there is no `Earlier`.
    fn forget_empty_earlier(&mut self) {
        if self.first_number().is_none() {
            self.earlier = None;
        }
    }

    /// The last chunk becomes one of the earlier ones, in which there must be room.
    fn move_last(&mut self, pool: &mut ChunkPool) {
        if self.last.is_empty() {
            return;
        }
        let chunk = Chunk {
            bytes: Bytes::Own(std::mem::take(&mut self.last)),
            number: pool.number(),
            droppable: Droppable::No,
            message: 0,
        };
        self.earlier.get_or_insert_default().chunks.push_back(chunk);
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
            let next = pool.take(length)?;
            if let Err(error) = self.reserve() {
                pool.put(next);
                return Err(error);
            }
            self.move_last(pool);
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
            let sent = if self.earlier.is_none() {
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
        if self.earlier.is_some() {
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
            lost: self.lost + self.waiting,
            ..SendQueue::default()
        };
        let queue = std::mem::replace(self, rest);
        for chunk in queue.earlier.into_iter().flat_map(|earlier| earlier.chunks) {
            chunk.free(pool);
        }
        pool.put(queue.last);
    }

    /// The bytes that the kernel has yet to take, chunk by chunk.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let mut skip = self.head;
        let earlier = self.earlier.iter().flat_map(|earlier| &earlier.chunks);
        let chunks = earlier.map(Chunk::bytes).chain([&self.last[..]]);
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
            let earlier = self.earlier.as_mut();
            let Some(done) = earlier.and_then(|earlier| earlier.pop()) else {
                return;
            };
            done.free(pool);
            self.forget_empty_earlier();
        }
    }

    /// Walks over the frames in the next `taken` bytes of the first chunk and counts their payload.
    fn count_payload(&mut self, taken: usize) {
        let front = self.earlier.as_ref();
        let front = front.and_then(|earlier| earlier.chunks.front());
        let chunk = front.map_or(&self.last[..], Chunk::bytes);
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
        if self.earlier.is_none() && self.last.capacity() == CHUNK {
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
