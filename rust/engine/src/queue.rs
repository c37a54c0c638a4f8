//! Frames that wait to be sent: whole frames, in chunks, written with one gathered call.
//!
//! An empty queue holds no memory. Chunks of the usual size go back to a pool that the
//! connections of a context share, so that a busy loop writes into memory that the processor's cache
//! still has. A frame that many queues have is a chunk of its own, whose bytes they share, and can be dropped again
//! as long as nothing of it has gone out.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;

use evws_proto::connection::{Outgoing, SharedFrame};
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
    /// An empty chunk with room for `length` bytes. Only a few pooled chunks are lent at a time:
    /// ten thousand connections that each wait to be written must not hold 132 KiB each.
    fn take(&mut self, length: usize) -> Result<Vec<u8>, NoMemory> {
        if length <= CHUNK && self.lent < POOLED {
            if let Some(chunk) = self.free.pop().or_else(|| allocate(CHUNK)) {
                self.lent += 1;
                return Ok(chunk);
            }
        }
        // INVARIANT: only a pooled chunk has the capacity CHUNK.
        allocate(length.max(SMALL_CHUNK) + usize::from(length == CHUNK)).ok_or(NoMemory)
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

/// There is no memory for a frame. The queue has not changed.
#[derive(Debug, PartialEq, Eq)]
pub struct NoMemory;

fn allocate(capacity: usize) -> Option<Vec<u8>> {
    let mut chunk = Vec::new();
    chunk.try_reserve_exact(capacity).ok()?;
    Some(chunk)
}

/// How a write ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Written {
    /// The queue is empty.
    All,
    /// The kernel took what it could; it says when it can take more.
    Part,
}

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

/// So many dropped chunks may stay in a queue, and half of all.
const DROPPED: usize = 16;

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

    // ---- dropping ----
    //
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

