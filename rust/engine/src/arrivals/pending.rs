//! Connections on their way: the engine's side of the futures of [`super::establish`]. What they ask is in `questions.rs`.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use evws_proto::Role;

use super::establish::mailbox::{Mailbox, Phase};
use super::establish::policy::Policy;
use super::establish::rejected::Rejected;
use super::establish::server::AlreadyRead;
use super::establish::stream::{Socket, Stream};
use super::establish::{server, EstablishError, Established, Establishing};
use super::{Arrival, Arrivals, Arrived};
use crate::event::{Event, Id, Settings};
use crate::log::Topic;
use crate::outbox::{EventData, Subject};
use crate::reactor::{Reactor, Timer};
use crate::shared::Shared;
use crate::sys;
use crate::traffic::Upgraded;

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionSource {
    /// The program connects.
    Client,
    /// A listener has accepted it.
    Listener(Id),
    /// The program had its socket before, and may have it still.
    Adopted,
}

impl ConnectionSource {
    /// Where it came in.
    pub fn listener(self) -> Option<Id> {
        match self {
            ConnectionSource::Listener(id) => Some(id),
            ConnectionSource::Client | ConnectionSource::Adopted => None,
        }
    }
}

/// A connection that is being established.
pub struct Pending {
    /// Its future.
    pub establishing: Establishing,
    /// The options of the connection that it will be.
    pub settings: Settings,
    /// Where it comes from.
    pub source: ConnectionSource,
    /// Whether its bytes are records of TLS.
    pub secure: bool,
}

impl Pending {
    /// Which end it will be.
    pub fn role(&self) -> Role {
        match self.source {
            ConnectionSource::Client => Role::Client,
            ConnectionSource::Listener(_) | ConnectionSource::Adopted => Role::Server,
        }
    }

    /// A shutdown ends the time of a server's connection, unless it takes a response. Returns whether its future
    /// has to hear of that.
    pub fn shut_down_unless_answering(&mut self) -> bool {
        let expires = self.establishing.mailbox.phase.get() != Phase::Answering;
        if expires {
            self.establishing.mailbox.expire_for_shutdown();
        }
        expires
    }

    /// Reports that there will be no connection, if the program has accepted its upgrade at a listener.
    pub fn report_end(&self, id: Id, shared: &mut Shared<'_>) {
        if self.establishing.accepted && self.source.listener().is_some() {
            shared.outbox.push(Event::HandshakeEnded { id });
        }
    }

    /// Reports a client that was rejected at a listener, if the program asks for that. Returns the text for an
    /// adopted one.
    pub fn report_rejected(&self, id: Id, rejected: Rejected, shared: &mut Shared<'_>) -> String {
        let asked = self.settings.wants.reject;
        if let (Some(listener), Some(cause), true) = (self.source.listener(), rejected.cause, asked)
        {
            let peer = self.establishing.peer();
            let data = EventData {
                headers: rejected.headers,
                payload: rejected.why.into_bytes(),
                subject: Subject::Client(Box::new((id, peer))),
            };
            let event = Event::Rejected {
                id,
                listener,
                cause,
            };
            shared.outbox.push_with(event, data);
        }
        rejected.text
    }

    /// Ends the stream, if closing the descriptor will not.
    pub fn shut_down_if_shared(&self) {
        if self.source == ConnectionSource::Adopted {
            self.establishing.socket.shut_down();
        }
    }
}

impl Arrivals {
    /// Adds a server's connection before its upgrade.
    pub(super) fn add_server(
        &mut self,
        socket: Socket,
        policy: Rc<Policy>,
        received: AlreadyRead,
        settings: Settings,
        source: ConnectionSource,
        reactor: &mut Reactor,
    ) -> Id {
        let (secure, timeout) = (policy.tls.is_some(), policy.timeout);
        let socket = Rc::new(socket);
        let mailbox = Rc::new(Mailbox::new(self.log.clone()));
        let stream = Stream(Rc::clone(&socket));
        let task = server::establish(stream, Rc::clone(&mailbox), policy, received);
        let pending = Pending {
            establishing: Establishing::new(socket, mailbox, task),
            settings,
            source,
            secure,
        };
        let id = self.insert(Arrival::Pending(Box::new(pending)), reactor);
        reactor.start(id, Timer::Handshake, timeout);
        if self.log.is_on() {
            self.log_arrival(id);
        }
        // The request is seldom there yet, so the future is polled when the socket is readable.
        reactor.touch(id);
        id
    }

    #[cold]
    fn log_arrival(&self, id: Id) {
        let Some(pending) = self.pending(id) else {
            return;
        };
        let socket = &pending.establishing.socket;
        let Some(fd) = socket.raw_fd() else {
            return;
        };
        let how = match pending.source {
            ConnectionSource::Listener(_) => "accepted",
            ConnectionSource::Client | ConnectionSource::Adopted => "adopted",
        };
        let shown = |preposition: &str, address: Option<SocketAddr>| match address {
            Some(address) => {
                let ip = address.ip().to_canonical();
                format!(" {preposition} {}", SocketAddr::new(ip, address.port()))
            }
            // That of a Unix socket.
            None => String::new(),
        };
        let peer = shown("from", socket.peer_address());
        let local = socket.with(|fd| sys::local_address(fd.as_fd()));
        let local = shown("at", local.ok());
        self.log.write(
            Topic::Descriptor,
            id,
            format_args!("fd {fd} is opened: {how}{peer}{local}"),
        );
    }

