//! What is read and sent, as far as it takes a look at what no program sees.

use std::io::{Read, Write};

use evws_proto::connection::FrameKind;

use super::*;
use crate::event::Event;
use crate::limits::{QueueLimits, Rate, WhenFull};
use crate::timeouts;
use crate::traffic::bench::{compression, Bench, SECOND};

/// The length of the frames below, in two octets: much of it is missing when the first ones have come.
const LENGTH: usize = 40_000;
/// The octets of them that come with the header.
const FIRST: usize = 1000;

/// A connection that lacks so much of a frame that the rest will be read straight into its message.
fn in_mid_frame(bench: &mut Bench) -> (Id, std::os::unix::net::UnixStream) {
    let (id, mut peer) = bench.connected(Role::Client);
    let length = (LENGTH as u16).to_be_bytes();
    peer.write_all(&[0x82, 126, length[0], length[1]]).unwrap();
    peer.write_all(&[7; FIRST]).unwrap();
    assert_eq!(bench.receive(id), []);
    (id, peer)
}

/// A loop inside of a callback reads another connection when this one's bytes are in its message and not counted yet.
/// They have to be counted afterwards: the stream's framing is lost without.
#[test]
fn what_was_read_into_a_message_counts_though_another_connection_is_read_before() {
    let mut bench = Bench::new();
    bench.wants.message = true;
    let (id, mut peer) = in_mid_frame(&mut bench);
    let (other, mut its_peer) = bench.connected(Role::Client);
    let rest = [&[7; LENGTH - FIRST][..], b"\x81\x01x"].concat();
    peer.write_all(&rest).unwrap();
    its_peer.write_all(b"\x81\x01y").unwrap();
    bench.with(|traffic, shared| traffic.handle_io(id, true, false, shared));
    bench.with(|traffic, shared| traffic.handle_io(other, true, false, shared));
    let direct = |bench: &Bench| bench.traffic.links.get(id).unwrap().direct;
    assert_ne!(direct(&bench), 0);
    let message = |id, binary| Event::Message { id, binary };
    assert_eq!(
        bench.parse(),
        [message(other, false), message(id, true), message(id, false)]
    );
    // Nothing has come behind it, and what is short is not worth it.
    let (id, mut peer) = in_mid_frame(&mut bench);
    peer.write_all(&[7; FIRST]).unwrap();
    bench.with(|traffic, shared| traffic.handle_io(id, true, false, shared));
    bench.with(|traffic, shared| traffic.handle_io(other, true, false, shared));
    assert_eq!(bench.traffic.links.get(id).unwrap().direct, FIRST);
    assert_eq!(bench.parse(), []);
    peer.write_all(&[7; LENGTH - 2 * FIRST]).unwrap();
    let events: Vec<_> = (0..3).flat_map(|_| bench.receive(id)).collect();
    assert_eq!(events, [message(id, true)]);
    peer.write_all(b"\x82\x05ab").unwrap();
    assert_eq!(bench.receive(id), []);
    peer.write_all(b"cde").unwrap();
    bench.with(|traffic, shared| traffic.handle_io(id, true, false, shared));
    bench.with(|traffic, shared| traffic.handle_io(other, true, false, shared));
    assert_eq!(bench.traffic.links.get(id).unwrap().direct, 0);
    assert_eq!(bench.parse(), [message(id, true)]);
}

/// One call to the system reads what comes behind a long message, too, and no more than the peer may send.
#[test]
fn who_may_send_so_many_octets_has_so_many_read_at_once() {
    const MAY: usize = 100_000;
    let mut bench = Bench::new();
    bench.limits.byte_rate = Rate::new(MAY as f64, MAY as f64);
    let (id, mut peer) = in_mid_frame(&mut bench);
    let rest = LENGTH - FIRST;
    peer.write_all(&vec![7; rest]).unwrap();
    peer.write_all(&b"\x81\x01x".repeat(30_000)).unwrap();
    bench.with(|traffic, shared| traffic.handle_io(id, true, false, shared));
    let counted = bench.traffic.statistics(id).unwrap().received.wire;
    assert!(
        (MAY as u64 / 2..=MAY as u64).contains(&counted),
        "{counted}"
    );
}

