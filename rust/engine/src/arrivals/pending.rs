//! Connections on their way: the engine's side of the futures of [`super::establish`].

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::task::Poll;

use evws_proto::http::HttpResponse;
use evws_proto::Role;
use tokio::sync::oneshot;

use super::establish::mailbox::{Awaited, Decision, Mailbox, Phase, Question};
use super::establish::server::{AlreadyRead, Policy};
use super::establish::stream::{Socket, Stream};
use super::establish::{server, EstablishError, Established, Establishing};
use super::{Arrival, Arrivals, Arrived};
use crate::around::Around;
use crate::event::{Event, Id, Settings};
use crate::log::Topic;
use crate::outbox::Carried;
use crate::reactor::{Reactor, Timer};
use crate::resolver::{Answer, JobResult, Resolver};
use crate::sys;
use crate::tls::handshake::{HandshakeStep, StepResult};
use crate::traffic::Upgraded;

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The program connects.
    Client,
    /// It came in at a listener.
    Listener(Id),
    /// The program had its socket before, and may have it still.
    Adopted,
}

impl Origin {
    /// Where it came in.
    pub fn listener(self) -> Option<Id> {
        match self {
            Origin::Listener(id) => Some(id),
            Origin::Client | Origin::Adopted => None,
        }
    }
}

/// A connection that is being established.
pub struct Pending {
    /// Its future.
    pub establishing: Establishing,
    /// What it will become.
    pub settings: Settings,
    /// Where it comes from.
    pub origin: Origin,
    /// Whether its bytes are records of TLS.
    pub secure: bool,
}

impl Pending {
    /// Which end it will be.
    pub fn role(&self) -> Role {
        match self.origin {
            Origin::Client => Role::Client,
            Origin::Listener(_) | Origin::Adopted => Role::Server,
        }
    }

    /// The time of a server's connection is over, unless it takes a response. Returns whether its future
    /// has to hear of that.
    pub fn hurry(&mut self) -> bool {
        let hurries = self.establishing.phase() != Phase::Answering;
        if hurries {
            self.establishing.expire();
        }
        hurries
    }

    /// It comes to nothing: whoever has accepted it at a listener is told.
    pub fn tell_end(&self, id: Id, around: &mut Around<'_>) {
        if self.establishing.accepted && self.origin.listener().is_some() {
            around.outbox.push(Event::HandshakeEnded { id });
        }
    }

    /// Ends the stream, if closing the descriptor will not.
    pub fn end_shared(&self) {
        if self.origin == Origin::Adopted {
            self.establishing.socket.shut_down();
        }
    }
}

/// What whoever asks is told from the beginning of a shutdown on.
pub fn unavailable() -> HttpResponse {
    let mut response = HttpResponse::from(evws_proto::handshake::Rejection::new(503));
    response.headers.push(("Connection".into(), "close".into()));
    response
}

impl Arrivals {
    /// Adds a server's connection before its upgrade.
    pub(super) fn add_server(
        &mut self,
        fd: OwnedFd,
        policy: Rc<Policy>,
        received: AlreadyRead,
        settings: Settings,
        origin: Origin,
        reactor: &mut Reactor,
    ) -> Id {
        let (secure, timeout) = (policy.tls.is_some(), policy.timeout);
        let socket = Rc::new(Socket::new(fd));
        let mailbox = Rc::new(Mailbox::new(self.log.clone()));
        let stream = Stream(Rc::clone(&socket));
        let task = server::establish(stream, Rc::clone(&mailbox), policy, received);
        let pending = Pending {
            establishing: Establishing::new(socket, mailbox, task),
            settings,
            origin,
            secure,
        };
        let id = self.insert(Arrival::Pending(Box::new(pending)), reactor);
        reactor.start(id, Timer::Handshake, timeout);
        if self.log.is_on() {
            self.log_arrival(id);
        }
        // Its request is seldom there yet: the first look waits until it is.
        reactor.touch(id);
        id
    }

