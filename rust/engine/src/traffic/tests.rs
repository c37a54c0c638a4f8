//! What is read and sent, as far as it takes a look at what no program sees.

use std::io::Write;

use evws_proto::connection::FrameKind;
use evws_proto::deflate::{Agreement, Direction};

use super::*;
use crate::event::Event;
use crate::limits::{QueueLimits, WhenFull};
use crate::traffic::bench::Bench;

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
    let message = |id, binary| Event::Message { id, binary };
    assert_eq!(
        bench.parse(),
        [message(other, false), message(id, true), message(id, false)]
    );
}

/// Between its two marks a queue is neither long nor short. Where it had grown to there before the program was told that
/// it is short, nothing was told, and nothing would be later.
#[test]
fn a_queue_that_has_grown_since_it_was_short_is_told_of_when_it_is_short_again() {
    let mut bench = Bench::new();
    bench.wants.drain = true;
    bench.limits.send_queue = QueueLimits::new(0, 1000, 100, WhenFull::default());
    let (id, _peer) = bench.connected(Role::Server);
    let queue = |bench: &mut Bench, length: usize| {
        let payload = vec![0; length];
        let sent =
            bench.with(|traffic, shared| traffic.send(id, FrameKind::Binary, &payload, shared));
        sent.unwrap();
    };
    let written = |bench: &mut Bench| {
        bench.traffic.begin_turn();
        bench.with(|traffic, shared| traffic.flush(shared));
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
    let direction = Direction {
        no_context_takeover: true,
        window_bits: 15,
    };
    let mut bench = Bench::new();
    bench.deflate = Some(Negotiated {
        text: "permessage-deflate".into(),
        agreement: Agreement {
            client: direction,
            server: direction,
            threshold: 0,
            level: 1,
        },
    });
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
}
