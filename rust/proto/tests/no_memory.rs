//! When there is no memory: a message fails or is not sent, and the process goes on.

mod common;

use common::deflate::*;
use common::*;
use evws_proto::connection::{FrameError, FrameKind};
use evws_proto::deflate::Codecs;
use evws_proto::{Connection, Role};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Scarce;

thread_local! {
    /// What this thread may still allocate; `None`: as much as it likes.
    static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
}

// SAFETY: passes on to the system's allocator whatever it does not refuse, which any allocator may.
unsafe impl GlobalAlloc for Scarce {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if let Some(left) = LEFT.get() {
            match left.checked_sub(layout.size()) {
                Some(rest) => LEFT.set(Some(rest)),
                None => return std::ptr::null_mut(),
            }
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LEFT.set(LEFT.get().map(|left| left + layout.size()));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Scarce = Scarce;

/// What comes of `work` when it has so many bytes.
fn with_only<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    LEFT.set(Some(bytes));
    let result = work();
    LEFT.set(None);
    result
}

const NO_MEMORY: Event = Event::Failed(1009, "message does not fit into memory");

/// A compressed message, and clients that share codecs.
fn message_and_clients() -> (Vec<u8>, impl Fn() -> Connection) {
    let agreement = agreement(false, 15);
    let mut wire = Vec::new();
    connection(Role::Server, &agreement)
        .send(FrameKind::Binary, &json(300), KEY, &mut wire)
        .unwrap();
    let codecs = Codecs::default();
    (wire, move || {
        deflating(&config(Role::Client), &agreement, &codecs)
    })
}

/// The buffer for what is inflated has 64 KiB. A codec's own allocations panic if they fail.
#[test]
fn a_message_fails_if_there_is_no_room_for_what_is_inflated() {
    let (wire, client) = message_and_clients();
    let mut one = client();
    assert_eq!(with_only(60_000, || feed(&mut one, &wire)), [NO_MEMORY]);
    let mut another = client();
    assert_eq!(feed(&mut another, &wire), [binary(&json(300))]);
}

/// An inflater has some 48 KB, and must find an eighth more than is known of it.
#[test]
fn a_message_fails_if_there_is_no_room_for_an_inflater() {
    let (wire, client) = message_and_clients();
    // It keeps its inflater, and the buffer for what is inflated is there from now on.
    let mut first = client();
    assert_eq!(feed(&mut first, &wire), [binary(&json(300))]);
    let mut second = client();
    assert_eq!(with_only(50_000, || feed(&mut second, &wire)), [NO_MEMORY]);
    let mut third = client();
    let events = with_only(60_000, || feed(&mut third, &wire));
    assert_eq!(events, [binary(&json(300))]);
}

/// What has gone through a compressor cannot be taken back, so that there must be memory before for all that it can
/// become, and for the frame that it is copied to if that is large.
#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn a_message_for_which_there_is_no_memory_has_not_been_compressed() {
    let agreement = agreement(false, 15);
    let mut server = connection(Role::Server, &agreement);
    let mut client = connection(Role::Client, &agreement);
    let mut arrives = |server: &mut Connection, payload: &[u8]| {
        let mut wire = Vec::new();
        server
            .send(FrameKind::Binary, payload, KEY, &mut wire)
            .unwrap();
        assert!(feed(&mut client, &wire) == [binary(payload)]);
    };
    // The compressor is there.
    arrives(&mut server, &json(300));
    for (length, memory) in [(1_000_000, 400_000), (200_000, 300_000)] {
        let payload = json(length);
        let mut scratch = Vec::new();
        let refused = with_only(memory, || {
            server
                .frame(FrameKind::Binary, &payload, || KEY, &mut scratch)
                .err()
        });
        assert_eq!(refused, Some(FrameError::NoMemory), "{length}");
        assert_eq!(scratch.capacity(), 0);
        arrives(&mut server, &payload);
    }
    // One of 64 KiB is not worth to be tried twice.
    let payload = json(64 * 1024);
    let mut scratch = Vec::new();
    let frame = with_only(100_000, || {
        server
            .frame(FrameKind::Binary, &payload, || KEY, &mut scratch)
            .is_ok()
    });
    assert!(frame);
}