/// Whoever goes on twice with a connection that was paused has its messages once, and it is not taken for one that has ended.
#[test]
fn who_goes_on_twice_has_messages_once() {
    let mut bench = Bench::new();
    bench.wants.message = true;
    let (id, mut peer) = bench.connected(Role::Client);
    peer.write_all(b"\x81\x01x\x81\x01y").unwrap();
    bench.with(|traffic, shared| {
        traffic.handle_io(id, true, false, shared);
        traffic.pause(id, true, shared.reactor);
    });
    assert_eq!(bench.parse(), []);
    for _ in 0..2 {
        bench.with(|traffic, shared| traffic.pause(id, false, shared.reactor));
    }
    assert_eq!(bench.parse(), [Event::Message { id, binary: false }; 2]);
    assert_eq!(bench.events(), []);
    assert_eq!(bench.traffic.life(id), Some(Life::Open));
}

/// Messages that come together are taken one behind the other: what else there may be is asked for when there is something.
#[test]
fn messages_that_are_there_as_a_whole_take_the_short_way() {
    let mut bench = Bench::new();
    bench.wants.message = true;
    let (id, mut peer) = bench.connected(Role::Client);
    peer.write_all(&b"\x81\x01x".repeat(100)).unwrap();
    let events = bench.receive(id);
    assert_eq!(events, [Event::Message { id, binary: false }; 100]);
    assert_eq!(bench.traffic.input.others, 0);
}

/// The log must not change what a program gets: with it, messages go another way.
#[test]
fn messages_are_the_same_when_the_log_is_on() {
    for is_on in [false, true] {
        let mut bench = Bench::new();
        bench.wants.message = true;
        bench.traffic.log.set(is_on);
        let (id, mut peer) = bench.connected(Role::Client);
        peer.write_all(b"\x81\x03abc\x82\x05defgh\x01\x01i\x80\x01j")
            .unwrap();
        bench.with(|traffic, shared| traffic.handle_io(id, true, false, shared));
        let mut payloads = Vec::new();
        while bench.traffic.has_input() {
            bench.outbox.clear_data();
            if bench.with(Traffic::parse_next).is_some() {
                payloads.push(match bench.outbox.received() {
                    Some(range) => bench.traffic.received(range.clone()).to_vec(),
                    None => bench.outbox.data().payload.clone(),
                });
            }
        }
        assert_eq!(payloads, [&b"abc"[..], b"defgh", b"ij"], "{is_on}");
        let lines = std::iter::from_fn(|| bench.traffic.log.take());
        let frames = lines.filter(|line| line.topic == Topic::Frame);
        assert_eq!(frames.count(), if is_on { 4 } else { 0 });
    }
}

/// A reset is an end, and a descriptor that was said to be readable and is not is none.
#[test]
fn an_error_of_reading_ends_a_connection_and_nothing_to_read_does_not() {
    let mut bench = Bench::new();
    let (id, peer) = bench.connected(Role::Client);
    assert_eq!(bench.receive(id), []);
    assert_eq!(bench.events(), []);
    queue(&mut bench, id, FrameKind::Binary, 10).unwrap();
    bench.with(|traffic, shared| traffic.flush(shared));
    // What it has not read has it reset.
    drop(peer);
    assert_eq!(bench.receive(id), []);
    assert_eq!(bench.events(), [Event::Close { id, code: 1006 }]);
    // One that is closed already, and waits for the end of the stream.
    let (id, mut peer) = bench.connected(Role::Client);
    peer.write_all(b"\x88\0").unwrap();
    assert_eq!(bench.receive(id), [Event::Close { id, code: 1005 }]);
    bench.traffic.begin_turn();
    bench.with(|traffic, shared| traffic.flush(shared));
    let before = bench.traffic.count();
    bench.receive(id);
    assert_eq!(bench.traffic.count(), before);
    drop(peer);
    bench.receive(id);
    assert_eq!(bench.traffic.count(), before - 1);
}

