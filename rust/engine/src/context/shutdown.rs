//! The end of a context in order: nothing new, a Close to every peer, a wait that has an end.

use std::time::Duration;

use evws_proto::Role;

use super::Context;
use crate::arrivals::SHUTTING_DOWN;
use crate::event::{Event, Id};
use crate::reactor::{Timer, CONTEXT};
use crate::traffic::Life;

/// A shutdown that is under way.
pub struct Shutdown {
    /// How often it was asked for: so many events are due.
    calls: usize,
    /// Connections whose peers did not close in time.
    timed_out: usize,
    /// The call is as recent as the turn of the loop: its event comes in the next one.
    is_fresh: bool,
}

impl Context {
    /// Stops all listeners, ends what is being established, and closes every connection with `code`
    /// and `reason` (RFC 6455 section 7.1.2). After `timeout` (`None`: never) what is left is cut.
    /// [`Event::ShutDown`] comes when there are no connections any more, one for each call; a
    /// further call can only make the time shorter. Nothing can be connected or listened at after
    /// the first.
    pub fn begin_shutdown(&mut self, timeout: Option<Duration>, code: u16, reason: &[u8]) {
        self.reactor.clock().begin_turn();
        self.arrivals.refuse();
        for id in self.arrivals.listener_ids() {
            self.stop_listening(id);
        }
        for id in self.arrivals.pending_ids() {
            self.arrivals(|arrivals, shared| arrivals.end_for_shutdown(id, shared));
        }
        for id in self.traffic.ids() {
            self.close_for_shutdown(id, code, reason);
        }
        let left = self.reactor.remaining(CONTEXT, Timer::Shutdown);
        if let Some(soonest) = timeout.into_iter().chain(left).min() {
            self.reactor.start(CONTEXT, Timer::Shutdown, Some(soonest));
        }
        let shutdown = self.shutdown.get_or_insert(Shutdown {
            calls: 0,
            timed_out: 0,
            is_fresh: true,
        });
        shutdown.calls += 1;
        shutdown.is_fresh = true;
    }

    fn close_for_shutdown(&mut self, id: Id, code: u16, reason: &[u8]) {
        let (life, role) = (self.traffic.life(id), self.traffic.role(id));
        let reactor = &mut self.reactor;
        match (life, role) {
            (Some(Life::Open), _) => self.traffic.go_away(id, code, reason, reactor),
            (Some(Life::Announced), Some(Role::Client)) => {
                self.give_up_announced(id, SHUTTING_DOWN)
            }
            // The peer knows it as open, and the program never will.
            (Some(Life::Announced), _) => {
                if self.traffic.is_known_before_open(id) {
                    self.outbox
                        .push_text(Event::ConnectFailed { id }, SHUTTING_DOWN);
                }
                self.traffic.close_before_open(id, code, reason, reactor);
            }
            _ => {}
        }
    }

    /// Whether a shutdown has nothing to wait for any more.
    pub(super) fn shutdown_is_over(&self) -> bool {
        self.shutdown.is_some() && self.traffic.count() == 0 && !self.arrivals.has_pending()
    }

    /// A new turn of the loop has begun.
    #[inline]
    pub(super) fn begin_turn_of_shutdown(&mut self) {
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.is_fresh = false;
        }
    }

    /// The event of a shutdown, once everything else was told.
    #[inline]
    pub(super) fn finish_shutdown(&mut self) -> Option<Event> {
        if self.shutdown.is_none() || !self.shutdown_is_over() {
            return None;
        }
        let shutdown = self.shutdown.as_mut().filter(|it| !it.is_fresh)?;
        shutdown.calls -= 1;
        let timed_out = shutdown.timed_out;
        if shutdown.calls == 0 {
            self.shutdown = None;
            self.reactor.stop(CONTEXT, Timer::Shutdown);
        }
        Some(Event::ShutDown { timed_out })
    }

    /// The time of a shutdown is over: ends the connections that are left.
    pub(super) fn expire_shutdown(&mut self) {
        // Frames that were never offered to the kernel are offered once.
        self.flush();
        for id in self.traffic.ids() {
            if self.traffic(|traffic, shared| traffic.end_after_timeout(id, shared)) {
                self.count_timed_out();
            }
        }
        for id in self.arrivals.pending_ids() {
            self.arrivals(|arrivals, shared| arrivals.give_up(id, SHUTTING_DOWN, true, shared));
        }
    }

    /// Counts a connection that is ended because its peer did not close in time.
    pub(super) fn count_timed_out(&mut self) {
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.timed_out += 1;
        }
    }
}