    #[cold]
    fn log_arrival(&self, id: Id) {
        let Some(pending) = self.pending(id) else {
            return;
        };
        let socket = &pending.establishing.socket;
        let fd = socket.raw_fd().unwrap_or(-1);
        let peer = match socket.peer_address() {
            Some(address) => format!(" from {address}"),
            None => String::new(),
        };
        let text = match pending.origin {
            Origin::Listener(listener) => {
                format!("fd {fd} is opened: accepted{peer} by listener {listener}")
            }
            _ => format!("fd {fd} is opened: adopted{peer}"),
        };
        self.log
            .write(Topic::Descriptor, id, format_args!("{text}"));
    }

    /// Polls the future of a connection and does what it asks for.
    pub(super) fn advance(&mut self, id: Id, ready: bool, around: &mut Around<'_>) {
        let mut ready = ready;
        loop {
            let Some(pending) = self.pending_mut(id) else {
                return;
            };
            let poll = pending.establishing.poll(ready);
            let retired = pending.establishing.socket.take_retired();
            let question = pending.establishing.take_question();
            let deadline = pending.establishing.take_deadline();
            for fd in retired {
                around.reactor.retire(id, fd);
            }
            self.sort_attempts(id, around.reactor);
            match poll {
                Poll::Ready(Ok(established)) => return self.establish(id, established, around),
                Poll::Ready(Err(failure)) => return self.fail_to_establish(id, failure, around),
                Poll::Pending => {}
            }
            if let Some(after) = deadline {
                around.reactor.start(id, Timer::Handshake, after);
            }
            let answered = match question {
                Some(question) => self.consider(id, question, around),
                None => false,
            };
            if !answered {
                return around.reactor.touch(id);
            }
            ready = false;
        }
    }

    /// Passes a question on. Returns whether the future can go on at once.
    fn consider(&mut self, id: Id, question: Question, around: &mut Around<'_>) -> bool {
        let awaited = match question {
            Question::Lookup { host, port, answer } => {
                match self.lookup(id, host, port, around.reactor) {
                    Ok(()) => Awaited::Lookup(answer),
                    Err(error) => {
                        // The receiver is the future that has just asked.
                        let _ = answer.send(Err(error));
                        return true;
                    }
                }
            }
            Question::Step { step, answer } => match self.step(id, step, around.reactor) {
                Some(stepped) => {
                    self.hand_over(id, answer, stepped);
                    return true;
                }
                None => Awaited::Step(answer),
            },
            // Nobody is let in any more, so the program need not be asked. The receivers are the future's.
            Question::Handshake { answer, .. } if self.is_refusing => {
                let _ = answer.send(Decision::Reject(unavailable()));
                return true;
            }
            Question::Request { answer, .. } if self.is_refusing => {
                let _ = answer.send(unavailable());
                return true;
            }
            Question::Handshake {
                headers,
                protocols,
                foreign,
                answer,
            } => {
                let listener = self.pending(id).and_then(|it| it.origin.listener());
                let event = Event::Handshake {
                    id,
                    listener,
                    foreign,
                };
                let carried = Carried {
                    headers,
                    ..Carried::default()
                };
                around.outbox.push_with(event, carried);
                Awaited::Handshake(answer, protocols)
            }
            Question::Request {
                request,
                body,
                answer,
            } => {
                let Some(pending) = self.pending(id) else {
                    return false;
                };
                // Only a listener serves.
                if let Some(listener) = pending.origin.listener() {
                    let carried = Carried {
                        request: Some((request, pending.secure)),
                        payload: body,
                        ..Carried::default()
                    };
                    around
                        .outbox
                        .push_with(Event::Request { id, listener }, carried);
                }
                Awaited::Request(answer)
            }
        };
        if let Some(pending) = self.pending_mut(id) {
            pending.establishing.awaited = Some(awaited);
        }
        false
    }

    fn lookup(&mut self, id: Id, host: String, port: u16, reactor: &mut Reactor) -> io::Result<()> {
        let (token, resolver) = self.resolver(reactor)?;
        let result = resolver.lookup(id, host, port);
        reactor.touch(token);
        result
    }

