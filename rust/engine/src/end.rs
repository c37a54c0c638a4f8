//! The end of an established connection: failed, closed, cut or timed out, and what is left of it.

use std::os::fd::AsFd;
use std::time::Instant;

use evws_proto::close;

use crate::context::Context;
use crate::event::{Id, Queued};
use crate::link::{Stage, CLOSING_LIMIT, CLOSING_TIMEOUT, LINGER_TIMEOUT, PONG_BACKLOG};
use crate::slots::Source;
use crate::sys;

impl Context {
    /// The peer's stream ended without a Close frame (RFC 6455 section 7.1.5: code 1006).
    pub(crate) fn end_of_stream(&mut self, id: Id) {
        let Some(link) = self.slots.link_mut(id) else {
            return;
        };
        let failure = link.tls.as_mut().and_then(|tls| tls.take_failure());
        if let (Some(why), Stage::Open | Stage::Announced) = (failure, link.stage) {
            let text = format!("TLS: {why}").into();
            self.events.push_back(Queued::Error { id, text });
        }
        self.end(id, 1006);
    }

    /// Ends a connection towards the program; nothing more is read from it.
    pub(crate) fn end(&mut self, id: Id, code: u16) {
        let Some(link) = self.slots.link_mut(id) else {
            return;
        };
        if !matches!(link.stage, Stage::Open | Stage::Announced) {
            return;
        }
        link.stage = Stage::Ended;
        if code == 1006 {
            link.write_dead = true;
        }
        self.events.push_back(Queued::Close { id, code });
        self.mark_changed(id);
    }

    /// Fails a connection (RFC 6455 section 7.1.7): the peer gets the code, the program the text.
    pub(crate) fn fail(&mut self, id: Id, code: u16, text: &str) {
        self.queue_close(id, Some(code), close::reason_for(text).as_bytes());
        self.current.owned = text.into();
        self.end(id, code);
    }

    /// The program is told that a connection is closed; its last bytes may still be on their way.
    pub(crate) fn part(&mut self, id: Id) {
        let Some(link) = self.slots.link_mut(id) else {
            return;
        };
        link.stage = Stage::Lingering;
        link.rest = Vec::new();
        link.direct = 0;
        link.protocol = None;
        link.paused = false;
        self.slots.set_deadline(id, Some(LINGER_TIMEOUT));
        self.mark_changed(id);
        self.finish_writing(id);
    }

    /// A connection that is being closed has made progress: what we `sent` was taken, or bytes came. A
    /// peer in the midst of a long message is waited for, but one that goes on sending and never closes
    /// not for ever.
    pub(crate) fn extend_closing(&mut self, id: Id, sent: bool) {
        let now = Instant::now();
        let Some(link) = self.slots.link_mut(id) else {
            return;
        };
        if sent || link.closing_ends.is_none() {
            link.closing_ends = Some(now + CLOSING_LIMIT);
        }
        let left = link
            .closing_ends
            .map_or(CLOSING_LIMIT, |ends| ends.saturating_duration_since(now));
        self.slots.set_deadline(id, Some(left.min(CLOSING_TIMEOUT)));
    }

    /// Ends a connection whose peer has had its time. What the kernel has goes on its way.
    pub(crate) fn cut(&mut self, id: Id) {
        match self.slots.link(id).map(|link| link.stage) {
            Some(Stage::Lingering) => self.release_link(id),
            Some(Stage::Open) => {
                self.count_cut();
                self.end(id, 1006);
            }
            Some(Stage::Announced | Stage::Ended) | None => {}
        }
    }

    /// Ends a connection at once, whatever its state: what is queued is thrown away, and the TCP
    /// connection is reset. The event that says so, [`Event::ConnectFailed`](crate::Event) or
    /// [`Event::Close`](crate::Event) with 1006, is not made again for one that has ended already.
    pub fn abort(&mut self, id: Id) {
        match self.slots.get(id).map(|slot| &slot.source) {
            Some(Source::Pending(_)) => self.give_up(id, "aborted".into(), true),
            Some(Source::Link(link)) => match link.stage {
                Stage::Announced => self.give_up(id, "aborted".into(), true),
                Stage::Open | Stage::Ended => self.reset(id),
                Stage::Lingering => {}
            },
            _ => {}
        }
    }

    fn reset(&mut self, id: Id) {
        let Some(link) = self.slots.link_mut(id) else {
            return;
        };
        sys::reset_on_close(link.fd.as_fd());
        link.write_dead = true;
        link.queue.clear(&mut self.pool);
        self.end(id, 1006);
    }

