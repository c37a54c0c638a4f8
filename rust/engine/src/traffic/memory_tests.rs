//! What becomes of messages when there is no memory for them.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use evws_proto::connection::{FrameKind, Prepared};

use super::*;
use crate::event::Event;
use crate::traffic::bench::{compression, Bench};
use crate::traffic::tests::{flush, fragment};

/// There is no memory for a queue that is empty, or there is again.
fn exhaust(bench: &mut Bench, is_exhausted: bool) {
    bench.traffic.pool.is_exhausted = is_exhausted;
}

fn send(bench: &mut Bench, id: Id, kind: FrameKind, payload: &[u8]) -> Result<(), SendError> {
    bench.with(|traffic, shared| traffic.send(id, kind, payload, shared))
}

/// What the flush sends.
fn flushed(bench: &mut Bench, peer: &mut UnixStream) -> Vec<u8> {
    flush(bench);
    let mut bytes = vec![0; 10_000];
    let count = peer.read(&mut bytes).unwrap_or(0);
    bytes.truncate(count);
    bytes
}

fn connected(bench: &mut Bench) -> (Id, UnixStream) {
    let (id, peer) = bench.connected(Role::Server);
    peer.set_nonblocking(true).unwrap();
    (id, peer)
}

/// A bench whose connections compress, each message with what was in those before.
fn compressing() -> Bench {
    Bench {
        deflate: compression(false),
        ..Bench::new()
    }
}

/// The same call may be made again: nothing has changed for the connection, and the log tells of nothing that was not sent.
#[test]
fn a_frame_without_memory_was_never_sent() {
    let no_memory = Err(SendError::NoMemory);
    let mut bench = Bench::new();
    bench.traffic.log.set(true);
    let (id, mut peer) = connected(&mut bench);
    let mut fails_and_works = |bench: &mut Bench, kind, payload: &[u8]| {
        exhaust(bench, true);
        let before = bench.traffic.statistics(id).unwrap().sent;
        assert_eq!(send(bench, id, kind, payload), no_memory);
        assert_eq!(bench.traffic.statistics(id).unwrap().sent, before);
        assert_eq!(flushed(bench, &mut peer), b"");
        exhaust(bench, false);
        send(bench, id, kind, payload).unwrap();
        flushed(bench, &mut peer)
    };
    assert_eq!(
        fails_and_works(&mut bench, FrameKind::Text, b"a"),
        b"\x81\x01a"
    );
    let first = fails_and_works(&mut bench, fragment(false), b"b");
    assert_eq!(first, b"\x02\x01b");
    let ping = fails_and_works(&mut bench, FrameKind::Ping, b"c");
    assert_eq!(ping, b"\x89\x01c");
    assert_eq!(
        fails_and_works(&mut bench, fragment(true), b"d"),
        b"\x80\x01d"
    );
    assert_eq!(bench.events(), []);
    let lines = std::iter::from_fn(|| bench.traffic.log.take());
    let frames = lines.filter(|line| line.topic == Topic::Frame);
    assert_eq!(frames.count(), 4);
}

/// The peer's window has what it was sent, and the compressor's what it was given.
#[test]
fn a_compressed_part_without_memory_ends_the_connection_and_a_ping_changes_nothing() {
    let run = |fails: bool| {
        let mut bench = compressing();
        let (id, mut peer) = connected(&mut bench);
        send(&mut bench, id, fragment(false), b"abcdefgh").unwrap();
        let mut got = flushed(&mut bench, &mut peer);
        if fails {
            exhaust(&mut bench, true);
            let sent = send(&mut bench, id, FrameKind::Ping, b"x");
            assert_eq!(sent, Err(SendError::NoMemory));
            exhaust(&mut bench, false);
        }
        send(&mut bench, id, fragment(true), b"abcdefgh").unwrap();
        got.extend(flushed(&mut bench, &mut peer));
        got
    };
    assert_eq!(run(true), run(false));
    let mut bench = compressing();
    let (id, _peer) = connected(&mut bench);
    exhaust(&mut bench, true);
    let whole = send(&mut bench, id, FrameKind::Binary, b"abc");
    assert_eq!((whole, bench.events()), (Err(SendError::NoMemory), vec![]));
    let part = send(&mut bench, id, fragment(false), b"abc");
    assert_eq!(part, Err(SendError::NoMemory));
    assert_eq!(bench.events(), [Event::Close { id, code: 1006 }]);
}

/// Nobody is there to be told that a published message is lost: its subscriber must not go on as if nothing were.
#[test]
fn a_subscriber_without_memory_for_a_message_ends() {
    let mut bench = Bench::new();
    let (id, _peer) = connected(&mut bench);
    let message = Rc::new(Prepared::new(true, false, b"x").unwrap());
    bench.with(|traffic, shared| {
        let subscribed = traffic.subscribe(id, b"t", None, None, shared.reactor);
        assert_eq!(subscribed, Ok(true));
        let options = PublishOptions::default();
        traffic.publish(b"t", &message, &options, shared.reactor);
    });
    exhaust(&mut bench, true);
    bench.with(|traffic, shared| {
        traffic.settle(shared.reactor);
        traffic.flush(shared);
    });
    let events = [Event::Error { id }, Event::Close { id, code: 1006 }];
    assert_eq!(bench.events(), events);
    assert_eq!(bench.traffic.statistics(id).unwrap().dropped, 1);
}
