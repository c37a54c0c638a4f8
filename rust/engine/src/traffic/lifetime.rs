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
    /// When the last one was sent or received; `None`: nobody wants to know.
    last: Option<Time>,
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
            link.pulse.begin(now);
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
        if link.is_unread() {
            // There may be any number of them.
            last = now;
        } else if !link.queue.is_empty() || link.proto.is_receiving() {
            // One is on its way.
            last = last.max(link.pulse.heard());
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
            now.checked_add(Duration::from_nanos(1))
        };
        shared.reactor.start_at(id, Timer::Idle, next);
    }

    /// A connection has lived for as long as it may, or been idle.
    pub(super) fn end_in_order(&mut self, id: Id, why: &str, reactor: &mut Reactor) {
        self.log.write(Topic::State, id, format_args!("{why}"));
        self.close(id, close::GOING_AWAY, why.as_bytes(), reactor);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use evws_proto::connection::FrameKind;
    use evws_proto::Role;

    use super::*;
    use crate::traffic::bench::{Bench, SECOND};

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
        peer.write_all(b"\x82\x80\0\0\0\0").unwrap();
        bench.with(|traffic, shared| {
            traffic.handle_io(id, true, false, shared);
            while traffic.has_input() {
                traffic.parse_next(shared);
            }
        });
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
}
