//! Connections that are on their way: clients that connect, and what comes in at listeners, up to the
//! end of their upgrades.
//!
//! What a call has led to beside events is taken with [`Arrivals::take_arrived`]: sockets whose
//! upgrades are done go on in [`crate::traffic`].

pub mod adopt;
mod attempts;
pub mod bind;
pub mod connect;
mod establish;
pub mod listeners;
mod pending;
mod questions;
mod socket_file;
pub mod upgrade;

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;

use evws_proto::forwarded::Peer;
use evws_proto::proxy::rules::Rules;
use evws_proto::Role;

use crate::event::{Event, Id, Interest};
use crate::log::{Log, Topic};
use crate::outbox::{EventData, Subject};
use crate::reactor::Reactor;
use crate::resolver::Resolver;
use crate::shared::Shared;
use crate::tls::client::ClientConfigs;
use crate::tls::info::TlsInfo;
use crate::traffic::Upgraded;
use attempts::ConnectAttempt;
use establish::mailbox::Awaited;
use establish::race::AttemptState;
use establish::rejected::Rejected;
use establish::ConnectFailure;
use listeners::{Acceptor, Listener, RejectCounts};
use pending::Pending;

pub use establish::mailbox::Decision;
pub use establish::policy::ProxyHeads;
pub use establish::rejected::{unavailable, SHUTTING_DOWN};

/// A source before there is a connection.
enum Arrival {
    /// The answers of the resolver.
    Resolver,
    /// A listener, which has no descriptor: its sockets are acceptors.
    Listener(Box<Listener>),
    /// A listening socket.
    Acceptor(Box<Acceptor>),
    /// An attempt to connect, one of several for a connection.
    Attempt(Box<ConnectAttempt>),
    /// A connection on its way to being established.
    Pending(Box<Pending>),
    /// A connection that came to nothing before the program knew it as open: all that is left to do
    /// is to tell so.
    GivenUp {
        /// The program has asked for it.
        on_demand: bool,
    },
}

/// What has become of a connection that was on its way.
pub enum Arrived {
    /// Its upgrade is done.
    Upgraded(Upgraded),
    /// It was answered without an upgrade.
    Answered {
        /// Its socket, whose stream we have ended.
        fd: OwnedFd,
        /// Others have descriptors of it.
        is_shared: bool,
    },
}

/// The connections of a context that are on their way, and its listeners.
#[derive(Default)]
pub struct Arrivals {
    sources: BTreeMap<Id, Arrival>,
    arrived: Vec<(Id, Arrived)>,
    /// The TLS configurations of clients.
    client_configs: ClientConfigs,
    /// Which proxy a client goes through.
    proxies: Rules,
    resolver: Option<(Id, Resolver)>,
    /// Shared by the TLS handshakes that are under way.
    handshaking: Rc<()>,
    /// How many listeners are not stopped.
    listening: usize,
    /// The clients of all listeners that were rejected.
    rejected: RejectCounts,
    /// Nothing new is begun any more.
    is_refusing: bool,
    log: Log,
}

impl Arrivals {
    /// Arrivals without sources, which write to this log.
    pub fn new(log: Log) -> Self {
        Arrivals {
            log,
            ..Arrivals::default()
        }
    }

    // ---- sources ----

    fn insert(&mut self, source: Arrival, reactor: &mut Reactor) -> Id {
        let id = reactor.claim();
        if let Arrival::Pending(pending) = &source {
            pending.establishing.mailbox.set_id(id);
        }
        self.sources.insert(id, source);
        id
    }

    /// Ends a source, which has this descriptor.
    fn release(&mut self, id: Id, fd: Option<OwnedFd>, reactor: &mut Reactor) {
        self.sources.remove(&id);
        reactor.release(id, fd);
    }

    fn pending(&self, id: Id) -> Option<&Pending> {
        match self.sources.get(&id)? {
            Arrival::Pending(pending) => Some(pending),
            _ => None,
        }
    }

    fn pending_mut(&mut self, id: Id) -> Option<&mut Pending> {
        match self.sources.get_mut(&id)? {
            Arrival::Pending(pending) => Some(pending),
            _ => None,
        }
    }

