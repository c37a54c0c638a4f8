//! The end of an established connection: it is closed, fails, is ended by its peer or by a timeout, and
//! lingers until its last bytes are sent.

use std::os::fd::AsFd;

use evws_proto::{close, Role};

use super::link::Link;
use super::send::Unfinished;
use super::state::{Life, LinkState, Writing};
use super::unparsed::Unparsed;
use super::{change, ConnectionStatistics, Traffic};
use crate::event::{Event, Id};
use crate::log::Topic;
use crate::reactor::{Reactor, Timer};
use crate::shared::Shared;
use crate::sys;

/// The timers of a connection that is open. One that is closing has others, and one that has ended has none.
const LIVING: [Timer; 5] = [
    Timer::Pongs,
    Timer::Rate,
    Timer::Keepalive,
    Timer::Idle,
    Timer::Lifetime,
];

impl Traffic {
    /// Begins the closing handshake (RFC 6455 section 7.1.2) for the program, and ends its fragmented message. Does
    /// nothing unless the connection is open.
    pub fn close(&mut self, id: Id, code: u16, reason: &[u8], reactor: &mut Reactor) {
        self.begin_closing(id, code, reason, Unfinished::IsEnded, reactor);
    }

    /// The same for what ends a connection without asking its program.
    pub fn go_away(&mut self, id: Id, code: u16, reason: &[u8], reactor: &mut Reactor) {
        self.begin_closing(id, code, reason, Unfinished::IsCut, reactor);
    }

    fn begin_closing(
        &mut self,
        id: Id,
        code: u16,
        reason: &[u8],
        unfinished: Unfinished,
        reactor: &mut Reactor,
    ) {
        if self.links.open(id).is_none() {
            return;
        }
        self.queue_close(id, Some(code), reason, unfinished, reactor);
        if let Some(link) = self.links.get_mut(id) {
            link.is_drain_due = false;
            link.forget_rates();
            change(&self.log, link, LinkState::close);
        }
        for timer in LIVING {
            reactor.stop(id, timer);
        }
        self.input.resume_parsing(&self.links, id);
        self.extend_closing(id, true, reactor);
        reactor.touch(id);
    }

    /// A connection that is being closed has made progress: our bytes were `sent`, or bytes came. A peer
    /// that is sending a long message is waited for, but one that goes on sending and never closes is not
    /// waited for without end.
    pub(super) fn extend_closing(&mut self, id: Id, sent: bool, reactor: &mut Reactor) {
        let Some(Link { limits, .. }) = self.links.get(id) else {
            return;
        };
        reactor.start(id, Timer::Closing, limits.close_timeout);
        if sent {
            reactor.start(id, Timer::ClosingLimit, limits.closing_limit());
        }
    }

    /// Ends an open connection whose peer has not closed in time. Bytes that the kernel has are still
    /// sent. False: the connection had ended before.
    pub fn end_after_timeout(&mut self, id: Id, shared: &mut Shared<'_>) -> bool {
        match self.life(id) {
            Some(Life::Open | Life::Closing) => {
                self.end(id, 1006, shared);
                true
            }
            Some(Life::Lingering { .. }) => {
                self.release(id, shared.reactor);
                false
            }
            _ => false,
        }
    }

    /// The peer's stream ended without a Close frame (RFC 6455 section 7.1.5: code 1006).
    pub(super) fn end_of_stream(&mut self, id: Id, shared: &mut Shared<'_>) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        let failure = link.tls.as_mut().and_then(|tls| tls.take_failure());
        if let (Some(why), true) = (failure, link.state.is_alive()) {
            let text = format!("TLS: {why}");
            self.log.write(Topic::Error, id, format_args!("{text}"));
            shared.outbox.push_text(Event::Error { id }, text);
        }
        self.end(id, 1006, shared);
    }

