//! Silent peers, with time that goes by at will.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use evws_proto::Role;

use super::*;
use crate::limits::Limits;
use crate::traffic::bench::{Bench, SECOND};

const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(20);
/// A moment: what is doubted is judged in the next turn.
const TURN: Duration = Duration::from_millis(1);

fn bench() -> Bench {
    let mut bench = Bench::new();
    bench.limits = Limits {
        ping_interval: Some(INTERVAL),
        pong_timeout: Some(TIMEOUT),
        ..bench.limits
    };
    bench
}

/// Lets time go by, up to a time of the grid. What goes out then is written.
fn pass(bench: &mut Bench, time: Duration) -> Vec<Event> {
    let mut events = bench.pass(time);
    bench.with(|traffic, shared| traffic.flush(shared));
    events.extend(bench.events());
    events
}

/// What has arrived at the peer.
fn taken(peer: &mut UnixStream) -> Vec<u8> {
    peer.set_nonblocking(true).unwrap();
    let mut bytes = vec![0; 1 << 20];
    match peer.read(&mut bytes) {
        Ok(count) => bytes.truncate(count),
        Err(error) if error.kind() == ErrorKind::WouldBlock => bytes.clear(),
        Err(error) => panic!("{error}"),
    }
    bytes
}

/// The payload of the one Ping that has arrived.
fn pinged(peer: &mut UnixStream) -> Vec<u8> {
    let bytes = taken(peer);
    assert_eq!(bytes.len(), 2 + PAYLOAD);
    assert_eq!(bytes[..2], [0x89, PAYLOAD as u8]);
    bytes[2..].to_vec()
}

fn pong(payload: &[u8]) -> Vec<u8> {
    let header = [0x8A, 0x80 | payload.len() as u8, 0, 0, 0, 0];
    [&header, payload].concat()
}

/// The peer sends. The events of it.
fn received(bench: &mut Bench, id: Id, peer: &mut UnixStream, bytes: &[u8]) -> Vec<Event> {
    peer.write_all(bytes).unwrap();
    bench.with(|traffic, shared| {
        shared.reactor.clock().begin_turn();
        traffic.handle_io(id, true, false, shared);
        let mut events = Vec::new();
        while traffic.has_input() {
            events.extend(traffic.parse_next(shared));
        }
        events
    })
}

const GIVEN_UP: fn(Id) -> [Event; 2] = |id| [Event::Error { id }, Event::Close { id, code: 1006 }];

/// The time for an answer is over, but the peer takes what it is sent.
fn expect_belief(bench: &mut Bench) {
    assert_eq!(pass(bench, 2 * SECOND), []);
    assert_eq!(pass(bench, TURN), []);
    assert_eq!(pass(bench, TURN), []);
}

/// It takes nothing more, either.
fn expect_given_up(bench: &mut Bench, id: Id) {
    pass(bench, TIMEOUT + SECOND);
    pass(bench, TURN);
    assert_eq!(pass(bench, TURN), GIVEN_UP(id));
}

#[test]
fn a_silent_peer_is_asked_and_given_up() {
    let mut bench = bench();
    let (id, mut peer) = bench.connected(Role::Server);
    assert_eq!(pass(&mut bench, INTERVAL - SECOND), []);
    assert_eq!(taken(&mut peer), []);
    assert_eq!(pass(&mut bench, 2 * SECOND), []);
    pinged(&mut peer);
    assert_eq!(pass(&mut bench, TIMEOUT - SECOND), []);
    assert_eq!(pass(&mut bench, 2 * SECOND), [], "it may lie there unread");
    assert_eq!(pass(&mut bench, TURN), [], "or be on its way");
    assert_eq!(pass(&mut bench, TURN), GIVEN_UP(id));
    assert_eq!(taken(&mut peer), [], "nobody is there to be told");
}

/// A long message that comes slowly, the first octet of anything: the peer is there.
#[test]
fn any_octet_is_a_sign_of_life() {
    let mut bench = bench();
    let (id, mut peer) = bench.connected(Role::Server);
    for octet in [0x82, 0xFF, 0, 0] {
        pass(&mut bench, INTERVAL + SECOND);
        pinged(&mut peer);
        pass(&mut bench, TIMEOUT - SECOND);
        assert_eq!(received(&mut bench, id, &mut peer, &[octet]), []);
    }
    pass(&mut bench, INTERVAL + SECOND);
    expect_given_up(&mut bench, id);
}