    /// Polls the future of a connection and does what it asks for.
    pub(super) fn advance(&mut self, id: Id, ready: bool, shared: &mut Shared<'_>) {
        let mut ready = ready;
        loop {
            let Some(pending) = self.pending_mut(id) else {
                return;
            };
            let poll = pending.establishing.poll(ready);
            let retired = pending.establishing.socket.take_retired();
            let question = pending.establishing.mailbox.take_question();
            let deadline = pending.establishing.mailbox.take_deadline();
            for fd in retired {
                shared.reactor.retire(id, fd);
            }
            self.update_attempts(id, shared.reactor);
            match poll {
                Poll::Ready(Ok(established)) => return self.establish(id, established, shared),
                Poll::Ready(Err(EstablishError::Client(failure))) => {
                    return self.give_up(id, failure, false, shared)
                }
                Poll::Ready(Err(EstablishError::Server(rejected))) => {
                    return self.end_answered(id, *rejected, shared)
                }
                Poll::Pending => {}
            }
            if let Some(after) = deadline {
                let after = self.within_deadline(id, after, shared.reactor);
                shared.reactor.start(id, Timer::Handshake, after);
            }
            let answered = match question {
                Some(question) => self.handle_question(id, question, shared),
                None => false,
            };
            if !answered {
                return shared.reactor.touch(id);
            }
            ready = false;
        }
    }

    /// A client's own deadlines are within the one that its program has set for the whole.
    fn within_deadline(
        &self,
        id: Id,
        after: Option<Duration>,
        reactor: &Reactor,
    ) -> Option<Duration> {
        let whole = match self.pending(id).map(Pending::role) {
            Some(Role::Client) => reactor.remaining(id, Timer::Handshake),
            _ => None,
        };
        after.into_iter().chain(whole).min()
    }

    /// Takes a connection out whose future has ended, and its socket; `None`: it has none.
    fn take_pending(&mut self, id: Id, reactor: &mut Reactor) -> Option<(Pending, OwnedFd)> {
        let Some(Arrival::Pending(pending)) = self.sources.remove(&id) else {
            return None;
        };
        reactor.stop(id, Timer::Handshake);
        let fd = pending.establishing.socket.take()?;
        Some((*pending, fd))
    }

    fn establish(&mut self, id: Id, established: Established, shared: &mut Shared<'_>) {
        let Some((pending, fd)) = self.take_pending(id, shared.reactor) else {
            return;
        };
        self.log
            .write(Topic::Handshake, id, format_args!("the upgrade is done"));
        let listener = pending.source.listener();
        let upgraded = Upgraded {
            fd,
            role: pending.role(),
            settings: pending.settings,
            tls: established.tls,
            protocol: established.protocol,
            deflate: established.deflate,
            unparsed: established.leftover,
            is_shared: pending.source == ConnectionSource::Adopted,
            guest: established.guest.boxed(),
            listener,
        };
        let data = EventData {
            headers: established.headers,
            ..EventData::default()
        };
        shared
            .outbox
            .push_with(Event::Connect { id, listener }, data);
        self.arrived.push((id, Arrived::Upgraded(upgraded)));
        self.leave_listener(listener, shared);
    }

    /// The answer of a server is out. A program that knows the connection is told why there will be none.
    fn end_answered(&mut self, id: Id, rejected: Rejected, shared: &mut Shared<'_>) {
        self.log
            .write(Topic::Error, id, format_args!("{}", rejected.text));
        let Some(pending) = self.pending(id) else {
            return;
        };
        let source = pending.source;
        let is_shared = source == ConnectionSource::Adopted;
        pending.report_end(id, shared);
        let (listener, cause) = (source.listener(), rejected.cause);
        let text = pending.report_rejected(id, rejected, shared);
        self.count_rejected(listener, cause);
        match self.take_pending(id, shared.reactor) {
            Some((_, fd)) => {
                sys::shutdown_write(fd.as_fd());
                self.arrived.push((id, Arrived::Answered { fd, is_shared }));
                if is_shared {
                    shared.outbox.push_text(Event::ConnectFailed { id }, text);
                }
            }
            None => shared.reactor.release(id, None),
        }
        self.leave_listener(source.listener(), shared);
    }

    /// The time of a connection that is being established is over.
    pub fn expire_handshake(&mut self, id: Id, shared: &mut Shared<'_>) {
        let Some(pending) = self.pending_mut(id) else {
            return;
        };
        if pending.role() == Role::Client
            && pending.establishing.mailbox.phase.get() != Phase::Refused
        {
            return self.give_up(id, "connect timeout", false, shared);
        }
        pending.establishing.mailbox.expire();
        self.advance(id, false, shared);
    }
}
