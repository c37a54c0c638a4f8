//! The end of a context in order: nothing new, a Close to every peer, a wait that has an end.

use std::time::{Duration, Instant};

use evws_proto::connection::State;
use evws_proto::Role;

use crate::answer::usual_response;
use crate::connect::CallError;
use crate::context::Context;
use crate::establish::desk::{Awaited, Decision, Phase};
use crate::event::{Event, Id, Queued};
use crate::link::Stage;
use crate::pending::Pending;
use crate::slots::Source;

/// A shutdown that is under way.
pub(crate) struct Shutdown {
    /// When what is left is cut; `None`: never.
    ends: Option<Instant>,
    /// How often it was asked for: so many events are due.
    calls: usize,
    /// Connections that were cut.
    cut: usize,
    /// The call is as recent as the turn of the loop: its event comes in the next one.
    fresh: bool,
}

impl Context {
    /// Stops all listeners, ends what is being established, and closes every connection with `code`
    /// and `reason` (RFC 6455 section 7.1.2). After `timeout` (`None`: never) what is left is cut.
    /// [`Event::ShutDown`] comes when there are no connections any more, one for each call; a
    /// further call can only make the time shorter. Nothing can be connected or listened at after
    /// the first.
    pub fn begin_shutdown(&mut self, timeout: Option<Duration>, code: u16, reason: &[u8]) {
        self.refuses = true;
        for id in self
            .slots
            .ids(|source| matches!(source, Source::Listener(_)))
        {
            self.stop_listening(id);
        }
        for id in self
            .slots
            .ids(|source| matches!(source, Source::Pending(_)))
        {
            self.turn_away(id);
        }
        for id in self.slots.ids(|source| matches!(source, Source::Link(_))) {
            self.send_off(id, code, reason);
        }
        // A time beyond what the clock can hold is as good as none.
        let ends = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let shutdown = self.shutdown.get_or_insert(Shutdown {
            ends,
            calls: 0,
            cut: 0,
            fresh: true,
        });
        shutdown.ends = shutdown.ends.into_iter().chain(ends).min();
        shutdown.calls += 1;
        shutdown.fresh = true;
    }

    /// # Errors
    /// A shutdown has begun: nothing else is. `call` begins the text.
    pub(crate) fn check_open(&self, call: &str) -> Result<(), CallError> {
        if self.refuses {
            let text = format!("{call}: the context has been shut down");
            return Err(CallError::Invalid(text));
        }
        Ok(())
    }

    /// Ends a connection that is being established. Whoever waits for an answer of the program gets
    /// one, whoever takes one may go on to its end, which is that of the connection, and whoever takes
    /// too long for a request is told that: no more time is left for it.
    fn turn_away(&mut self, id: Id) {
        let role = self.slots.pending(id).map(Pending::role);
        if role == Some(Role::Client) {
            return self.give_up(id, "the context is shutting down".into(), true);
        }
        let mut response = usual_response(503);
        match self.awaited(id) {
            Some(Awaited::Handshake(..)) => {
                self.decide(id, Decision::Reject(response));
            }
            Some(Awaited::Request(_)) => {
                response.headers.push(("Connection".into(), "close".into()));
                self.respond(id, response);
            }
            Some(Awaited::Lookup(_) | Awaited::Step(_)) | None => {
                let Some(pending) = self.slots.pending_mut(id) else {
                    return;
                };
                if pending.establishing.phase() != Phase::Answering {
                    pending.establishing.expire();
                    self.advance(id, false);
                }
            }
        }
    }

    fn send_off(&mut self, id: Id, code: u16, reason: &[u8]) {
        let Some(link) = self.slots.link(id) else {
            return;
        };
        match (link.stage, link.role) {
            (Stage::Open, _) if link.proto.state() == State::Open => self.close(id, code, reason),
            (Stage::Announced, Role::Client) => {
                self.give_up(id, "the context is shutting down".into(), true);
            }
            // The peer knows it as open, and the program never will.
            (Stage::Announced, Role::Server) => {
                if link.is_known_early() {
                    let text = "the context is shutting down".into();
                    self.events.push_back(Queued::ConnectFailed { id, text });
                }
                self.queue_close(id, Some(code), reason);
                self.part(id);
            }
            _ => {}
        }
    }

    /// Whether a shutdown has nothing to wait for any more.
    pub(crate) fn shutdown_is_over(&self) -> bool {
        let pending = |source: &Source| matches!(source, Source::Pending(_));
        self.shutdown.is_some() && self.links == 0 && !self.slots.any(pending)
    }

    /// Time until what is left is cut.
    pub(crate) fn until_shutdown(&self) -> Option<Duration> {
        let ends = self.shutdown.as_ref()?.ends?;
        Some(ends.saturating_duration_since(Instant::now()))
    }

    /// A new turn of the loop has begun.
    #[inline]
    pub(crate) fn ripen_shutdown(&mut self) {
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.fresh = false;
        }
    }

    /// The event of a shutdown, once everything else was told.
    #[inline]
    pub(crate) fn finish_shutdown(&mut self) -> Option<Event> {
        if self.shutdown.is_none() || !self.shutdown_is_over() {
            return None;
        }
        let shutdown = self.shutdown.as_mut().filter(|it| !it.fresh)?;
        shutdown.calls -= 1;
        let cut = shutdown.cut;
        if shutdown.calls == 0 {
            self.shutdown = None;
        }
        Some(Event::ShutDown { cut })
    }

    /// Cuts what is left when the time of a shutdown is over.
    pub(crate) fn expire_shutdown(&mut self, now: Instant) {
        let due = |shutdown: &&mut Shutdown| shutdown.ends.is_some_and(|ends| ends <= now);
        let Some(shutdown) = self.shutdown.as_mut().filter(due) else {
            return;
        };
        shutdown.ends = None;
        // What was never offered to the kernel is, once.
        self.flush();
        for id in self.slots.ids(|source| matches!(source, Source::Link(_))) {
            self.cut(id);
        }
        for id in self
            .slots
            .ids(|source| matches!(source, Source::Pending(_)))
        {
            self.give_up(id, "the context is shutting down".into(), true);
        }
    }

    /// Notes that a connection is cut because its peer did not close in time.
    pub(crate) fn count_cut(&mut self) {
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.cut += 1;
        }
    }
}
