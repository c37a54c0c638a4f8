//! Connections that end in order because their time is over: nobody has sent a message for too long, or they have lived
//! for as long as they may.

use std::time::Duration;

use evws_proto::close;

use super::keepalive::{look_at, DOUBTS};
use super::Traffic;
use crate::event::Id;
use crate::log::Topic;
use crate::reactor::{Clock, Reactor, Time, Timer};
use crate::shared::Shared;

/// The messages of a connection that must not be without them for too long.
#[derive(Debug, Default)]
pub struct Idleness {
    /// When the last one was sent or received, or something of one that is on its way; `None`: nobody wants to know.
    last: Option<Time>,
    /// Up to where the queue must be written for the last one that was sent to be out.
    queued: u64,
}

impl Idleness {
    /// A message is sent or received. The time is read for each: in a turn that takes long, that of its beginning would
    /// be too early.
    #[inline]
    pub fn message(&mut self, clock: &Clock) {
        if self.last.is_some() {
            clock.begin_turn();
            self.last = Some(clock.now());
        }
    }

    /// A message is sent, which ends where the queue will have been written up to `end`.
    #[inline]
    pub fn queued(&mut self, end: u64, clock: &Clock) {
        self.queued = end;
        self.message(clock);
    }

    /// The peer takes more of the queue than it had `before`, which may be something of a message.
    pub fn taken(&mut self, before: u64, clock: &Clock) {
        if before < self.queued {
            self.message(clock);
        }
    }

    /// Whether anybody wants to know.
    #[inline]
    pub fn is_watched(&self) -> bool {
        self.last.is_some()
    }
}

