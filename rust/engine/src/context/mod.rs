//! A context: all sources of one event loop, and the calls that drive them.
//!
//! The caller reports readiness (`handle_io`, `handle_timeout`, `handle_prepare`) and asks for events
//! until there are none, has what they have queued written (`flush`) and asks again, then for watches
//! until there are none, then for the deadline. Nothing here calls back, so between two events the
//! caller may do anything.
//!
//! This is the only place that knows all parts. Each owns its fields; what one of them leads to in
//! another goes through here.

#[cfg(test)]
mod arrival_tests;
mod calls;
#[cfg(test)]
#[path = "../../tests/common/mod.rs"]
mod common;
mod fanout;
mod shutdown;
#[cfg(test)]
mod time_tests;
#[cfg(test)]
mod tls_tests;

use std::time::Duration;

use evws_proto::handshake::Headers;
use evws_proto::http::HttpRequest;

use crate::arrivals::{Arrivals, Arrived};
use crate::event::{Event, Id, Watch};
use crate::log::{Line, Log};
use crate::outbox::{Outbox, Queued, Subject};
use crate::reactor::{Reactor, Timer};
use crate::shared::Shared;
use crate::traffic::{Expired, Life, Traffic};
use shutdown::Shutdown;

pub use calls::{usual_response, ConnectionState};
pub use fanout::FanoutMessage;

/// All sources of one event loop.
pub struct Context {
    reactor: Reactor,
    outbox: Outbox,
    traffic: Traffic,
    arrivals: Arrivals,
    /// The shutdown that is under way.
    shutdown: Option<Shutdown>,
    /// How many events were polled.
    events: u64,
    log: Log,
}

impl Default for Context {
    fn default() -> Self {
        Self::new()
    }
}

impl Context {
    /// A context without sources. It holds no descriptor, no buffer and no thread.
    pub fn new() -> Self {
        let log = Log::default();
        Context {
            reactor: Reactor::new(log.clone()),
            outbox: Outbox::default(),
            traffic: Traffic::new(log.clone()),
            arrivals: Arrivals::new(log.clone()),
            shutdown: None,
            events: 0,
            log,
        }
    }

