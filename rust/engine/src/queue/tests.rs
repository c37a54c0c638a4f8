//! What waits, what goes out, and what is dropped, with a socket that takes as much as it is told to.

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

#[test]
fn the_oldest_that_may_be_dropped_goes_first_and_nothing_that_has_begun() {
    let mut pool = ChunkPool::default();
    let mut waiting = SendQueue::default();
    for number in 1..=4 {
        let frame = shared(number, 300);
        waiting
            .append_frame(&mut pool, frame, Droppable::Old, 300)
            .unwrap();
    }
    queue(&mut waiting, &mut pool, &[5; 300]);
    waiting
        .append_frame(&mut pool, shared(6, 300), Droppable::Old, 300)
        .unwrap();
    waiting.advance(1, &mut pool);
    assert!(waiting.drop_oldest(0, &mut pool).is_some());
    assert_eq!(waiting.payload(), 5 * 300);
    // The rest of the first frame and the next one that is there are encrypted already.
    assert_eq!(waiting.drop_oldest(303 + 1, &mut pool), Some(300));
    assert_eq!(waiting.droppable().messages, 3);
    waiting.advance(303 + 304, &mut pool);
    assert_eq!(waiting_frames(&waiting), [5, 6]);
    assert_eq!(waiting.droppable().messages, 1);
    assert_eq!(waiting.drop_oldest(0, &mut pool), Some(300));
    let none = waiting.drop_oldest(0, &mut pool);
    assert_eq!(none, None, "the fifth may not be");
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
                .append_frame(&mut pool, frame, Droppable::Outdated, 300)
                .unwrap()
        })
        .collect();
    for at in (0..200).filter(|at| at % 5 != 0) {
        let dropped = [0; 2].map(|kept| waiting.drop_frame(numbers[at], kept, &mut pool));
        assert_eq!(dropped, [Some(300), None], "{at}, and not twice");
    }
    let left: Vec<u8> = (0..200).filter(|at| at % 5 == 0).collect();
    assert_eq!(waiting_frames(&waiting), left);
    let chunks = waiting.earlier.as_ref().unwrap().chunks.len();
    assert!(chunks < 100, "what has gone is cleared away");
    for at in (5..195).step_by(5) {
        assert!(waiting.drop_frame(numbers[at], 0, &mut pool).is_some());
    }
    assert_eq!(waiting_frames(&waiting), [0, 195]);
    waiting.advance(304, &mut pool);
    assert!(waiting.drop_frame(numbers[195], 0, &mut pool).is_some());
    assert!(waiting.is_empty() && waiting.earlier.is_none());
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
            .append_frame(pool, frame, Droppable::Outdated, 300)
            .unwrap()
    };
    let gone = append(&mut waiting, &mut pool);
    let dropped = append(&mut waiting, &mut pool);
    waiting.advance(304, &mut pool);
    assert!(waiting.drop_frame(dropped, 0, &mut pool).is_some() && waiting.is_empty());
    let next = append(&mut waiting, &mut pool);
    assert!(next != gone && next != dropped);
    assert!(waiting.drop_frame(gone, 0, &mut pool).is_none());
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
            .append_frame(&mut pool, shared(2, 300), Droppable::No, 300)
            .unwrap();
    }
    assert_eq!((pool.lent, pool.free.len()), (0, 1));
    let capacity = |chunk: &Chunk| match &chunk.bytes {
        Bytes::Own(bytes) => bytes.capacity(),
        Bytes::Shared(_) => 0,
    };
    let chunks = &waiting.earlier.as_ref().unwrap().chunks;
    assert_eq!(chunks.iter().map(capacity).sum::<usize>(), 120);
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
        .append_frame(&mut pool, frame, Droppable::Old, 300)
        .unwrap();
    queue(&mut waiting, &mut pool, &[1; 10]);
    assert!(waiting.drop_oldest(0, &mut pool).is_some());
    waiting.advance(12, &mut pool);
    assert!(waiting.is_empty() && waiting.earlier.is_none());
}