pub(super) fn queue(
    bench: &mut Bench,
    id: Id,
    kind: FrameKind,
    length: usize,
) -> Result<(), SendError> {
    bench.with(|traffic, shared| traffic.send(id, kind, &vec![0; length], shared))
}

/// The queue goes to the kernel.
pub(super) fn flush(bench: &mut Bench) {
    bench.traffic.begin_turn();
    bench.with(|traffic, shared| traffic.flush(shared));
}

pub(super) const fn fragment(last: bool) -> FrameKind {
    FrameKind::Fragment { binary: true, last }
}

/// What the program is told of its frames is what a peer sees of them.
#[test]
fn the_frames_that_are_counted_are_those_on_the_wire() {
    let mut bench = Bench::new();
    let (id, mut peer) = bench.connected(Role::Server);
    peer.write_all(&b"\x89\x80\0\0\0\0\x82\x82\0\0\0\0xy".repeat(2))
        .unwrap();
    assert_eq!(bench.receive(id), []);
    for (kind, length) in [
        (FrameKind::Text, 1),
        (FrameKind::Binary, 200),
        (fragment(false), 30),
        (FrameKind::Ping, 4),
        (fragment(true), 5000),
        (FrameKind::Pong, 6),
        (fragment(false), 7),
    ] {
        queue(&mut bench, id, kind, length).unwrap();
    }
    bench.with(|traffic, shared| traffic.close(id, 1000, b"", shared.reactor));
    flush(&mut bench);
    let mut bytes = vec![0; 10_000];
    let length = peer.read(&mut bytes).unwrap();
    let (mut stream, mut frames) = (&bytes[..length], 0);
    while let Ok(Some((header, taken))) = evws_proto::frame::parse_header(stream) {
        frames += 1;
        stream = &stream[taken + header.payload_len as usize..];
    }
    // Two Pongs, those above, the end of the last message, and the Close.
    assert_eq!(frames, 2 + 7 + 2);
    let counted = bench.traffic.statistics(id).unwrap();
    assert_eq!(
        (counted.sent.frames, counted.sent.wire),
        (frames, length as u64)
    );
    assert_eq!((counted.sent.messages, counted.sent.payload), (3, 5238));
    let received = counted.received;
    assert_eq!((received.frames, received.wire), (4, 28));
    assert_eq!((received.messages, received.payload), (2, 4));
}

/// A Pong to somebody who takes nothing any more is not sent, and does not count.
#[test]
fn nothing_is_queued_on_a_stream_that_takes_nothing() {
    let mut bench = Bench::new();
    let (id, mut peer) = bench.connected(Role::Server);
    peer.write_all(&b"\x89\x80\0\0\0\0".repeat(3)).unwrap();
    drop(peer);
    queue(&mut bench, id, FrameKind::Binary, 1).unwrap();
    flush(&mut bench);
    assert_eq!(bench.receive(id), []);
    let counted = bench.traffic.statistics(id).unwrap();
    assert_eq!((counted.received.frames, counted.sent.frames), (3, 1));
}

/// A program that sees that it should not send, because of Pongs that it knows nothing of, waits to hear when it may.
#[test]
fn who_should_not_send_because_of_pongs_hears_when_they_are_out() {
    let mut bench = Bench::new();
    bench.wants.drain = true;
    bench.limits.send_queue = QueueLimits::new(0, 100, 0, WhenFull::default());
    let (id, mut peer) = bench.connected(Role::Client);
    peer.write_all(&[&b"\x89\x7d"[..], &[0; 125]].concat())
        .unwrap();
    assert_eq!(bench.receive(id), []);
    assert!(!bench.traffic.is_writable(id));
    flush(&mut bench);
    assert_eq!(bench.events(), [Event::Drain { id }]);
    // A short one changes nothing.
    peer.write_all(b"\x89\0").unwrap();
    assert_eq!(bench.receive(id), []);
    flush(&mut bench);
    assert_eq!(bench.events(), []);
}