    /// Takes a step of a TLS handshake, or has it taken on another thread if more than a few
    /// handshakes are under way: together they would hold up the loop. A single one is done sooner
    /// here, and a program that has no more never starts a thread for it.
    fn step(&mut self, id: Id, step: HandshakeStep, reactor: &mut Reactor) -> Option<StepResult> {
        const FEW: usize = 4;
        let all = Rc::clone(&self.handshaking);
        if let Some(pending) = self.pending_mut(id) {
            let place = &mut pending.establishing.handshaking;
            place.get_or_insert_with(|| Rc::clone(&all));
        }
        // One is the context's own, and one is here.
        if Rc::strong_count(&all) - 2 <= FEW {
            return Some(step.take());
        }
        let Ok((token, resolver)) = self.resolver(reactor) else {
            return Some(step.take());
        };
        let refused = resolver.step(id, step).err();
        reactor.touch(token);
        // Without a thread it is done here.
        refused.map(HandshakeStep::take)
    }

    /// Gives a handshake that was taken a step further back to its future.
    fn hand_over(&mut self, id: Id, answer: oneshot::Sender<StepResult>, stepped: StepResult) {
        let waits = matches!(&stepped, Ok(handshake) if handshake.waits());
        if let (false, Some(pending)) = (waits, self.pending_mut(id)) {
            pending.establishing.handshaking = None;
        }
        // The receiver lives in the future beside the sender.
        let _ = answer.send(stepped);
    }