/// Whether `length` more bytes fit into the chunk, growing a small one up to the usual size.
fn make_room(chunk: &mut Vec<u8>, length: usize) -> bool {
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
    use evws_proto::connection::{Config, Connection, FrameKind};
    use evws_proto::frame::{encode, Opcode};
    use evws_proto::Role;
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::net::UnixStream;

    fn connection() -> Connection {
        Connection::new(&Config {
            role: Role::Server,
            max_message_size: 0,
            max_fragments: 0,
            validate_utf8: true,
        })
    }

    fn pair() -> (OwnedFd, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        (ours.into(), theirs)
    }

    fn queue(queue: &mut SendQueue, pool: &mut ChunkPool, payload: &[u8]) {
        let (mut proto, mut scratch) = (connection(), Vec::new());
        let frame = proto.frame(FrameKind::Binary, payload, || [0; 4], &mut scratch);
        queue.append(pool, &frame.unwrap()).unwrap();
    }

    /// Reads up to `limit` bytes of what was written.
    fn read(from: &mut UnixStream, limit: usize) -> Vec<u8> {
        let mut bytes = vec![0; limit];
        let count = io::Read::read(from, &mut bytes).unwrap_or(0);
        bytes.truncate(count);
        bytes
    }

    #[test]
    fn every_byte_goes_out_in_order_and_the_payload_is_counted_to_the_end() {
        let (ours, mut theirs) = pair();
        let mut pool = ChunkPool::default();
        let mut waiting = SendQueue::default();
        let mut expected = Vec::new();
        for (number, size) in [0, 1, 125, 126, 70_000, 3, 65_536, 200_000, 9, 1_000_000]
            .into_iter()
            .enumerate()
        {
            let payload = vec![number as u8; size];
            queue(&mut waiting, &mut pool, &payload);
            encode(true, Opcode::Binary, &payload, None, &mut expected);
        }
        assert_eq!(waiting.payload(), 1_335_800);
        let (mut got, mut step) = (Vec::new(), 1);
        while waiting.write(ours.as_fd(), &mut pool).unwrap() == Written::Part {
            assert!(waiting.payload() > 0 && !waiting.is_empty());
            got.extend(read(&mut theirs, step));
            step = step % 50_000 + 1_777;
        }
        assert_eq!(waiting.payload(), 0);
        assert!(waiting.is_empty());
        while got.len() < expected.len() {
            got.extend(read(&mut theirs, 1 << 20));
        }
        assert!(got == expected);
    }

    #[test]
    fn what_the_kernel_took_of_a_frame_is_not_counted() {
        let mut pool = ChunkPool::default();
        let mut waiting = SendQueue::default();
        queue(&mut waiting, &mut pool, &[1; 100]);
        queue(&mut waiting, &mut pool, &[2; 300]);
        // Frames of 2 + 100 and 4 + 300 bytes.
        for (taken, left) in [
            (1, 400),
            (1, 400),
            (40, 360),
            (60, 300),
            (3, 300),
            (1, 300),
            (299, 1),
            (1, 0),
        ] {
            waiting.advance(taken, &mut pool);
            assert_eq!(waiting.payload(), left);
        }
        assert!(waiting.is_empty());
    }

    // What did not fit into memory ended the program. No memory is larger than an isize.
    #[test]
    fn a_frame_that_does_not_fit_into_memory_is_refused_and_the_queue_goes_on() {
        let mut pool = ChunkPool::default();
        let mut waiting = SendQueue::default();
        assert_eq!(waiting.room(&mut pool, usize::MAX - 1), Err(NoMemory));
        assert!(waiting.is_empty() && waiting.last.capacity() == 0);
        queue(&mut waiting, &mut pool, &[1; 100]);
        assert_eq!(waiting.room(&mut pool, usize::MAX - 1), Err(NoMemory));
        queue(&mut waiting, &mut pool, &[2; 100]);
        assert_eq!(waiting.payload(), 200);
        assert!(waiting.earlier.is_empty() && waiting.last.len() == 204);
    }

    #[test]
    fn many_that_wait_do_not_hold_large_chunks() {
        let mut pool = ChunkPool::default();
        let mut waiting: Vec<SendQueue> = (0..100).map(|_| SendQueue::default()).collect();
        for one in &mut waiting {
            queue(one, &mut pool, &[1; 64]);
        }
        let large = waiting
            .iter()
            .filter(|one| one.last.capacity() == CHUNK)
            .count();
        assert_eq!(large, POOLED);
        for one in &mut waiting {
            one.clear(&mut pool);
        }
        assert_eq!((pool.lent, pool.free.len()), (0, POOLED));
    }

    // The kernel took a part of a Close frame, whose payload is not counted: the size of the
    // queue, which had been zero, became that of all memory.
    #[test]
    fn half_a_close_frame_counts_for_nothing() {
        let mut pool = ChunkPool::default();
        let mut queue = SendQueue::default();
        let mut proto = connection();
        let mut scratch = Vec::new();
        let frame = proto.frame(FrameKind::Binary, &[1; 10], || [0; 4], &mut scratch);
        queue.append(&mut pool, &frame.unwrap()).unwrap();
        let mut close = Vec::new();
        proto
            .close(Some(1000), b"enough", || [0; 4], &mut close)
            .unwrap();
        queue.append_close(&mut pool, &close).unwrap();
        queue.advance(7, &mut pool);
        assert_eq!(queue.payload(), 5);
        queue.advance(5, &mut pool);
        assert_eq!(queue.payload(), 0);
        queue.advance(5, &mut pool);
        assert_eq!(queue.payload(), 0);
        assert!(!queue.is_empty());
        queue.advance(5, &mut pool);
        assert!(queue.is_empty());
    }

    fn shared(number: u8, payload: usize) -> SharedFrame {
        let mut frame = Vec::new();
        let payload = vec![number; payload];
        encode(true, Opcode::Binary, &payload, None, &mut frame);
        frame.into()
    }

    /// Everything that waits, as the first octets of the frames' payloads.
    fn waiting_frames(queue: &SendQueue) -> Vec<u8> {
        let bytes: Vec<u8> = queue.parts().flatten().copied().collect();
        let (mut at, mut found) = (0, Vec::new());
        while at < bytes.len() {
            let header = frame::sent_header_len([bytes[at], bytes[at + 1]]);
            let length = frame::sent_payload_len(&bytes[at..at + header]) as usize;
            found.push(bytes[at + header]);
            at += header + length;
        }
        found
    }

    #[test]
    fn shared_frames_lie_between_others_and_are_counted_to_the_end() {
        let (ours, mut theirs) = pair();
        let mut pool = ChunkPool::default();
        let mut waiting = SendQueue::default();
        let mut expected = Vec::new();
        for number in 0..100u8 {
            let size = 1 + usize::from(number) * 997 % 90_000;
            if number % 3 == 0 {
                queue(&mut waiting, &mut pool, &vec![number; size]);
            } else {
                let frame = shared(number, size);
                waiting
                    .append_frame(&mut pool, frame, Droppable::No)
                    .unwrap();
            }
            encode(
                true,
                Opcode::Binary,
                &vec![number; size],
                None,
                &mut expected,
            );
        }
        let (mut got, mut step) = (Vec::new(), 1);
        while waiting.write(ours.as_fd(), &mut pool).unwrap() == Written::Part {
            assert_eq!(waiting.end(), expected.len() as u64);
            got.extend(read(&mut theirs, step));
            step = step % 50_000 + 1_777;
        }
        assert_eq!((waiting.payload(), waiting.waiting()), (0, 0));
        while got.len() < expected.len() {
            got.extend(read(&mut theirs, 1 << 20));
        }
        assert!(got == expected);
    }

    #[test]
    fn the_oldest_that_may_be_dropped_goes_first_and_nothing_that_has_begun() {
        let mut pool = ChunkPool::default();
        let mut waiting = SendQueue::default();
        for number in 1..=4 {
            let frame = shared(number, 300);
            waiting
                .append_frame(&mut pool, frame, Droppable::Old)
                .unwrap();
        }
        queue(&mut waiting, &mut pool, &[5; 300]);
        waiting
            .append_frame(&mut pool, shared(6, 300), Droppable::Old)
            .unwrap();
        waiting.advance(1, &mut pool);
        assert!(waiting.drop_oldest(0, &mut pool));
        assert_eq!(waiting.payload(), 5 * 300);
        // The rest of the first frame and the next one are encrypted already.
        assert!(waiting.drop_oldest(303 + 1, &mut pool));
        waiting.advance(303, &mut pool);
        assert_eq!(waiting_frames(&waiting), [3, 5, 6]);
        assert!(waiting.drop_oldest(0, &mut pool) && waiting.drop_oldest(0, &mut pool));
        assert!(!waiting.drop_oldest(0, &mut pool), "the fifth may not be");
        assert_eq!(waiting_frames(&waiting), [5]);
        assert_eq!((waiting.payload(), waiting.waiting()), (300, 304));
    }

    #[test]
    fn outdated_frames_are_found_by_their_numbers_however_many_have_gone() {
        let mut pool = ChunkPool::default();
        let mut waiting = SendQueue::default();
        let numbers: Vec<u64> = (0..200)
            .map(|at| {
                let frame = shared(at, 300);
                waiting
                    .append_frame(&mut pool, frame, Droppable::Outdated)
                    .unwrap()
            })
            .collect();
        for at in (0..200).filter(|at| at % 5 != 0) {
            assert!(waiting.drop_frame(numbers[at], 0, &mut pool), "{at}");
            assert!(!waiting.drop_frame(numbers[at], 0, &mut pool), "twice");
        }
        let left: Vec<u8> = (0..200).filter(|at| at % 5 == 0).collect();
        assert_eq!(waiting_frames(&waiting), left);
        assert!(waiting.earlier.len() < 100, "what has gone is cleared away");
        let stays = |number| number == numbers[195] || number == numbers[0];
        assert_eq!(waiting.drop_others(stays, 0, &mut pool), 38);
        assert_eq!(waiting_frames(&waiting), [0, 195]);
        waiting.advance(304, &mut pool);
        assert!(waiting.drop_frame(numbers[195], 0, &mut pool));
        assert!(waiting.is_empty() && waiting.earlier.capacity() == 0);
    }

    // A chunk that went out as another one was dropped left its number in the list of the newest ones. The queue was empty
    // then and began to count anew: that number was another key's, whose newest message was dropped.
    #[test]
    fn a_number_is_not_used_again_when_everything_was_dropped() {
        let mut pool = ChunkPool::default();
        let mut waiting = SendQueue::default();
        let append = |waiting: &mut SendQueue, pool: &mut ChunkPool| {
            let frame = shared(1, 300);
            waiting
                .append_frame(pool, frame, Droppable::Outdated)
                .unwrap()
        };
        let gone = append(&mut waiting, &mut pool);
        let dropped = append(&mut waiting, &mut pool);
        waiting.advance(304, &mut pool);
        assert!(waiting.drop_frame(dropped, 0, &mut pool) && waiting.is_empty());
        let next = append(&mut waiting, &mut pool);
        assert!(next != gone && next != dropped);
        assert!(!waiting.drop_frame(gone, 0, &mut pool));
    }

    // A frame that was written behind each of a few bytes kept a chunk of 132 KiB for these, four times, and after that a
    // connection that did not read had left none to all others.
    #[test]
    fn what_shared_frames_cut_short_does_not_hold_large_chunks() {
        let mut pool = ChunkPool::default();
        let mut waiting = SendQueue::default();
        for _ in 0..10 {
            queue(&mut waiting, &mut pool, &[1; 10]);
            waiting
                .append_frame(&mut pool, shared(2, 300), Droppable::No)
                .unwrap();
        }
        assert_eq!((pool.lent, pool.free.len()), (0, 1));
        let capacity = |chunk: &Chunk| match &chunk.bytes {
            Bytes::Own(bytes) => bytes.capacity(),
            Bytes::Shared(_) => 0,
        };
        assert_eq!(waiting.earlier.iter().map(capacity).sum::<usize>(), 120);
        assert_eq!(waiting.payload(), 10 * 310);
    }

    // The list of chunks kept its memory when the last of them was dropped, and a frame of the connection's own went out
    // behind them.
    #[test]
    fn an_empty_queue_has_no_memory_whatever_was_dropped() {
        let mut pool = ChunkPool::default();
        let mut waiting = SendQueue::default();
        let frame = shared(1, 300);
        waiting
            .append_frame(&mut pool, frame, Droppable::Old)
            .unwrap();
        queue(&mut waiting, &mut pool, &[1; 10]);
        assert!(waiting.drop_oldest(0, &mut pool));
        waiting.advance(12, &mut pool);
        assert!(waiting.is_empty() && waiting.earlier.capacity() == 0);
    }

    #[test]
    fn what_may_not_be_outdated_stays_and_so_does_what_has_begun() {
        let mut pool = ChunkPool::default();
        let mut waiting = SendQueue::default();
        let kinds = [
            Droppable::Outdated,
            Droppable::Outdated,
            Droppable::Outdated,
            Droppable::No,
            Droppable::Old,
        ];
        for (number, droppable) in (1..).zip(kinds) {
            waiting
                .append_frame(&mut pool, shared(number, 300), droppable)
                .unwrap();
        }
        waiting.advance(1, &mut pool);
        // The rest of the first frame and a part of the second one are encrypted already.
        assert_eq!(waiting.drop_others(|_| false, 304, &mut pool), 1);
        assert_eq!(waiting.drop_others(|_| false, 304, &mut pool), 0);
        waiting.advance(303, &mut pool);
        assert_eq!(waiting_frames(&waiting), [2, 4, 5]);
    }
}