/// A peer that sends Pings and takes the Pongs slowly is waited for, one that takes nothing is not, however often its
/// descriptor is said to be writable.
#[test]
fn who_takes_pongs_slowly_has_its_time_anew() {
    let mut bench = Bench::new();
    let (id, mut peer) = bench.connected(Role::Server);
    queue(&mut bench, id, FrameKind::Binary, 2 << 20).unwrap();
    flush(&mut bench);
    let ping = [&b"\x89\xfd\0\0\0\0"[..], &[0; 125]].concat();
    peer.write_all(&ping.repeat(600)).unwrap();
    assert_eq!(bench.receive(id), []);
    let left = |bench: &Bench, timer| {
        let left = bench.reactor.remaining(id, timer);
        left.map(|left| left.as_secs_f64().round())
    };
    let whole = Some(timeouts::PONGS.as_secs_f64());
    assert_eq!(left(&bench, Timer::Pongs), whole);
    let most = timeouts::PONGS - SECOND;
    let mut part = vec![0; 100_000];
    for _ in 0..4 {
        assert_eq!(bench.pass(most), []);
        peer.read_exact(&mut part).unwrap();
        bench.with(|traffic, shared| traffic.handle_io(id, false, true, shared));
        assert_eq!(left(&bench, Timer::Pongs), whole);
    }
    assert_eq!(bench.pass(most), []);
    bench.with(|traffic, shared| traffic.handle_io(id, false, true, shared));
    assert_eq!(left(&bench, Timer::Pongs), Some(1.0));
    // What is closing has its own time.
    bench.with(|traffic, shared| traffic.close(id, 1000, b"", shared.reactor));
    peer.read_exact(&mut part).unwrap();
    bench.with(|traffic, shared| traffic.handle_io(id, false, true, shared));
    assert_eq!(left(&bench, Timer::Pongs), None);
    // And that is not made longer by somebody who takes nothing.
    let before = left(&bench, Timer::ClosingLimit).unwrap();
    bench.reactor.advance(SECOND);
    bench.with(|traffic, shared| traffic.handle_io(id, false, true, shared));
    assert_eq!(left(&bench, Timer::ClosingLimit), Some(before - 1.0));
}

/// A program that has not asked for Pongs is not woken by them, and after a Close nobody is.
#[test]
fn pongs_are_told_to_who_wants_them() {
    for (is_wanted, closes) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut bench = Bench::new();
        bench.wants.pong = is_wanted;
        let (id, mut peer) = bench.connected(Role::Client);
        if closes {
            bench.with(|traffic, shared| traffic.close(id, 1000, b"", shared.reactor));
        }
        peer.write_all(b"\x8a\x01x").unwrap();
        let told = bench.receive(id);
        assert_eq!(!told.is_empty(), is_wanted && !closes, "{told:?}");
    }
}

/// Between its two marks a queue is neither long nor short. Where it had grown to there before the program was told that
/// it is short, nothing was told, and nothing would be later.
#[test]
fn a_queue_that_has_grown_since_it_was_short_is_told_of_when_it_is_short_again() {
    let mut bench = Bench::new();
    bench.wants.drain = true;
    bench.limits.send_queue = QueueLimits::new(0, 1000, 100, WhenFull::default());
    let (id, _peer) = bench.connected(Role::Server);
    let queue = |bench: &mut Bench, length| {
        queue(bench, id, FrameKind::Binary, length).unwrap();
    };
    let written = |bench: &mut Bench| {
        flush(bench);
        bench.events()
    };
    queue(&mut bench, 2000);
    assert_eq!(written(&mut bench), [Event::Drain { id }]);
    queue(&mut bench, 200);
    assert!(!bench.traffic.is_drained(id));
    assert_eq!(written(&mut bench), [Event::Drain { id }]);
    assert!(bench.traffic.is_drained(id));
    // What never was long is not told of.
    queue(&mut bench, 200);
    assert_eq!(written(&mut bench), []);
}