#[test]
fn only_the_answer_to_our_own_ping_tells_the_latency() {
    let mut bench = bench();
    bench.wants.pong = true;
    let (id, mut peer) = bench.connected(Role::Server);
    let latency = |bench: &Bench| bench.traffic.latency(id);
    assert_eq!(
        received(&mut bench, id, &mut peer, &pong(&[0; PAYLOAD])),
        [Event::Pong { id }]
    );
    pass(&mut bench, INTERVAL + SECOND);
    let first = pinged(&mut peer);
    let mut forged = first.clone();
    forged[PAYLOAD - 1] ^= 1;
    assert_eq!(received(&mut bench, id, &mut peer, &pong(&forged)), []);
    assert_eq!(latency(&bench), None);
    bench.reactor.advance(SECOND / 4);
    assert_eq!(received(&mut bench, id, &mut peer, &pong(&first)), []);
    let told = latency(&bench).unwrap();
    assert!(told >= SECOND / 4 && told < SECOND, "{told:?}");
    bench.reactor.advance(SECOND);
    assert_eq!(
        received(&mut bench, id, &mut peer, &pong(&first)),
        [],
        "again"
    );
    assert_eq!(latency(&bench), Some(told));
    // The next one is another.
    pass(&mut bench, TIMEOUT);
    pass(&mut bench, INTERVAL);
    let second = pinged(&mut peer);
    assert_eq!(first[..PAYLOAD / 2], second[..PAYLOAD / 2]);
    assert_ne!(first[PAYLOAD / 2..], second[PAYLOAD / 2..]);
    // What the program asks is the program's to know.
    assert_eq!(
        received(&mut bench, id, &mut peer, &pong(b"mine")),
        [Event::Pong { id }]
    );
}

#[test]
fn nobody_is_judged_unheard() {
    let mut bench = bench();
    let (id, mut peer) = bench.connected(Role::Server);
    bench.with(|traffic, shared| traffic.pause(id, true, shared.reactor));
    for _ in 0..5 {
        assert_eq!(pass(&mut bench, INTERVAL + SECOND), []);
    }
    assert_eq!(taken(&mut peer), []);
    bench.with(|traffic, shared| traffic.pause(id, false, shared.reactor));
    pass(&mut bench, INTERVAL + SECOND);
    pinged(&mut peer);
    // Neither if reading waits when the answer is due, and then goes on.
    bench.with(|traffic, shared| traffic.pause(id, true, shared.reactor));
    pass(&mut bench, TIMEOUT - TURN);
    bench.with(|traffic, shared| traffic.pause(id, false, shared.reactor));
    pass(&mut bench, 2 * SECOND);
    assert_eq!(pass(&mut bench, TURN), []);
    pass(&mut bench, INTERVAL);
    pinged(&mut peer);
}

fn fill(bench: &mut Bench, id: Id) {
    let payload = vec![0; 1 << 20];
    bench.with(|traffic, shared| {
        let sent = traffic.send(id, FrameKind::message(true), &payload, shared);
        sent.unwrap();
        traffic.flush(shared);
    });
    let link = bench.traffic.links.get(id).unwrap();
    assert_eq!(link.state.writing(), Writing::Blocked);
}

#[test]
fn who_takes_nothing_is_given_up_and_who_takes_something_is_not() {
    let mut bench = bench();
    let (id, mut peer) = bench.connected(Role::Server);
    fill(&mut bench, id);
    for _ in 0..4 {
        pass(&mut bench, INTERVAL + SECOND);
        assert_eq!(pass(&mut bench, TIMEOUT - SECOND), []);
        assert!(!taken(&mut peer).is_empty());
        bench.with(|traffic, shared| traffic.handle_io(id, false, true, shared));
        assert_eq!(pass(&mut bench, 2 * SECOND), []);
        assert_eq!(pass(&mut bench, TURN), []);
        assert_eq!(pass(&mut bench, TURN), []);
        fill(&mut bench, id);
    }
    pass(&mut bench, INTERVAL + SECOND);
    expect_given_up(&mut bench, id);
}

/// All is with the system, and the peer is busy with what it has before the Ping.
#[test]
#[cfg(target_os = "linux")]
fn a_ping_waits_for_what_was_sent_before_it() {
    let mut bench = bench();
    let (id, mut peer) = bench.connected(Role::Server);
    for _ in 0..20 {
        bench.with(|traffic, shared| {
            let sent = traffic.send(id, FrameKind::message(true), &[0; 1000], shared);
            sent.unwrap();
            traffic.flush(shared);
            traffic.begin_turn();
        });
    }
    pass(&mut bench, INTERVAL + SECOND);
    let mut some = [0; 3000];
    for _ in 0..3 {
        pass(&mut bench, TIMEOUT - SECOND);
        peer.read_exact(&mut some).unwrap();
        expect_belief(&mut bench);
    }
    expect_given_up(&mut bench, id);
}

/// What is queued when it is asked goes to the system afterwards: that is no more than before.
#[test]
#[cfg(target_os = "linux")]
fn what_was_queued_before_a_ping_is_waited_for_too() {
    let mut bench = bench();
    let (id, mut peer) = bench.connected(Role::Server);
    for _ in 0..20 {
        bench.with(|traffic, shared| {
            let sent = traffic.send(id, FrameKind::message(true), &[0; 1000], shared);
            sent.unwrap();
        });
    }
    pass(&mut bench, INTERVAL + SECOND);
    pass(&mut bench, TIMEOUT - SECOND);
    assert!(taken(&mut peer).len() > 20_000);
    expect_belief(&mut bench);
    expect_given_up(&mut bench, id);
}