impl Traffic {
    /// A connection is open from now on.
    pub(super) fn start_lifetime(&mut self, id: Id, reactor: &mut Reactor) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        let now = reactor.clock().now();
        if let Some(timeout) = link.limits.idle_timeout {
            link.idleness.last = Some(now);
            let at = look_at(now.checked_add(timeout), timeout);
            reactor.start_at(id, Timer::Idle, at);
        }
        if let Some(time) = link.limits.max_lifetime {
            // A farm of clients that came together does not go together.
            let tenth = self.masks.number() as f64 / u64::MAX as f64 / 10.0;
            reactor.start(id, Timer::Lifetime, Some(time.mul_f64(1.0 - tenth)));
        }
    }

    /// There may have been no message for a while.
    pub(super) fn look_for_messages(&mut self, id: Id, shared: &mut Shared<'_>) {
        let now = shared.reactor.clock().now();
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        let (Some(timeout), Some(mut last), true) = (
            link.limits.idle_timeout,
            link.idleness.last,
            link.state.is_open(),
        ) else {
            return;
        };
        if link.state.holds_back() {
            // There may be any number of them, and the program does not want them now.
            last = now;
        }
        link.idleness.last = Some(last);
        let at = last.checked_add(timeout);
        let next = if at.is_none_or(|at| at > now) {
            link.idle_doubts = 0;
            look_at(at, timeout)
        } else if link.idle_doubts == DOUBTS {
            return self.end_in_order(id, "idle", shared.reactor);
        } else {
            link.idle_doubts += 1;
            if link.is_throttled() {
                // There may be a message behind what the peer has sent too much of, Pings for instance: `look_again`.
                return;
            }
            now.checked_add(Duration::from_nanos(1))
        };
        shared.reactor.start_at(id, Timer::Idle, next);
    }

    /// A peer is read from again that had sent too much: it may have been idle for too long meanwhile.
    pub(super) fn look_again(&mut self, id: Id, reactor: &mut Reactor) {
        let link = self.links.get(id);
        let is_watched =
            link.is_some_and(|link| link.idleness.is_watched() && link.state.is_open());
        if is_watched && reactor.remaining(id, Timer::Idle).is_none() {
            let next = reactor.clock().now().checked_add(Duration::from_nanos(1));
            reactor.start_at(id, Timer::Idle, next);
        }
    }

    /// A connection has lived for as long as it may, or been idle.
    pub(super) fn end_in_order(&mut self, id: Id, why: &str, reactor: &mut Reactor) {
        self.log.write(Topic::State, id, format_args!("{why}"));
        self.go_away(id, close::GOING_AWAY, why.as_bytes(), reactor);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use std::rc::Rc;

    use evws_proto::connection::{FrameKind, Prepared};
    use evws_proto::Role;

    use super::*;
    use crate::limits::{Limits, Rate};
    use crate::traffic::bench::{Bench, SECOND};
    use crate::traffic::fanout::PublishOptions;

    const TIMEOUT: Duration = Duration::from_secs(60);

    fn pass(bench: &mut Bench, time: Duration) {
        assert_eq!(bench.pass(time), []);
        bench.with(|traffic, shared| traffic.flush(shared));
    }

    /// The turns after which nobody believes in a message any more.
    fn doubts(bench: &mut Bench) {
        for _ in 0..DOUBTS {
            pass(bench, SECOND / 1000);
        }
    }

    /// The Close that has arrived, if one has.
    fn closed(peer: &mut UnixStream) -> Option<Vec<u8>> {
        peer.set_nonblocking(true).unwrap();
        let mut bytes = vec![0; 1000];
        let count = peer.read(&mut bytes).ok()?;
        bytes.truncate(count);
        (bytes[0] == 0x88).then(|| bytes.split_off(2))
    }

    /// Some bytes come from the peer.
    fn receive(bench: &mut Bench, id: Id, peer: &mut UnixStream, bytes: &[u8]) {
        peer.set_nonblocking(false).unwrap();
        peer.write_all(bytes).unwrap();
        read(bench, id);
    }

    /// What has come is read.
    fn read(bench: &mut Bench, id: Id) {
        bench.with(|traffic, shared| {
            traffic.handle_io(id, true, false, shared);
            while traffic.has_input() {
                traffic.parse_next(shared);
            }
            traffic.flush(shared);
        });
    }

    fn watched() -> (Bench, Id, UnixStream) {
        let mut bench = Bench::new();
        bench.limits.idle_timeout = Some(TIMEOUT);
        bench.limits.close_timeout = None;
        let (id, peer) = bench.connected(Role::Server);
        (bench, id, peer)
    }

    const PONG: &[u8] = b"\x8a\x80\0\0\0\0";
    const STEP: Duration = Duration::from_secs(20);

    /// Whether a peer is idle that sends the second bytes again and again, before each time a Pong if `with_pongs`.
    fn is_idle_with(first: &[u8], then: &[u8], with_pongs: bool) -> bool {
        let (mut bench, id, mut peer) = watched();
        receive(&mut bench, id, &mut peer, first);
        for _ in 0..5 {
            pass(&mut bench, STEP);
            if with_pongs {
                receive(&mut bench, id, &mut peer, PONG);
            }
            receive(&mut bench, id, &mut peer, then);
            doubts(&mut bench);
        }
        closed(&mut peer).is_some()
    }

    // Whoever sent one fragment, and a Pong now and then, was never idle: any byte counted while a message was
    // unfinished.
    #[test]
    fn an_unfinished_message_counts_while_it_goes_on() {
        let fragment: &[u8] = b"\x02\x81\0\0\0\0a";
        let next: &[u8] = b"\x00\x81\0\0\0\0b";
        let empty: &[u8] = b"\x00\x80\0\0\0\0";
        assert!(is_idle_with(fragment, PONG, false));
        assert!(is_idle_with(b"\x82\x85\0\0\0\0ab", b"", false));
        assert!(!is_idle_with(fragment, next, true));
        assert!(!is_idle_with(fragment, empty, true));
        // In the midst of a frame, and of its header.
        assert!(!is_idle_with(b"\x82\x8f\0\0\0\0ab", b"c", false));
        assert!(!is_idle_with(b"\x82", b"\x8f", false));
        // Read straight into the message.
        let large = b"\x82\xff\0\0\0\0\0\x0f\0\0\0\0\0\0a";
        assert!(!is_idle_with(large, &[1; 9], false));
        // A Pong in parts is no message.
        assert!(is_idle_with(b"\x8a", b"\x8f", false));
        assert!(is_idle_with(b"\x8a\x8f\0\0\0\0", b"a", false));
    }

    // Any byte from a peer counted, too, while something was queued for it that it did not take.
    #[test]
    fn a_message_that_is_queued_counts_while_it_goes_out() {
        for (takes, is_published) in [(false, false), (true, false), (false, true), (true, true)] {
            let (mut bench, id, mut peer) = watched();
            let payload = vec![1; 4 << 20];
            bench.with(|traffic, shared| {
                if is_published {
                    let message = Rc::new(Prepared::new(true, true, &payload).unwrap());
                    let subscribed = traffic.subscribe(id, b"t", None, None, shared.reactor);
                    assert_eq!(subscribed, Ok(true));
                    traffic.publish(b"t", &message, &PublishOptions::default(), shared.reactor);
                } else {
                    let kind = FrameKind::message(true);
                    traffic.send(id, kind, &payload, shared).unwrap();
                }
                traffic.flush(shared);
            });
            let mut bytes = vec![0; 100_000];
            for _ in 0..5 {
                bench.reactor.advance(STEP);
                if takes {
                    peer.read_exact(&mut bytes).unwrap();
                    bench.with(|traffic, shared| traffic.handle_io(id, false, true, shared));
                }
                receive(&mut bench, id, &mut peer, PONG);
                pass(&mut bench, SECOND / 1000);
                doubts(&mut bench);
            }
            let is_open = bench.traffic.life(id) == Some(crate::traffic::Life::Open);
            assert_eq!(is_open, takes);
        }
    }

    // A peer that had sent too many Pings was not read from, and that counted as messages: it was never idle.
    #[test]
    fn a_peer_that_is_held_back_is_judged_afterwards() {
        for has_message in [false, true] {
            let mut bench = Bench::new();
            bench.limits.idle_timeout = Some(TIMEOUT);
            // A Pong of 6 bytes empties the bucket for more than the timeout.
            bench.limits.byte_rate = Rate::new(0.05, 1.0);
            let (id, mut peer) = bench.connected(Role::Server);
            receive(&mut bench, id, &mut peer, PONG);
            for round in 1..6 {
                assert_eq!(closed(&mut peer), None, "{round}");
                peer.write_all(PONG).unwrap();
                if has_message {
                    peer.write_all(b"\x82\x80\0\0\0\0").unwrap();
                }
                while bench.reactor.remaining(id, Timer::Rate).is_some() {
                    pass(&mut bench, STEP);
                }
                read(&mut bench, id);
                pass(&mut bench, SECOND / 1000);
                if !has_message && closed(&mut peer).is_some() {
                    assert!(round > 1);
                    break;
                }
                assert!(has_message || round < 3);
            }
        }
    }

    #[test]
    fn a_message_in_either_direction_begins_the_time_anew() {
        let mut bench = Bench::new();
        bench.limits.idle_timeout = Some(TIMEOUT);
        let (id, mut peer) = bench.connected(Role::Server);
        pass(&mut bench, TIMEOUT - SECOND);
        bench
            .with(|traffic, shared| traffic.send(id, FrameKind::message(true), b"", shared))
            .unwrap();
        pass(&mut bench, TIMEOUT - SECOND);
        assert_eq!(closed(&mut peer), None);
        receive(&mut bench, id, &mut peer, b"\x82\x80\0\0\0\0");
        pass(&mut bench, TIMEOUT - SECOND);
        // A Ping is none.
        bench
            .with(|traffic, shared| traffic.send(id, FrameKind::Ping, b"", shared))
            .unwrap();
        pass(&mut bench, SECOND / 2);
        assert_eq!(closed(&mut peer), None);
        pass(&mut bench, 2 * SECOND);
        assert_eq!(closed(&mut peer), None, "there may be one unread");
        doubts(&mut bench);
        assert_eq!(closed(&mut peer).unwrap(), b"\x03\xe9idle");
    }

    #[test]
    fn what_is_queued_behind_a_message_is_none() {
        let mut reactor = Reactor::default();
        let start = reactor.clock().now();
        let mut idleness = Idleness {
            last: Some(start),
            queued: 0,
        };
        reactor.advance(SECOND);
        idleness.queued(10, reactor.clock());
        let sent = idleness.last;
        assert!(sent > Some(start));
        reactor.advance(SECOND);
        idleness.taken(10, reactor.clock());
        assert_eq!(idleness.last, sent);
        idleness.taken(9, reactor.clock());
        assert!(idleness.last > sent);
    }

    #[test]
    fn who_is_paused_is_not_idle() {
        let mut bench = Bench::new();
        bench.limits.idle_timeout = Some(TIMEOUT);
        let (id, mut peer) = bench.connected(Role::Server);
        bench.with(|traffic, shared| traffic.pause(id, true, shared.reactor));
        for _ in 0..3 {
            pass(&mut bench, TIMEOUT + SECOND);
        }
        assert_eq!(closed(&mut peer), None);
        bench.with(|traffic, shared| traffic.pause(id, false, shared.reactor));
        pass(&mut bench, TIMEOUT + SECOND);
        doubts(&mut bench);
        assert!(closed(&mut peer).is_some());
    }

    #[test]
    fn a_life_has_its_length_less_up_to_a_tenth() {
        let mut bench = Bench::new();
        bench.limits.max_lifetime = Some(100 * SECOND);
        bench.limits.close_timeout = None;
        let mut peers: Vec<_> = (0..50).map(|_| bench.connected(Role::Server).1).collect();
        let mut ended = |bench: &mut Bench, time| {
            pass(bench, time);
            let closes: Vec<_> = peers.iter_mut().filter_map(closed).collect();
            assert!(closes.iter().all(|close| close == b"\x03\xe9lifetime"));
            closes.len()
        };
        assert_eq!(ended(&mut bench, 89 * SECOND), 0);
        let early = ended(&mut bench, 6 * SECOND);
        assert!((1..50).contains(&early), "{early}");
        assert_eq!(ended(&mut bench, 5 * SECOND), 50 - early);
    }

    /// The time is over when it has passed, to the tick of the clock: a timer that is due then must not be started for the
    /// same time again.
    #[test]
    fn who_has_been_idle_for_just_the_time_is_doubted_then() {
        let (mut bench, id, _peer) = watched();
        let last = bench.traffic.links.get(id).unwrap().idleness.last.unwrap();
        bench.reactor.advance(SECOND);
        let passed = bench.reactor.clock().now().since(last);
        for (timeout, doubts) in [(passed + SECOND, 0), (passed, 1)] {
            let link = bench.traffic.links.get_mut(id).unwrap();
            link.limits = Rc::new(Limits {
                idle_timeout: Some(timeout),
                ..Limits::default()
            });
            bench.with(|traffic, shared| traffic.look_for_messages(id, shared));
            let link = bench.traffic.links.get(id).unwrap();
            assert_eq!(link.idle_doubts, doubts);
        }
    }

    /// A pause that ends has nobody looked at who is not watched, and nobody sooner than is to be.
    #[test]
    fn a_pause_that_ends_moves_no_timer_of_idleness() {
        for timeout in [None, Some(TIMEOUT)] {
            let mut bench = Bench::new();
            bench.limits.idle_timeout = timeout;
            bench.limits.message_rate = Rate::new(1.0, 1.0);
            let (id, mut peer) = bench.connected(Role::Server);
            let two = b"\x82\x80\0\0\0\0\x82\x80\0\0\0\0";
            receive(&mut bench, id, &mut peer, two);
            let left = |bench: &Bench| {
                let left = bench.reactor.remaining(id, Timer::Idle);
                left.map(|left| left.as_secs_f64().round())
            };
            assert!(bench.reactor.remaining(id, Timer::Rate).is_some());
            let before = left(&bench);
            assert_eq!(before.is_some(), timeout.is_some());
            pass(&mut bench, SECOND);
            assert!(bench.reactor.remaining(id, Timer::Rate).is_none());
            assert_eq!(left(&bench), before.map(|before| before - 1.0));
        }
    }
}