    /// The way to the other threads.
    fn resolver(&mut self, reactor: &mut Reactor) -> io::Result<(Id, &mut Resolver)> {
        let inherited = |(_, resolver): &mut (Id, Resolver)| resolver.is_inherited();
        if let Some((token, old)) = self.resolver.take_if(inherited) {
            self.release(token, Some(old.into_fd()), reactor);
        }
        if self.resolver.is_none() {
            let resolver = Resolver::new()?;
            self.resolver = Some((self.insert(Arrival::Resolver, reactor), resolver));
        }
        match &mut self.resolver {
            Some((token, resolver)) => Ok((*token, resolver)),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Hands the answers of the resolver to those who asked and are still there.
    pub(super) fn take_answers(&mut self, around: &mut Around<'_>) {
        let Some((token, resolver)) = &mut self.resolver else {
            return;
        };
        let answers = resolver.answers();
        around.reactor.touch(*token);
        for Answer { id, result } in answers {
            let is_away =
                |awaited: &Awaited| matches!(awaited, Awaited::Lookup(_) | Awaited::Step(_));
            match (self.take_awaited(id, is_away), result) {
                (Some(Awaited::Lookup(answer)), JobResult::Addresses(result)) => {
                    // The receiver lives in the future beside it.
                    let _ = answer.send(result);
                }
                (Some(Awaited::Step(answer)), JobResult::Stepped(stepped)) => {
                    self.hand_over(id, answer, stepped);
                }
                // Whoever waits for what is lost hears that nobody will answer.
                _ => {}
            }
            self.advance(id, false, around);
        }
    }

    /// Gives the program's decision to a connection that waits for it. Returns whether one did.
    pub fn decide(&mut self, id: Id, decision: Decision, around: &mut Around<'_>) -> bool {
        let taken = self.take_awaited(id, |awaited| matches!(awaited, Awaited::Handshake(..)));
        let Some(Awaited::Handshake(answer, _)) = taken else {
            return false;
        };
        let accepts = matches!(decision, Decision::Accept { .. });
        let waited = answer.send(decision).is_ok();
        if let Some(pending) = self.pending_mut(id) {
            pending.establishing.accepted = accepts && waited;
        }
        self.advance(id, false, around);
        waited
    }

    /// Gives the program's response to a request that waits for it. Returns whether one did.
    pub fn respond(&mut self, id: Id, response: HttpResponse, around: &mut Around<'_>) -> bool {
        let taken = self.take_awaited(id, |awaited| matches!(awaited, Awaited::Request(_)));
        let Some(Awaited::Request(answer)) = taken else {
            return false;
        };
        let waited = answer.send(response).is_ok();
        self.advance(id, false, around);
        waited
    }

    /// Whether the client of a handshake event waits for the decision.
    pub fn awaits_decision(&self, id: Id) -> bool {
        match self.awaited(id) {
            Some(Awaited::Handshake(answer, _)) => !answer.is_closed(),
            _ => false,
        }
    }

    /// The subprotocols that the client of a handshake event asks for, while it waits.
    pub fn asked_protocols(&self, id: Id) -> &[String] {
        match self.awaited(id) {
            Some(Awaited::Handshake(_, protocols)) => protocols,
            _ => &[],
        }
    }

    fn take_awaited(&mut self, id: Id, is_it: impl FnOnce(&Awaited) -> bool) -> Option<Awaited> {
        let awaited = &mut self.pending_mut(id)?.establishing.awaited;
        if awaited.as_ref().is_some_and(is_it) {
            awaited.take()
        } else {
            None
        }
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

    fn establish(&mut self, id: Id, established: Established, around: &mut Around<'_>) {
        let Some((pending, fd)) = self.take_pending(id, around.reactor) else {
            return;
        };
        self.log
            .write(Topic::Handshake, id, format_args!("the upgrade is done"));
        let listener = pending.origin.listener();
        let upgraded = Upgraded {
            fd,
            role: pending.role(),
            settings: pending.settings,
            tls: established.tls,
            protocol: established.protocol,
            deflate: established.deflate,
            rest: established.leftover,
            is_shared: pending.origin == Origin::Adopted,
        };
        let carried = Carried {
            headers: established.headers,
            ..Carried::default()
        };
        around
            .outbox
            .push_with(Event::Connect { id, listener }, carried);
        self.arrived
            .push((id, Arrived::Upgraded(Box::new(upgraded))));
        self.leave_listener(listener, around);
    }

    fn fail_to_establish(&mut self, id: Id, failure: EstablishError, around: &mut Around<'_>) {
        match failure {
            EstablishError::Client(text) => self.give_up(id, &text, false, around),
            EstablishError::Server(text) => self.end_answered(id, text, around),
        }
    }

    /// The answer of a server is out. A program that knows the connection is told why there will be none.
    fn end_answered(&mut self, id: Id, text: String, around: &mut Around<'_>) {
        self.log.write(Topic::Error, id, format_args!("{text}"));
        let Some(pending) = self.pending(id) else {
            return;
        };
        let origin = pending.origin;
        let is_shared = origin == Origin::Adopted;
        pending.tell_end(id, around);
        match self.take_pending(id, around.reactor) {
            Some((_, fd)) => {
                sys::shutdown_write(fd.as_fd());
                self.arrived.push((id, Arrived::Answered { fd, is_shared }));
                if is_shared {
                    around.outbox.push_text(Event::ConnectFailed { id }, text);
                }
            }
            None => around.reactor.release(id, None),
        }
        self.leave_listener(origin.listener(), around);
    }

    /// A connection that has failed keeps the loop no longer, however long its name takes.
    pub(super) fn forget_question(&mut self, id: Id, reactor: &mut Reactor) {
        let Some(pending) = self.pending_mut(id) else {
            return;
        };
        let awaited = pending.establishing.awaited.take();
        let away = matches!(awaited, Some(Awaited::Lookup(_) | Awaited::Step(_)));
        if let (true, Some((token, resolver))) = (away, &mut self.resolver) {
            resolver.forget(id);
            reactor.touch(*token);
        }
    }

    /// The time of a connection that is being established is over.
    pub(super) fn expire_pending(&mut self, id: Id, around: &mut Around<'_>) {
        let Some(pending) = self.pending_mut(id) else {
            return;
        };
        if pending.role() == Role::Client {
            return self.give_up(id, "connect timeout", false, around);
        }
        pending.establishing.expire();
        self.advance(id, false, around);
    }
}