/// A program that sends to a peer that is gone must hear of it: what the system takes is not what the peer takes.
#[test]
fn what_is_sent_is_no_sign_of_life() {
    let mut bench = bench();
    let (id, _peer) = bench.connected(Role::Server);
    let mut events = Vec::new();
    for _ in 0..12 {
        bench.with(|traffic, shared| {
            let sent = traffic.send(id, FrameKind::message(true), b"x", shared);
            assert!(sent.is_ok() || !events.is_empty());
        });
        bench.traffic.begin_turn();
        bench.with(|traffic, shared| traffic.flush(shared));
        events.extend(pass(&mut bench, 10 * SECOND));
    }
    assert_eq!(events, GIVEN_UP(id));
    // Nor is a socket that is said to have room and has none.
    let (id, _peer) = bench.connected(Role::Server);
    bench.traffic.begin_turn();
    fill(&mut bench, id);
    let mut events = Vec::new();
    for _ in 0..12 {
        bench.with(|traffic, shared| traffic.handle_io(id, false, true, shared));
        events.extend(pass(&mut bench, 10 * SECOND));
    }
    assert_eq!(events, GIVEN_UP(id));
}

#[test]
fn without_a_timeout_it_is_only_asked() {
    let mut bench = bench();
    bench.limits.pong_timeout = None;
    let (_, mut peer) = bench.connected(Role::Server);
    for _ in 0..5 {
        assert_eq!(pass(&mut bench, INTERVAL + SECOND), []);
        pinged(&mut peer);
    }
}

#[test]
fn long_times_end_together_and_short_ones_when_they_end() {
    for (interval, asked) in [(INTERVAL, 2), (timeouts::LONG, 2), (SECOND, 1)] {
        let mut bench = bench();
        bench.limits.ping_interval = Some(interval);
        // Not on the grid.
        bench.reactor.advance(SECOND / 4);
        let (_, mut first) = bench.connected(Role::Server);
        bench.reactor.advance(SECOND / 4);
        let (_, mut second) = bench.connected(Role::Server);
        pass(&mut bench, interval - SECOND / 4 + 10 * TURN);
        let early = [&mut first, &mut second].map(|peer| taken(peer).len());
        if asked == 1 {
            assert_eq!(early, [2 + PAYLOAD, 0]);
            continue;
        }
        assert_eq!(early, [0, 0]);
        pass(&mut bench, SECOND);
        pinged(&mut first);
        pinged(&mut second);
    }
}

#[test]
fn a_turn_asks_its_share() {
    let mut bench = bench();
    let count = ASKS_PER_TURN as usize + 10;
    let mut peers: Vec<_> = (0..count)
        .map(|_| bench.connected(Role::Server).1)
        .collect();
    let mut asked = |bench: &mut Bench, time| {
        pass(bench, time);
        let taken = peers.iter_mut().map(taken);
        taken.filter(|bytes| !bytes.is_empty()).count()
    };
    assert_eq!(asked(&mut bench, INTERVAL + SECOND), ASKS_PER_TURN as usize);
    assert_eq!(asked(&mut bench, timeouts::SHARE_PAUSE), 10);
}

// Those who had answered were looked at in vain between two Pings, share by share: ten thousand idle connections woke the
// process more than once a second.
#[test]
fn idle_peers_wake_the_loop_once_for_each_share() {
    const SHARES: u32 = 4;
    const ROUNDS: u32 = 10;
    let mut bench = bench();
    let mut all: Vec<_> = (0..SHARES * ASKS_PER_TURN)
        .map(|_| bench.connected(Role::Server))
        .collect();
    for (_, peer) in &all {
        peer.set_nonblocking(true).unwrap();
    }
    let (mut wakes, mut answers, mut gone) = (0, 0, Duration::ZERO);
    while gone < ROUNDS * INTERVAL {
        let until = bench.reactor.until_due().unwrap();
        gone += until;
        assert_eq!(pass(&mut bench, until), []);
        wakes += 1;
        for (id, peer) in &mut all {
            // The clock goes on meanwhile: this must be quick.
            let mut ping = [0; 64];
            if let Ok(length) = peer.read(&mut ping) {
                answers += 1;
                received(&mut bench, *id, peer, &pong(&ping[2..length]));
            }
        }
    }
    assert!(
        answers >= (ROUNDS - 1) * SHARES * ASKS_PER_TURN,
        "{answers}"
    );
    assert!(wakes <= ROUNDS * SHARES + 1, "{wakes}");
}
