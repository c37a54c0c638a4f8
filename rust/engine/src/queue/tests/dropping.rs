//! Frames that are dropped again: which, how they are found, and that nothing is left of them.

use super::*;

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
    // One that is used to a good part is not copied.
    queue(&mut waiting, &mut pool, &[1; CHUNK / 2]);
    waiting
        .append_frame(&mut pool, shared(2, 300), Droppable::No, 300)
        .unwrap();
    assert_eq!(pool.lent, 1);
}

// What was dropped lay in the queue for as long as the peer did not read.
#[test]
fn what_was_dropped_is_counted_and_is_never_most_of_a_queue() {
    let mut pool = ChunkPool::default();
    let mut waiting = SendQueue::default();
    let mut numbers = Vec::new();
    let mut random = 1_u32;
    for round in 0..3000 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let of = [Droppable::No, Droppable::Old, Droppable::Outdated];
        let kind = of[(random >> 8) as usize % 3];
        let frame = shared(1, 300);
        let number = waiting.append_frame(&mut pool, frame, kind, 300).unwrap();
        if kind != Droppable::No {
            numbers.push(number);
        }
        match random >> 28 {
            0..6 => drop(waiting.drop_oldest(0, &mut pool)),
            6..12 if !numbers.is_empty() => {
                let number = numbers.swap_remove((random >> 12) as usize % numbers.len());
                waiting.drop_frame(number, 0, &mut pool);
            }
            12 => waiting.advance(200, &mut pool),
            _ => {}
        }
        let Some(earlier) = &waiting.earlier else {
            continue;
        };
        let gone = earlier.chunks.iter().filter(|of| of.was_dropped()).count();
        assert_eq!(earlier.dropped, gone, "round {round}");
        assert!(gone <= 16.max(earlier.chunks.len() / 2));
    }
    assert!(waiting.earlier.is_some_and(|of| of.chunks.len() > 100));
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

// The next one is looked for behind the last one.
#[test]
fn the_oldest_of_many_is_found_at_once() {
    let mut pool = ChunkPool::default();
    let mut waiting = SendQueue::default();
    for droppable in [Droppable::No, Droppable::Old] {
        for number in 0..100 {
            waiting
                .append_frame(&mut pool, shared(number, 300), droppable, 300)
                .unwrap();
        }
    }
    waiting.drop_oldest(0, &mut pool).unwrap();
    let before = waiting.looked_at();
    for _ in 0..50 {
        waiting.drop_oldest(0, &mut pool).unwrap();
    }
    assert_eq!(waiting.looked_at() - before, 50);
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
