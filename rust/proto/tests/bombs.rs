//! What inflates a thousandfold costs no more memory than the limit allows. All allocations of this process are counted.

mod common;

use common::deflate::{agreement, deflating};
use common::*;
use evws_proto::deflate::Codecs;
use evws_proto::frame::{self, Opcode, RSV1};
use evws_proto::{Config, Connection, Received, Role};
use flate2::{Compress, Compression, FlushCompress};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Mutex;

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: passes everything on to the system's allocator. The default `realloc` allocates before it frees, so that what
// is counted is at least what is used.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Counting is for the whole process: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// An inflater, and what a connection keeps of a frame.
const OVERHEAD: usize = 64 * 1024;

/// The most that a message of `limit` bytes takes while it grows: it doubles, and what it grew from, at most four fifths
/// of it, is there until it is copied.
fn while_growing(limit: usize) -> usize {
    limit * 9 / 5
}

/// The most memory in use during `work`, beyond what was in use before.
fn peak(work: impl FnOnce()) -> usize {
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    work();
    PEAK.load(Ordering::Relaxed) - before
}

/// Zeros, compressed to about a thousandth.
fn bomb(length: usize) -> Vec<u8> {
    let mut compressor = Compress::new(Compression::best(), false);
    let mut out = Vec::with_capacity(length / 500 + 100);
    compressor
        .compress_vec(&vec![0; length], &mut out, FlushCompress::Sync)
        .unwrap();
    out.truncate(out.len() - 4);
    assert!(out.len() < length / 900);
    out
}

fn receiver(limit: u64, no_context_takeover: bool) -> Connection {
    let limited = Config {
        max_message_size: limit,
        ..config(Role::Client)
    };
    let agreement = agreement(no_context_takeover, 15);
    deflating(&limited, &agreement, &Codecs::default())
}

/// The compressed message in so many frames.
fn in_frames(compressed: &[u8], count: usize) -> Vec<u8> {
    let size = compressed.len().div_ceil(count);
    let parts = compressed.chunks(size);
    let last = parts.len() - 1;
    let mut wire = Vec::new();
    for (index, part) in parts.enumerate() {
        let (rsv, opcode) = match index {
            0 => (RSV1, Opcode::Binary),
            _ => (0, Opcode::Continuation),
        };
        frame::encode_with(index == last, rsv, opcode, part, None, &mut wire);
    }
    wire
}

#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn a_bomb_is_refused_at_the_limit() {
    let _alone = ALONE.lock();
    let compressed = bomb(16 << 20);
    let limit = 1 << 20;
    for frames in [1, 2, 1000] {
        let wire = in_frames(&compressed, frames);
        for portion in [wire.len(), 10_000, 100] {
            for no_context_takeover in [true, false] {
                let mut events = Vec::new();
                let mut input = wire.clone();
                let mut consumed = 0;
                let used = peak(|| {
                    let mut connection = receiver(limit, no_context_takeover);
                    for part in input.chunks_mut(portion) {
                        let (used, received) = connection.receive(part);
                        consumed += used;
                        events.extend(own(received));
                        if !events.is_empty() {
                            break;
                        }
                    }
                });
                let too_big = Event::Failed(1009, "message exceeds max_message_size");
                assert_eq!(
                    events,
                    [too_big],
                    "{frames} frames in portions of {portion}"
                );
                let allowed = while_growing(limit as usize) + OVERHEAD;
                assert!(used < allowed, "{used} bytes, {frames} frames, {portion}");
                // At once: with the frame or block of 16 KiB that passes the limit.
                let soon = (2 * wire.len() / 16).max(16 * 1024) + portion;
                assert!(consumed <= soon, "{consumed} of {} bytes read", wire.len());
            }
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn many_small_bombs_leave_nothing_behind() {
    let _alone = ALONE.lock();
    let wire = in_frames(&bomb(1 << 20), 3);
    let mut connection = receiver(1 << 20, false);
    let message = |connection: &mut Connection| {
        let mut input = wire.clone();
        let mut at = 0;
        loop {
            let (used, received) = connection.receive(&mut input[at..]);
            at += used;
            if let Received::Message { payload, .. } = received {
                return payload.len();
            }
        }
    };
    let used = peak(|| {
        for _ in 0..20 {
            assert_eq!(message(&mut connection), 1 << 20);
        }
    });
    assert!(used < while_growing(1 << 20) + OVERHEAD, "{used} bytes");
    drop(connection.take_message());
    let used = peak(|| {
        connection.release_idle_codecs();
        connection.release_idle_codecs();
    });
    // The window, and a copy of it cut to its length.
    assert!(used < 80 * 1024, "{used} bytes");
}

#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn the_limit_itself_is_allowed() {
    let _alone = ALONE.lock();
    for length in [900, 1000, 100_000] {
        let plain = vec![b'x'; length];
        let mut compressor = Compress::new(Compression::fast(), false);
        let mut compressed = Vec::with_capacity(length + 100);
        compressor
            .compress_vec(&plain, &mut compressed, FlushCompress::Sync)
            .unwrap();
        compressed.truncate(compressed.len() - 4);
        let wire = in_frames(&compressed, 1);
        for (limit, fits) in [(length, true), (length - 1, false), (1, false), (0, true)] {
            let mut connection = receiver(limit as u64, true);
            let events = feed(&mut connection, &wire);
            let expected = match fits {
                true => Event::Binary(plain.clone()),
                false => Event::Failed(1009, "message exceeds max_message_size"),
            };
            assert!(events == [expected], "{length} bytes at a limit of {limit}");
        }
    }
}