    /// Ends a connection that the program does not know as open: it is told `text`, unless the
    /// connection came in at a listener.
    pub(crate) fn give_up(&mut self, id: Id, text: String, on_demand: bool) {
        self.slots.set_deadline(id, None);
        self.forget_question(id);
        self.drop_attempts(id);
        let Some(slot) = self.slots.get_mut(id) else {
            return;
        };
        let over = std::mem::replace(&mut slot.source, Source::GivenUp { on_demand });
        let (fd, listener, known) = match over {
            Source::Pending(pending) => {
                pending.end_shared();
                let listener = pending.origin.listener();
                let accepted = pending.establishing.accepted;
                let fd = pending.establishing.socket.take();
                self.leave_accepted(id, listener, accepted);
                (fd, listener, listener.is_none())
            }
            Source::Link(mut link) => {
                let known = link.is_known_early();
                link.end_shared();
                link.queue.clear(&mut self.pool);
                self.forget_link();
                (Some(link.fd), None, known)
            }
            other => {
                slot.source = other;
                return;
            }
        };
        if known {
            if let Some(fd) = fd {
                self.retire(id, fd);
            }
            self.events.push_back(Queued::ConnectFailed { id, text });
        } else {
            self.release(id, fd);
        }
        self.leave_listener(listener);
    }

    /// A deadline of an established connection has passed.
    pub(crate) fn expire_link(&mut self, id: Id) {
        let Some(link) = self.slots.link(id) else {
            return;
        };
        if link.stage == Stage::Lingering {
            self.release_link(id);
        } else if link.is_closing() {
            self.cut(id);
        } else if link.pong_backlog > PONG_BACKLOG {
            self.queue_close(id, Some(1008), b"Pings are sent, and the Pongs not read");
            let text = "the peer sends Pings and does not read the Pongs".into();
            self.events.push_back(Queued::Error { id, text });
            self.end(id, 1008);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use evws_proto::connection::Config;
    use evws_proto::Role;

    use super::*;
    use crate::event::Event;
    use crate::link::Link;

    /// An open connection of a server, and its peer.
    fn connected(context: &mut Context) -> (Id, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let config = Config {
            role: Role::Server,
            max_message_size: 0,
            validate_utf8: true,
        };
        let link = Link::new(ours.into(), &config, Stage::Open);
        context.links += 1;
        (context.slots.insert(Source::Link(Box::new(link))), theirs)
    }

    fn left(context: &Context) -> Duration {
        context.slots.until_next_deadline().unwrap()
    }

    fn run_dry(context: &mut Context) -> Vec<Event> {
        let events = std::iter::from_fn(|| context.poll_event()).collect();
        while context.poll_watch().is_some() {}
        events
    }

    /// A peer in the midst of a long message was cut ten seconds after our Close, however fast it sent: only what we
    /// sent counted as progress. What it sends counts too, but not for ever.
    #[test]
    fn what_a_peer_sends_makes_it_waited_for_up_to_a_limit() {
        let mut context = Context::new();
        let (id, mut peer) = connected(&mut context);
        context.close(id, 1000, b"");
        run_dry(&mut context);
        assert!(left(&context) > CLOSING_TIMEOUT / 2);

        // The time is nearly over when a part of a message comes.
        context.slots.set_deadline(id, Some(Duration::ZERO));
        peer.write_all(&[0x82, 0xFF]).unwrap();
        context.handle_io(id, true, false);
        assert!(run_dry(&mut context).is_empty());
        assert!(left(&context) > CLOSING_TIMEOUT / 2);

        // So does the next part, which is too late.
        let link = context.slots.link_mut(id).unwrap();
        link.closing_ends = Some(Instant::now());
        peer.write_all(&[0; 7]).unwrap();
        context.handle_io(id, true, false);
        assert_eq!(left(&context), Duration::ZERO);
        context.handle_timeout();
        assert_eq!(run_dry(&mut context), [Event::Close { id, code: 1006 }]);
    }

    /// As long as the peer takes what is queued, there is no such limit.
    #[test]
    fn what_a_peer_takes_begins_the_limit_anew() {
        let mut context = Context::new();
        let (id, _peer) = connected(&mut context);
        context.close(id, 1000, b"");
        let link = context.slots.link_mut(id).unwrap();
        link.closing_ends = Some(Instant::now());
        run_dry(&mut context);
        let ends = context.slots.link(id).unwrap().closing_ends.unwrap();
        assert!(ends > Instant::now() + CLOSING_LIMIT / 2);
        assert!(left(&context) > CLOSING_TIMEOUT / 2);
    }

    /// Its upgrade is done, and another connection's callback ends it before its own was called.
    #[test]
    fn a_connection_that_the_program_does_not_know_yet_is_given_up() {
        for (role, expected) in [(Role::Client, 1), (Role::Server, 0)] {
            let mut context = Context::new();
            let (id, _peer) = connected(&mut context);
            let link = context.slots.link_mut(id).unwrap();
            (link.stage, link.role) = (Stage::Announced, role);
            let headers = Vec::new();
            context.events.push_back(Queued::Connect {
                id,
                headers,
                listener: None,
            });
            context.abort(id);
            context.abort(id);
            let events = run_dry(&mut context);
            assert_eq!(events, vec![Event::ConnectFailed { id }; expected]);
            assert!(context.slots.get(id).is_none(), "its slot is free");
            assert_eq!(context.links, 0);
        }
    }
}