#[test]
fn what_may_not_be_dropped_stays_and_so_does_what_has_begun() {
    let mut pool = ChunkPool::default();
    let mut waiting = SendQueue::default();
    let kinds = [
        Droppable::Outdated,
        Droppable::Outdated,
        Droppable::Outdated,
        Droppable::No,
        Droppable::Old,
    ];
    let numbers: Vec<u64> = (1..)
        .zip(kinds)
        .map(|(number, droppable)| {
            waiting
                .append_frame(&mut pool, shared(number, 300), droppable, 300)
                .unwrap()
        })
        .collect();
    waiting.advance(1, &mut pool);
    // The rest of the first frame and a part of the second one are encrypted already.
    let dropped = [0, 1, 2, 2].map(|at| waiting.drop_frame(numbers[at], 304, &mut pool));
    assert_eq!(dropped, [None, None, Some(300), None]);
    waiting.advance(303, &mut pool);
    assert_eq!(waiting_frames(&waiting), [2, 4, 5]);
    assert_eq!(waiting.drop_frame(numbers[1], 1, &mut pool), None);
    assert_eq!(waiting.drop_frame(numbers[1], 0, &mut pool), Some(300));
    assert_eq!(waiting_frames(&waiting), [4, 5]);
}

// To find the oldest frame that may be dropped, each one looked at all that may not be, and at all that are encrypted.
#[test]
fn what_drops_a_frame_looks_at_few_others() {
    let mut pool = ChunkPool::default();
    let mut waiting = SendQueue::default();
    let append = |waiting: &mut SendQueue, pool: &mut ChunkPool, droppable| {
        let frame = shared(1, 300);
        waiting.append_frame(pool, frame, droppable, 300).unwrap()
    };
    for _ in 0..1000 {
        append(&mut waiting, &mut pool, Droppable::No);
    }
    for _ in 0..1000 {
        append(&mut waiting, &mut pool, Droppable::Old);
    }
    let before = waiting.looked_at();
    for round in 0..10_000 {
        append(&mut waiting, &mut pool, Droppable::Old);
        assert!(
            waiting.drop_oldest(500 * 304, &mut pool).is_some(),
            "{round}"
        );
    }
    let looks = waiting.looked_at() - before;
    assert!(looks < 10_000 * 6, "{looks} chunks were looked at");
    let before = waiting.looked_at();
    for _ in 0..10_000 {
        let number = append(&mut waiting, &mut pool, Droppable::Outdated);
        assert!(waiting.drop_frame(number, 500 * 304, &mut pool).is_some());
    }
    let looks = waiting.looked_at() - before;
    assert!(looks < 10_000 * 6, "{looks} chunks were looked at");
    for droppable in [Droppable::Outdated, Droppable::No] {
        let before = waiting.looked_at();
        while waiting.drop_oldest(0, &mut pool).is_some() {}
        for _ in 0..1000 {
            append(&mut waiting, &mut pool, droppable);
            assert_eq!(waiting.drop_oldest(0, &mut pool), None);
        }
        let looks = waiting.looked_at() - before;
        assert!(
            looks < 20_000,
            "{looks} chunks were looked at, to find none"
        );
    }
}

// The frames that wait to be dropped or written are counted to the end, whichever way they go.
#[test]
fn frames_that_may_be_dropped_are_counted_until_they_are_gone() {
    let mut pool = ChunkPool::default();
    let mut waiting = SendQueue::default();
    let counts = |queue: &SendQueue| {
        let Droppables { messages, payload } = queue.droppable();
        (messages, payload, queue.load())
    };
    for number in 0..50 {
        let frame = shared(number, 10);
        waiting
            .append_frame(&mut pool, frame, Droppable::Old, 100)
            .unwrap();
    }
    queue(&mut waiting, &mut pool, &[1; 10]);
    assert_eq!(counts(&waiting), (50, 5000, 51 * 12 + 50 * DROPPABLE_COST));
    waiting.advance(12 + 1, &mut pool);
    assert_eq!(counts(&waiting).0, 49);
    for _ in 0..30 {
        assert_eq!(waiting.drop_oldest(0, &mut pool), Some(100));
    }
    assert_eq!(counts(&waiting).0, 19);
    waiting.advance(11 + 17 * 12, &mut pool);
    assert_eq!(counts(&waiting), (1, 100, 2 * 12 + DROPPABLE_COST));
    assert!(waiting.drop_oldest(0, &mut pool).is_some());
    assert_eq!(counts(&waiting), (0, 0, 12));
    waiting.advance(12, &mut pool);
    assert!(waiting.is_empty() && waiting.earlier.is_none());
}