    /// Ends a connection towards the program; nothing more is read from it.
    pub(super) fn end(&mut self, id: Id, code: u16, shared: &mut Shared<'_>) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        if !change(&self.log, link, LinkState::end) {
            return;
        }
        if code == 1006 {
            change(&self.log, link, LinkState::die);
        }
        shared.reactor.stop_all(id);
        self.leave_topics(id, shared.reactor);
        shared.outbox.push(Event::Close { id, code });
        shared.reactor.touch(id);
    }

    /// Fails a connection (RFC 6455 section 7.1.7): the peer gets the code and the text.
    pub(super) fn fail(&mut self, id: Id, code: u16, text: &str, shared: &mut Shared<'_>) {
        self.log
            .write(Topic::Error, id, format_args!("failed with {code}: {text}"));
        let reason = close::reason_for(text);
        self.queue_close(
            id,
            Some(code),
            reason.as_bytes(),
            Unfinished::IsCut,
            shared.reactor,
        );
        self.end(id, code, shared);
    }

    /// The peer has sent Pings for too long and not read the Pongs.
    pub(super) fn fail_unread_pongs(&mut self, id: Id, shared: &mut Shared<'_>) {
        if self.links.open(id).is_some() {
            let text = "the peer sends Pings and does not read the Pongs";
            shared.outbox.push_text(Event::Error { id }, text);
            self.fail(id, 1008, "Pings are sent, and the Pongs not read", shared);
        }
    }

    /// Ends a connection at once: what is queued is thrown away, and the TCP connection is reset.
    pub fn reset(&mut self, id: Id, shared: &mut Shared<'_>) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        sys::reset_on_close(link.fd.as_fd());
        change(&self.log, link, LinkState::die);
        link.queue.clear(&mut self.pool);
        self.end(id, 1006, shared);
    }

    /// Closes a connection that its peer knows as open and its program never will.
    pub fn close_before_open(&mut self, id: Id, code: u16, reason: &[u8], reactor: &mut Reactor) {
        self.queue_close(id, Some(code), reason, Unfinished::IsCut, reactor);
        self.start_lingering(id, false, reactor);
    }

    /// The program is told that a connection is closed; its last bytes may still be on their way.
    /// `is_clean`: both Close frames have passed, and nothing unread is left. False: the id is stale.
    pub fn linger(&mut self, id: Id, code: u16, is_clean: bool, reactor: &mut Reactor) -> bool {
        let link = self.links.get_mut(id);
        if let Some(link) = link.filter(|link| link.state.is_known()) {
            link.is_counted = true;
            let counted = ConnectionStatistics::of(link);
            self.groups.closed(link.group, code, &counted);
            self.last_closed = Some((id, counted));
        }
        self.start_lingering(id, is_clean, reactor)
    }

    fn start_lingering(&mut self, id: Id, is_clean: bool, reactor: &mut Reactor) -> bool {
        self.leave_topics(id, reactor);
        let Some(link) = self.links.get_mut(id) else {
            return false;
        };
        change(&self.log, link, |state| state.linger(is_clean));
        link.unparsed = Unparsed::default();
        link.direct = 0;
        link.agreed = None;
        link.guest = None;
        self.to_write.note(&self.log, link);
        reactor.stop_all(id);
        self.start_linger(id, reactor);
        reactor.touch(id);
        true
    }

    pub(super) fn start_linger(&mut self, id: Id, reactor: &mut Reactor) {
        if let Some(link) = self.links.get(id) {
            reactor.start(id, Timer::Linger, Some(link.limits.linger()));
        }
    }

    /// Ends our side of the stream when the kernel has the last byte of a closed connection. A server that
    /// has seen both Close frames ends the connection (RFC 6455 section 7.1.1); other connections wait
    /// for the peer to end the stream.
    pub(super) fn finish_writing(&mut self, id: Id, progress: bool, reactor: &mut Reactor) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        let Life::Lingering { is_clean } = link.state.life() else {
            return;
        };
        if link.state.writing() == Writing::Dead {
            return self.release(id, reactor);
        }
        if progress {
            reactor.start(id, Timer::Linger, Some(link.limits.linger()));
        }
        if !link.queue.is_empty() || link.state.writing() == Writing::Shut {
            return;
        }
        if !link.notify_end() {
            change(&self.log, link, |state| state.written(false));
            return reactor.touch(id);
        }
        if is_clean && link.role == Role::Server {
            return self.release(id, reactor);
        }
        change(&self.log, link, LinkState::shut);
        if link.role == Role::Server || !is_clean {
            sys::shutdown_write(link.fd.as_fd());
        }
    }

    /// Removes a connection and closes its descriptor.
    pub(super) fn release(&mut self, id: Id, reactor: &mut Reactor) {
        let Some(mut link) = self.links.remove(id) else {
            return;
        };
        // If the peer is gone or takes nothing, close_notify is not sent.
        link.notify_end();
        link.shut_down_if_shared();
        link.queue.clear(&mut self.pool);
        self.groups.leave(link.group);
        self.log.write(Topic::State, id, format_args!("dead"));
        reactor.release(id, Some(link.fd));
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::os::unix::net::UnixStream;

    use evws_proto::connection::FrameKind;
    use rustls::version::TLS13;

    use super::*;
    use crate::timeouts;
    use crate::tls::records::tests::Pair;
    use crate::traffic::bench::{Bench, CLOSE_TIMEOUT, SECOND};

    /// A peer in the midst of a long message was cut a fixed time after our Close, however fast it sent: only what we
    /// sent counted as progress. What it sends counts too, but not for ever.
    #[test]
    fn what_a_peer_sends_makes_it_waited_for_up_to_a_limit() {
        let mut bench = Bench::new();
        let (id, mut peer) = bench.connected(Role::Server);
        bench.with(|traffic, shared| traffic.close(id, 1000, b"", shared.reactor));
        bench.with(|traffic, shared| traffic.flush(shared));
        peer.write_all(&[0x82, 0xFF]).unwrap();
        for _ in 0..7 {
            assert_eq!(bench.pass(CLOSE_TIMEOUT - SECOND), []);
            peer.write_all(&[0]).unwrap();
            bench.with(|traffic, shared| {
                traffic.handle_io(id, true, false, shared);
                assert_eq!(traffic.parse_next(shared), None);
            });
        }
        let left = 6 * CLOSE_TIMEOUT - 7 * (CLOSE_TIMEOUT - SECOND);
        assert_eq!(bench.pass(left - SECOND), []);
        assert_eq!(bench.pass(SECOND), [Event::Close { id, code: 1006 }]);
    }

    /// As long as the peer takes what is queued, there is no such limit.
    #[test]
    fn what_a_peer_takes_begins_the_limit_anew() {
        let mut bench = Bench::new();
        let (id, _peer) = bench.connected(Role::Server);
        bench.with(|traffic, shared| traffic.close(id, 1000, b"", shared.reactor));
        bench.reactor.advance(CLOSE_TIMEOUT - SECOND);
        bench.with(|traffic, shared| traffic.flush(shared));
        let left = bench.reactor.remaining(id, Timer::ClosingLimit);
        assert_eq!(left, Some(6 * CLOSE_TIMEOUT));
        assert_eq!(bench.pass(CLOSE_TIMEOUT - SECOND), []);
        assert_eq!(bench.pass(SECOND), [Event::Close { id, code: 1006 }]);
    }

    /// Without a `close_timeout` the peer's Close is awaited for ever, but the end of a connection that the program
    /// knows as closed is not.
    #[test]
    fn what_nobody_can_end_any_more_has_an_end() {
        let mut bench = Bench::default();
        let (id, mut peer) = bench.connected(Role::Client);
        bench.with(|traffic, shared| traffic.close(id, 1000, b"", shared.reactor));
        bench.with(|traffic, shared| traffic.flush(shared));
        assert_eq!(bench.pass(1000 * SECOND), []);
        peer.write_all(b"\x88\0").unwrap();
        let event = bench.with(|traffic, shared| {
            traffic.handle_io(id, true, false, shared);
            traffic.parse_next(shared)
        });
        assert_eq!(event, Some(Event::Close { id, code: 1005 }));
        bench.with(|traffic, shared| traffic.flush(shared));
        bench.pass(timeouts::LINGER - SECOND);
        assert_eq!(bench.traffic.count(), 1);
        bench.pass(SECOND);
        assert_eq!(bench.traffic.count(), 0);
    }

    /// Whether the stream ends behind what has arrived.
    fn has_ended(peer: &mut UnixStream) -> bool {
        peer.set_nonblocking(true).unwrap();
        match peer.read_to_end(&mut Vec::new()) {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                false
            }
        }
    }

    /// With unread bytes behind the peer's Close our side ends the stream, whichever it is: nobody else may do it.
    #[test]
    fn who_has_left_bytes_unread_ends_its_side_of_the_stream() {
        for (role, wire) in [
            (Role::Server, &b"\x88\x80\0\0\0\0more"[..]),
            (Role::Client, b"\x88\0more"),
        ] {
            let mut bench = Bench::new();
            let (id, mut peer) = bench.connected(role);
            peer.write_all(wire).unwrap();
            assert_eq!(bench.receive(id), [Event::Close { id, code: 1005 }]);
            bench.with(|traffic, shared| traffic.flush(shared));
            assert_eq!(bench.traffic.count(), 1, "{role:?}");
            assert!(has_ended(&mut peer), "{role:?}");
        }
    }

    #[test]
    fn a_server_that_has_seen_both_close_frames_ends_at_once_and_a_client_waits() {
        for (role, close, left) in [
            (Role::Server, &b"\x88\x80\0\0\0\0"[..], 0),
            (Role::Client, b"\x88\0", 1),
        ] {
            let mut bench = Bench::new();
            let (id, mut peer) = bench.connected(role);
            peer.write_all(close).unwrap();
            let event = bench.with(|traffic, shared| {
                traffic.handle_io(id, true, false, shared);
                traffic.parse_next(shared)
            });
            assert_eq!(event, Some(Event::Close { id, code: 1005 }));
            assert_eq!(bench.traffic.count(), 1, "our Close is not out");
            bench.with(|traffic, shared| traffic.flush(shared));
            assert_eq!(bench.traffic.count(), left, "{role:?}");
            if role == Role::Client {
                assert!(!has_ended(&mut peer), "the server's end comes first");
            }
            assert_eq!(bench.pass(CLOSE_TIMEOUT - SECOND), []);
            assert_eq!(bench.traffic.count(), left, "{role:?}");
            bench.pass(SECOND);
            assert_eq!(bench.traffic.count(), 0, "{role:?}");
        }
    }

    /// The peer of a connection that is closed gets all that was sent before, however often it has to be asked.
    #[test]
    fn what_waits_when_a_connection_is_closed_goes_out_before_the_end() {
        const LENGTH: usize = 1_000_000;
        let mut bench = Bench::new();
        let (id, mut peer) = bench.connected(Role::Server);
        bench.with(|traffic, shared| {
            let kind = FrameKind::message(true);
            traffic.send(id, kind, &vec![1; LENGTH], shared).unwrap();
            traffic.flush(shared);
        });
        peer.write_all(b"\x88\x80\0\0\0\0").unwrap();
        assert_eq!(bench.receive(id), [Event::Close { id, code: 1005 }]);
        let (mut got, mut part) = (Vec::new(), vec![0; LENGTH]);
        while got.len() < 10 + LENGTH + 2 {
            bench.with(|traffic, shared| traffic.handle_io(id, false, true, shared));
            let count = peer.read(&mut part).unwrap();
            assert!(count > 0, "{} octets", got.len());
            got.extend_from_slice(&part[..count]);
        }
        bench.with(|traffic, shared| traffic.handle_io(id, false, true, shared));
        assert!(got.ends_with(b"\x01\x88\0"), "ours comes last");
        assert_eq!(bench.traffic.count(), 0);
    }

    /// A shutdown whose time is over does not wait for a connection that lingers, and does not count it.
    #[test]
    fn who_lingers_when_the_time_is_over_goes_and_has_not_been_cut() {
        let mut bench = Bench::new();
        let (id, mut peer) = bench.connected(Role::Client);
        peer.write_all(b"\x88\0").unwrap();
        assert_eq!(bench.receive(id), [Event::Close { id, code: 1005 }]);
        assert!(!bench.with(|traffic, shared| traffic.end_after_timeout(id, shared)));
        assert_eq!(bench.traffic.count(), 0);
    }

    /// RFC 8446 section 6.1: without a close_notify a peer cannot tell an end from a cut. It comes behind the last record.
    #[test]
    fn a_session_that_ends_says_so_whatever_ends_it() {
        let ways: [fn(&mut Bench, Id); 3] = [
            |bench, id| {
                bench.with(|traffic, shared| {
                    traffic.fail(id, 1002, "text", shared);
                    traffic.linger(id, 1002, false, shared.reactor);
                    traffic.flush(shared);
                });
            },
            |bench, id| bench.with(|traffic, shared| traffic.release(id, shared.reactor)),
            |bench, _| bench.traffic.shut_down(false),
        ];
        for (way, end) in ways.iter().enumerate() {
            let Pair {
                tls,
                ours,
                mut client,
                mut theirs,
            } = Pair::new(&TLS13, 100);
            let mut bench = Bench::new();
            let (id, _peer) = bench.connected(Role::Server);
            let link = bench.traffic.links.get_mut(id).unwrap();
            link.fd = ours.into();
            link.tls = Some(Box::new(tls));
            end(&mut bench, id);
            let mut has_ended = false;
            while client.read_tls(&mut theirs).is_ok_and(|count| count > 0) {
                has_ended = client.process_new_packets().unwrap().peer_has_closed();
            }
            assert!(has_ended, "{way}");
        }
    }
}
