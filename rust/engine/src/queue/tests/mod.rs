//! What waits and what goes out, with a socket that takes as much as it is told to.

mod dropping;

use super::pool::POOLED;
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
    assert!(waiting.earlier.is_none() && waiting.last.len() == 204);
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

/// A chunk that did not come back was one fewer for all connections, for ever.
#[test]
fn chunks_that_have_gone_out_are_there_for_the_next_queue() {
    let mut pool = ChunkPool::default();
    let mut waiting = SendQueue::default();
    for _ in 0..4 {
        queue(&mut waiting, &mut pool, &[1; CHUNK / 2]);
    }
    assert!(pool.lent > 1);
    waiting.advance(waiting.waiting() as usize, &mut pool);
    assert_eq!((waiting.is_empty(), pool.lent), (true, 0));
}

/// A full socket is waited for. One whose peer has gone would be waited for without end.
#[test]
fn a_peer_that_has_gone_is_an_error() {
    let (ours, theirs) = pair();
    drop(theirs);
    let mut pool = ChunkPool::default();
    let mut waiting = SendQueue::default();
    queue(&mut waiting, &mut pool, &[1; 10]);
    let error = waiting.write(ours.as_fd(), &mut pool).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

/// Peers that do not read would each keep one of the few large chunks, and the others of the context had small ones.
#[test]
fn a_queue_that_waits_for_its_peer_has_no_large_chunk_for_a_few_bytes() {
    let (ours, mut theirs) = pair();
    let mut pool = ChunkPool::default();
    let mut waiting = SendQueue::default();
    let mut sent = 0;
    while waiting.is_empty() {
        queue(&mut waiting, &mut pool, &[1; 1000]);
        sent += 1004;
        waiting.write(ours.as_fd(), &mut pool).unwrap();
    }
    assert_eq!((pool.lent, pool.free.len()), (0, 1));
    assert_eq!(waiting.last.capacity() as u64, waiting.waiting());
    // For more than a quarter of it, copying is not worth it.
    let mut other = SendQueue::default();
    queue(&mut other, &mut pool, &[2; CHUNK / 4]);
    let written = other.write(ours.as_fd(), &mut pool).unwrap();
    assert_eq!((written, pool.lent), (Written::Part, 1));
    let mut got = 0;
    while got < sent {
        got += read(&mut theirs, sent).len();
        waiting.write(ours.as_fd(), &mut pool).unwrap();
    }
    assert_eq!((waiting.is_empty(), got), (true, sent));
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
                .append_frame(&mut pool, frame, Droppable::No, 300)
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