/// The buffer for compressed octets is one for all connections: after a large message it was as large for good.
#[test]
fn the_buffer_for_what_is_compressed_does_not_stay_large() {
    const KEPT: usize = 256 * 1024;
    let mut bench = Bench::new();
    bench.deflate = compression(true);
    let (id, _peer) = bench.connected(Role::Server);
    let mut state = 1u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(2 * KEPT)
    .collect();
    let send = |bench: &mut Bench, payload: &[u8]| {
        let sent =
            bench.with(|traffic, shared| traffic.send(id, FrameKind::Binary, payload, shared));
        sent.unwrap();
        bench.traffic.scratch.capacity()
    };
    let small = send(&mut bench, &noise[..1000]);
    assert!((1000..KEPT).contains(&small), "{small}");
    assert_eq!(send(&mut bench, &noise), 0);
    // What is as large as may be kept is kept.
    bench.traffic.scratch = Vec::with_capacity(KEPT);
    assert_eq!(send(&mut bench, &noise[..1000]), KEPT);
}

/// A context that ends offers what waits to the system, and a forked child, whose connections are its parent's, does not.
#[test]
fn what_waits_when_a_context_ends_is_sent_unless_it_is_a_childs() {
    for (is_child, got) in [(false, &b"\x82\x01\0"[..]), (true, b"")] {
        let mut bench = Bench::new();
        let (id, mut peer) = bench.connected(Role::Server);
        queue(&mut bench, id, FrameKind::Binary, 1).unwrap();
        bench.traffic.shut_down(is_child);
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, got);
    }
}

/// Who has called connect or adopt has the connection's object before it is open, and who listens has not.
#[test]
fn clients_and_adopted_connections_are_known_before_they_are_open() {
    for (role, is_shared, is_known) in [
        (Role::Client, false, true),
        (Role::Server, true, true),
        (Role::Server, false, false),
    ] {
        let mut bench = Bench::new();
        let (id, _peer) = bench.connected(role);
        bench.traffic.links.get_mut(id).unwrap().is_shared = is_shared;
        assert_eq!(bench.traffic.is_known_before_open(id), is_known);
        assert_eq!(bench.traffic.role(id), Some(role));
        let removed = bench.traffic.remove_announced(id).unwrap();
        assert_eq!(removed.1, is_known);
        assert!(!bench.traffic.is_known_before_open(id));
    }
}

/// What is sent behind a flush waits for the next turn, and what is sent when the loop comes again does not.
#[test]
fn a_flush_writes_what_was_sent_since_the_loop_has_come() {
    let mut bench = Bench::new();
    let (id, _peer) = bench.connected(Role::Server);
    let sent = |bench: &mut Bench| {
        queue(bench, id, FrameKind::Binary, 1).unwrap();
        bench.with(|traffic, shared| traffic.flush(shared));
        bench.traffic.send_queue_size(id)
    };
    assert_eq!(sent(&mut bench), 0);
    assert_eq!(sent(&mut bench), 1);
    bench.traffic.begin_turn();
    bench.with(|traffic, shared| traffic.flush(shared));
    assert_eq!(bench.traffic.send_queue_size(id), 0);
    bench.traffic.begin();
    assert_eq!(sent(&mut bench), 0);
}

/// What comes behind a Close, or what has failed a connection, is nothing to parse: the loop must not go on for it.
#[test]
fn nothing_is_parsed_behind_the_end() {
    for wire in [&b"\x88\0\x81\x01x"[..], b"\xff\0\x81\x01x"] {
        let mut bench = Bench::new();
        bench.wants.message = true;
        let (id, mut peer) = bench.connected(Role::Client);
        peer.write_all(wire).unwrap();
        bench.with(|traffic, shared| traffic.handle_io(id, true, false, shared));
        assert!(bench.with(Traffic::parse_next).is_some());
        assert!(!bench.traffic.has_input());
    }
}

/// Where another process has the same socket, closing our descriptor ends nothing.
#[test]
fn a_socket_that_others_have_is_shut_down_at_the_end() {
    for is_context in [false, true] {
        let mut bench = Bench::new();
        let (id, mut peer) = bench.connected(Role::Server);
        let link = bench.traffic.links.get_mut(id).unwrap();
        link.is_shared = true;
        let _others = link.fd.try_clone().unwrap();
        if is_context {
            bench.traffic.shut_down(false);
        } else {
            bench.with(|traffic, shared| traffic.release(id, shared.reactor));
        }
        peer.set_nonblocking(true).unwrap();
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    }
}