    /// Calls the traffic with the parts that it works with.
    #[inline]
    fn traffic<T>(&mut self, act: impl FnOnce(&mut Traffic, &mut Shared<'_>) -> T) -> T {
        let shared = &mut Shared {
            reactor: &mut self.reactor,
            outbox: &mut self.outbox,
        };
        act(&mut self.traffic, shared)
    }

    /// Calls the arrivals, and hands connections that have arrived to the traffic.
    fn arrivals<T>(&mut self, act: impl FnOnce(&mut Arrivals, &mut Shared<'_>) -> T) -> T {
        let shared = &mut Shared {
            reactor: &mut self.reactor,
            outbox: &mut self.outbox,
        };
        let result = act(&mut self.arrivals, shared);
        while let Some((id, arrived)) = self.arrivals.take_arrived() {
            match arrived {
                Arrived::Upgraded(upgraded) => self.traffic.add(id, upgraded, &mut self.reactor),
                Arrived::Answered { fd, is_shared } => {
                    let reactor = &mut self.reactor;
                    self.traffic.add_answered(id, fd, is_shared, reactor);
                }
            }
        }
        result
    }

    // ---- readiness and time ----

    /// A descriptor is ready. Readiness of a source that is gone is ignored.
    #[inline]
    pub fn handle_io(&mut self, token: Id, readable: bool, writable: bool) {
        self.reactor.clock().begin_turn();
        self.traffic.begin();
        if self.traffic.life(token).is_some() {
            self.traffic(|traffic, shared| traffic.handle_io(token, readable, writable, shared));
        } else {
            self.arrivals(|arrivals, shared| arrivals.handle_io(token, shared));
        }
    }

    /// A deadline has passed, or work was left over from an earlier turn of the loop.
    pub fn handle_timeout(&mut self) {
        self.handle_prepare();
        while let Some((id, timer)) = self.reactor.pop_due() {
            match timer {
                Timer::IdleCodecs => self.traffic.release_idle_codecs(&mut self.reactor),
                Timer::History => self.traffic.expire_history(&mut self.reactor),
                Timer::Shutdown => self.expire_shutdown(),
                Timer::AcceptPause => self.arrivals.end_accept_pause(id, &mut self.reactor),
                Timer::AttemptDelay => {
                    self.arrivals(|arrivals, shared| arrivals.expire_attempt_delay(id, shared));
                }
                Timer::Handshake => {
                    self.arrivals(|arrivals, shared| arrivals.expire_handshake(id, shared));
                }
                Timer::Closing
                | Timer::ClosingLimit
                | Timer::Linger
                | Timer::Pongs
                | Timer::Rate
                | Timer::Keepalive
                | Timer::Idle
                | Timer::Lifetime => {
                    let expired = self.traffic(|traffic, shared| traffic.expire(id, timer, shared));
                    if expired == Expired::TimedOut {
                        self.count_timed_out();
                    }
                }
            }
        }
    }

    /// The loop is about to block: what was called outside of its callbacks is carried out.
    pub fn handle_prepare(&mut self) {
        self.reactor.clock().begin_turn();
        self.begin_turn_of_shutdown();
        self.traffic.begin_turn();
    }

    /// Time until [`handle_timeout`](Self::handle_timeout) must be called: zero if there is work
    /// that waits for the next turn of the loop, `None` if there is nothing to wait for.
    pub fn poll_deadline(&self) -> Option<Duration> {
        if !self.outbox.is_empty() || self.traffic.is_busy() || self.shutdown_is_over() {
            return Some(Duration::ZERO);
        }
        self.reactor.until_due()
    }

    // ---- events ----

    /// The next event, until there are none. Queued events come first, then what was read.
    #[inline]
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.next_event();
        self.events += u64::from(event.is_some());
        event
    }

    #[inline]
    fn next_event(&mut self) -> Option<Event> {
        self.outbox.clear_data();
        loop {
            if let Some(queued) = self.outbox.pop() {
                if let Some(event) = self.deliver(queued) {
                    return Some(event);
                }
            } else if self.traffic.has_input() {
                let event = self.traffic(|traffic, shared| traffic.parse_next(shared));
                if event.is_some() {
                    return event;
                }
            } else {
                return self.finish_shutdown();
            }
        }
    }

    /// Hands a queued event to the caller, unless its time has passed.
    fn deliver(&mut self, queued: Queued) -> Option<Event> {
        let Queued { mut event, data } = queued;
        let reactor = &mut self.reactor;
        let is_true = match event {
            Event::Handshake { id, .. } | Event::Request { id, .. } => self.arrivals.is_pending(id),
            Event::Connect { id, listener } if !self.traffic.open(id, reactor) => {
                return listener.map(|_| Event::HandshakeEnded { id });
            }
            Event::Drain { id } => self.traffic.is_drained(id),
            Event::Error { id } | Event::RateLimited { id, .. } => self.traffic.life(id).is_some(),
            Event::Dropped { id, .. } => {
                let messages = self.traffic.take_untold(id);
                event = Event::Dropped { id, messages };
                messages > 0
            }
            Event::Close { id, code } => self.traffic.linger(id, code, false, reactor),
            Event::ConnectFailed { id } => {
                self.arrivals.remove_given_up(id, reactor);
                true
            }
            Event::ListenerEnded { listener } => {
                self.arrivals.forget_listener(listener, reactor);
                self.traffic.forget_listener(listener);
                true
            }
            Event::Connect { .. }
            | Event::Rejected { .. }
            | Event::HandshakeEnded { .. }
            | Event::Message { .. }
            | Event::Pong { .. }
            | Event::TopicUsed { .. }
            | Event::ShutDown { .. } => true,
        };
        is_true.then(|| {
            *self.outbox.data_mut() = data;
            event
        })
    }

    /// The payload of the event polled last: a message, a reason, or a text in UTF-8.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        match self.outbox.received() {
            Some(range) => self.traffic.received(range.clone()),
            None => &self.outbox.data().payload,
        }
    }

    /// Gives that payload away if it is a large message with memory of its own. For a small one a
    /// copy is cheaper than what its memory would cost the new owner.
    pub fn take_payload(&mut self) -> Option<Vec<u8>> {
        const WORTH_IT: usize = 16 * 1024;
        let is_owned = self.outbox.received().is_none();
        let data = self.outbox.data_mut();
        (is_owned && data.payload.len() >= WORTH_IT).then(|| std::mem::take(&mut data.payload))
    }

    /// The headers of the event polled last.
    pub fn headers(&self) -> &Headers {
        let data = self.outbox.data();
        match &data.subject {
            Subject::Request(request, _) => &request.headers,
            _ => &data.headers,
        }
    }

    /// The request that the event polled last is about, unless that asks for an upgrade, and
    /// whether it came by TLS.
    pub fn request(&self) -> Option<(&HttpRequest, bool)> {
        match &self.outbox.data().subject {
            Subject::Request(request, secure) => Some((request, *secure)),
            _ => None,
        }
    }

    /// The response that has refused a client its upgrade, of the event polled last: its status, and as much of its body as
    /// was read.
    pub fn refusal(&self) -> Option<(u16, &[u8])> {
        match &self.outbox.data().subject {
            Subject::Refusal(status, body) => Some((*status, body)),
            _ => None,
        }
    }

    // ---- writing and watching ----

    /// Writes what was queued, as far as the kernel takes it. Once a turn: a program that sends from
    /// `on_drain` would otherwise keep the loop to itself, and pile up in the kernel what no cache holds.
    /// What it leads to are further events.
    #[inline]
    pub fn flush(&mut self) {
        self.traffic(|traffic, shared| traffic.flush(shared));
    }

    /// The next change of what is to be watched, until there are none.
    pub fn poll_watch(&mut self) -> Option<Watch> {
        if let Some(watch) = self.reactor.poll_departure() {
            return Some(watch);
        }
        while let Some(id) = self.reactor.poll_touched() {
            let connection = self.traffic.interest(id);
            let (fd, interest) = match connection {
                Some((fd, interest)) => (fd, Some(interest)),
                None => match self.arrivals.interest(id) {
                    Some(interest) => interest,
                    None => continue,
                },
            };
            if let Some(watch) = self.reactor.compare(id, fd, interest) {
                return Some(watch);
            }
        }
        if !self.arrivals.is_listening() {
            self.traffic.release_memory();
        }
        None
    }

    // ---- the log ----

    /// Turns the log on or off.
    pub fn set_log(&mut self, is_on: bool) {
        self.log.set(is_on);
    }

    /// Takes the oldest line of the log.
    pub fn poll_log(&mut self) -> Option<Line> {
        self.log.take()
    }

    // ---- the end ----

    /// Ends a connection at once, whatever its state: what is queued is thrown away, and the TCP
    /// connection is reset. The event that says so, [`Event::ConnectFailed`] or [`Event::Close`] with
    /// 1006, is not made again for one that has ended already.
    pub fn abort(&mut self, id: Id) {
        self.reactor.clock().begin_turn();
        self.traffic.settle(&self.reactor);
        match self.traffic.life(id) {
            Some(Life::Announced) => self.give_up_announced(id, "aborted"),
            Some(Life::Lingering { .. }) => {}
            Some(_) => self.traffic(|traffic, shared| traffic.reset(id, shared)),
            None => self.arrivals(|arrivals, shared| arrivals.give_up(id, "aborted", true, shared)),
        }
    }

    /// Ends a connection that the program has yet to be told of: it is told `text` instead, unless
    /// the connection came in at a listener.
    fn give_up_announced(&mut self, id: Id, text: &str) {
        let Some((fd, is_known)) = self.traffic.remove_announced(id) else {
            return;
        };
        self.reactor.stop_all(id);
        if is_known {
            self.arrivals.add_given_up(id, true);
            self.reactor.retire(id, fd);
            self.outbox.push_text(Event::ConnectFailed { id }, text);
        } else {
            self.reactor.release(id, Some(fd));
        }
    }

    /// Ends everything at once and without events. Queued bytes are offered to the kernel, unless
    /// `silent`: then this is a forked child, and the connections are its parent's.
    pub fn shut_down(&mut self, silent: bool) {
        if !silent {
            self.traffic.settle(&self.reactor);
        }
        self.traffic.shut_down(silent);
        self.arrivals.shut_down(silent);
        *self = Context::new();
    }
}