    fn listener_mut(&mut self, id: Id) -> Option<&mut Listener> {
        match self.sources.get_mut(&id)? {
            Arrival::Listener(listener) => Some(listener),
            _ => None,
        }
    }

    fn ids(&self, is_one: impl Fn(&Arrival) -> bool) -> Vec<Id> {
        let found = self.sources.iter().filter(|(_, source)| is_one(source));
        found.map(|(&id, _)| id).collect()
    }

    /// Takes what has become of one connection after the other.
    #[inline]
    pub fn take_arrived(&mut self) -> Option<(Id, Arrived)> {
        self.arrived.pop()
    }

    /// A connection is given up that its program does not know as open: the event that says so has
    /// yet to be delivered.
    pub fn add_given_up(&mut self, id: Id, on_demand: bool) {
        self.sources.insert(id, Arrival::GivenUp { on_demand });
    }

    /// The program is told of a connection that was given up.
    pub fn remove_given_up(&mut self, id: Id, reactor: &mut Reactor) {
        // The rest of an adopted connection may linger, or be gone already.
        if let Some(Arrival::GivenUp { .. }) = self.sources.get(&id) {
            self.release(id, None, reactor);
        }
    }

    /// Ends everything at once and without events. `silent`: this is a forked child, and the
    /// connections are its parent's.
    pub fn shut_down(&mut self, silent: bool) {
        for source in std::mem::take(&mut self.sources).into_values() {
            match source {
                Arrival::Pending(pending) if !silent => pending.shut_down_if_shared(),
                _ => {}
            }
        }
    }

    // ---- questions ----

    /// Whether connections are on their way.
    pub fn has_pending(&self) -> bool {
        let mut sources = self.sources.values();
        sources.any(|source| matches!(source, Arrival::Pending(_)))
    }

    /// The connections that are on their way.
    pub fn pending_ids(&self) -> Vec<Id> {
        self.ids(|source| matches!(source, Arrival::Pending(_)))
    }

    /// The listeners, stopped ones included.
    pub fn listener_ids(&self) -> Vec<Id> {
        self.ids(|source| matches!(source, Arrival::Listener(_)))
    }

    /// Whether there is a listener that is not stopped.
    pub fn is_listening(&self) -> bool {
        self.listening > 0
    }

    /// Whether a connection is on its way.
    pub fn is_pending(&self, id: Id) -> bool {
        self.pending(id).is_some()
    }

    /// Whether it was asked for that a connection ends which has not been told as open; `None`: it is
    /// none of these.
    pub fn is_ending(&self, id: Id) -> Option<bool> {
        match self.sources.get(&id)? {
            Arrival::Pending(_) => Some(false),
            Arrival::GivenUp { on_demand } => Some(*on_demand),
            _ => None,
        }
    }

    /// What a connection waits for.
    fn awaited(&self, id: Id) -> Option<&Awaited> {
        self.pending(id)?.establishing.awaited.as_ref()
    }

    /// Whether the program is asked about a connection.
    fn asked(&self, id: Id) -> Option<&Pending> {
        match self.awaited(id)? {
            Awaited::Handshake(..) | Awaited::Request(_) => self.pending(id),
            Awaited::Lookup(_) | Awaited::Step(_) => None,
        }
    }

    /// Who the client is whose request waits for an answer.
    pub fn peer(&self, id: Id) -> Option<Peer> {
        Some(self.asked(id)?.establishing.peer())
    }

