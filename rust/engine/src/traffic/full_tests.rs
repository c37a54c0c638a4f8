//! What becomes of messages for which the send queue has no room.

use std::os::unix::net::UnixStream;

use evws_proto::connection::FrameKind;

use super::*;
use crate::event::Event;
use crate::limits::{QueueLimits, WhenFull};
use crate::traffic::bench::Bench;
use crate::traffic::tests::{flush, fragment, queue};

const FULL: u64 = 100;

/// A connection whose queue has no room after the first message or fragment below.
fn nearly_full(when_full: WhenFull) -> (Bench, Id, UnixStream) {
    let mut bench = Bench::new();
    bench.limits.send_queue = QueueLimits::new(FULL, 0, 0, when_full);
    let (id, peer) = bench.connected(Role::Server);
    (bench, id, peer)
}

/// The caller keeps what is refused and may call again; nothing of a message is lost.
#[test]
fn a_full_queue_that_refuses_goes_on_with_a_message_when_there_is_room() {
    let (mut bench, id, _peer) = nearly_full(WhenFull::Refuse);
    queue(&mut bench, id, FrameKind::Binary, 200).unwrap();
    for kind in [
        FrameKind::Text,
        FrameKind::Binary,
        fragment(false),
        fragment(true),
    ] {
        assert_eq!(queue(&mut bench, id, kind, 1), Err(SendError::QueueFull));
    }
    queue(&mut bench, id, FrameKind::Ping, 1).unwrap();
    flush(&mut bench);
    queue(&mut bench, id, fragment(false), 200).unwrap();
    let in_progress = Err(SendError::FragmentInProgress);
    assert_eq!(queue(&mut bench, id, FrameKind::Text, 1), in_progress);
    let refused = Err(SendError::QueueFull);
    assert_eq!(queue(&mut bench, id, fragment(true), 1), refused);
    flush(&mut bench);
    queue(&mut bench, id, fragment(true), 1).unwrap();
    let counted = bench.traffic.statistics(id).unwrap();
    assert_eq!((counted.sent.messages, counted.dropped), (2, 0));
}

/// A message is dropped whole or not at all: a part of one would end the connection of a peer that reads.
#[test]
fn a_full_queue_that_drops_does_not_cut_messages() {
    let (mut bench, id, _peer) = nearly_full(WhenFull::Drop);
    let (dropped, in_progress) = (Err(SendError::Dropped), Err(SendError::FragmentInProgress));
    queue(&mut bench, id, FrameKind::Binary, 200).unwrap();
    assert_eq!(queue(&mut bench, id, FrameKind::Text, 1), dropped);
    assert_eq!(queue(&mut bench, id, fragment(false), 1), dropped);
    assert_eq!(queue(&mut bench, id, FrameKind::Text, 1), in_progress);
    flush(&mut bench);
    // There is room, but not for its other parts.
    assert_eq!(queue(&mut bench, id, fragment(false), 1), dropped);
    assert_eq!(queue(&mut bench, id, FrameKind::Binary, 1), in_progress);
    queue(&mut bench, id, FrameKind::Ping, 1).unwrap();
    assert_eq!(queue(&mut bench, id, fragment(true), 1), dropped);
    let counts = |bench: &Bench| {
        let counted = bench.traffic.statistics(id).unwrap();
        (counted.sent.messages, counted.dropped)
    };
    assert_eq!(counts(&bench), (1, 2));
    queue(&mut bench, id, fragment(false), 200).unwrap();
    queue(&mut bench, id, fragment(false), 1).unwrap();
    queue(&mut bench, id, fragment(true), 1).unwrap();
    assert_eq!(counts(&bench), (2, 2));
    assert_eq!(bench.events(), [], "nobody has asked to be told");
}

/// The connection fails for a message that does not fit, and not for a call that could not have been right.
#[test]
fn a_full_queue_that_closes_does_so_for_a_message_that_is_lost() {
    let closed = |id| [Event::Error { id }, Event::Close { id, code: 1013 }];
    let dropped = Err(SendError::Dropped);
    let (mut bench, id, _peer) = nearly_full(WhenFull::Close);
    queue(&mut bench, id, FrameKind::Binary, 200).unwrap();
    queue(&mut bench, id, FrameKind::Ping, 1).unwrap();
    assert_eq!(bench.events(), []);
    assert_eq!(queue(&mut bench, id, FrameKind::Binary, 1), dropped);
    assert_eq!(bench.events(), closed(id));
    let (mut bench, id, _peer) = nearly_full(WhenFull::Close);
    queue(&mut bench, id, fragment(false), 200).unwrap();
    let in_progress = Err(SendError::FragmentInProgress);
    assert_eq!(queue(&mut bench, id, FrameKind::Text, 1), in_progress);
    assert_eq!(bench.events(), []);
    assert_eq!(queue(&mut bench, id, fragment(true), 1), dropped);
    assert_eq!(bench.events(), closed(id));
}