    /// What TLS has agreed on with a client whose request waits for an answer.
    pub fn tls(&self, id: Id) -> Option<TlsInfo<'_>> {
        Some(self.asked(id)?.establishing.mailbox.info()?.info())
    }

    /// The descriptor of a source, and what it is to be watched for; `None` for what has none.
    pub fn interest(&self, id: Id) -> Option<(RawFd, Option<Interest>)> {
        Some(match self.sources.get(&id)? {
            Arrival::Attempt(attempt) => (attempt.raw_fd(), Some(attempt.interest())),
            Arrival::Acceptor(acceptor) => (acceptor.fd.as_raw_fd(), Some(acceptor.interest())),
            Arrival::Pending(pending) => (
                pending.establishing.socket.raw_fd()?,
                Some(pending.establishing.socket.wants()),
            ),
            Arrival::Resolver => {
                let (_, resolver) = self.resolver.as_ref()?;
                // The loop stays alive for the names that are being looked up, not for this.
                let interest = resolver.is_busy().then_some(Interest::READ);
                (resolver.fd().as_raw_fd(), interest)
            }
            Arrival::Listener(_) | Arrival::GivenUp { .. } => return None,
        })
    }

    // ---- the loop ----

    /// A descriptor is ready. Readiness of a source that is gone is ignored.
    pub fn handle_io(&mut self, token: Id, shared: &mut Shared<'_>) {
        match self.sources.get(&token) {
            Some(Arrival::Pending(_)) => self.advance(token, true, shared),
            Some(Arrival::Attempt(_)) => self.advance_attempt(token, AttemptState::Ready, shared),
            Some(Arrival::Acceptor(_)) => self.accept_waiting(token, shared),
            Some(Arrival::Resolver) => self.take_answers(shared),
            Some(Arrival::Listener(_) | Arrival::GivenUp { .. }) | None => {}
        }
    }

    // ---- the end ----

    /// A shutdown has begun: nothing new is.
    pub fn refuse(&mut self) {
        self.is_refusing = true;
    }

    /// Ends a connection that is on its way: its program is told why, unless it came in at a listener.
    pub fn give_up(
        &mut self,
        id: Id,
        failure: impl Into<ConnectFailure>,
        on_demand: bool,
        shared: &mut Shared<'_>,
    ) {
        let ConnectFailure { text, refusal } = failure.into();
        self.cancel_question(id, shared.reactor);
        self.drop_attempts(id, shared.reactor);
        shared.reactor.stop_all(id);
        if self.pending(id).is_none() {
            return;
        }
        let Some(Arrival::Pending(pending)) = self.sources.remove(&id) else {
            return;
        };
        self.log
            .write(Topic::Error, id, format_args!("given up: {text}"));
        pending.shut_down_if_shared();
        pending.report_end(id, shared);
        if pending.source.listener().is_some() {
            let rejected = Rejected::given_up(&text);
            self.count_rejected(pending.source.listener(), rejected.cause);
            pending.report_rejected(id, rejected, shared);
        }
        let fd = pending.establishing.socket.take();
        match pending.source.listener() {
            Some(listener) => {
                shared.reactor.release(id, fd);
                self.leave_listener(Some(listener), shared);
            }
            None => {
                self.sources.insert(id, Arrival::GivenUp { on_demand });
                if let Some(fd) = fd {
                    shared.reactor.retire(id, fd);
                }
                let mut data = EventData {
                    payload: text.into_bytes(),
                    ..EventData::default()
                };
                if let Some(mut refusal) = refusal {
                    data.headers = std::mem::take(&mut refusal.headers);
                    let status = refusal.status;
                    data.subject = Subject::Refusal(status, refusal.into_body().into_boxed_slice());
                }
                shared.outbox.push_with(Event::ConnectFailed { id }, data);
            }
        }
    }

    /// Ends a connection that is on its way because a shutdown has begun. A client that waits for the
    /// program's answer gets a 503; one that is taking a response may take all of it, and then the
    /// connection ends; one whose request is not complete is answered with 503.
    pub fn end_for_shutdown(&mut self, id: Id, shared: &mut Shared<'_>) {
        if self.pending(id).map(Pending::role) == Some(Role::Client) {
            return self.give_up(id, SHUTTING_DOWN, true, shared);
        }
        match self.awaited(id) {
            Some(Awaited::Handshake(..)) => {
                self.decide(id, Decision::Unavailable, shared);
            }
            Some(Awaited::Request(_)) => {
                self.respond(id, unavailable(), shared);
            }
            Some(Awaited::Lookup(_) | Awaited::Step(_)) | None => {
                if self
                    .pending_mut(id)
                    .is_some_and(Pending::shut_down_unless_answering)
                {
                    self.advance(id, false, shared);
                }
            }
        }
    }
}
