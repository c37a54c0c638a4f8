//! Connections on their way: the engine's side of the futures of [`crate::establish`].

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::task::Poll;

use evws_proto::connection::Config;
use evws_proto::deflate;
use evws_proto::http::Response;
use evws_proto::Role;
use tokio::sync::oneshot;

use crate::context::Context;
use crate::establish::desk::{Awaited, Decision, Desk, Question, Stepped};
use crate::establish::server::Received;
use crate::establish::stream::{Socket, Stream};
use crate::establish::{server, Established, Establishing, Failure};
use crate::event::{Id, Queued, Wants};
use crate::link::{Link, Stage};
use crate::resolver::{Answer, JobResult, Resolver};
use crate::shutdown::unavailable;
use crate::slots::Source;
use crate::sys;
use crate::tls::handshake::Step;

/// What a connection is made with.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Bytes; 0: no limit.
    pub max_message_size: u64,
    /// Whether text is checked.
    pub validate_utf8: bool,
    /// Which events are made.
    pub wants: Wants,
    /// What is allowed of permessage-deflate; `None`: it is neither offered nor accepted.
    pub deflate: Option<deflate::Options>,
}

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

    /// Ends the stream, if closing the descriptor will not.
    pub fn end_shared(&self) {
        if self.origin == Origin::Adopted {
            self.establishing.socket.shut_down();
        }
    }
}

impl Context {
    /// Takes the waiting connections of a listening socket. Returns how many there were.
    pub(crate) fn accept(&mut self, token: Id) -> usize {
        let Some(slot) = self.slots.get_mut(token) else {
            return 0;
        };
        let Source::Acceptor(acceptor) = &mut slot.source else {
            return 0;
        };
        let accepted = acceptor.accept();
        let (id, exhausted) = (acceptor.listener, acceptor.exhausted);
        if exhausted {
            self.slots
                .set_deadline(token, Some(crate::listener::EXHAUSTED_PAUSE));
            self.mark_changed(token);
        }
        let Some(listener) = self.slots.listener_mut(id) else {
            return 0;
        };
        let count = accepted.len();
        listener.pending += count;
        let (settings, policy) = (listener.settings, Rc::clone(&listener.policy));
        let (secure, timeout) = (policy.tls.is_some(), policy.timeout);
        for fd in accepted {
            sys::set_nodelay(fd.as_fd());
            let socket = Rc::new(Socket::new(fd));
            let desk = Rc::new(Desk::default());
            let task = server::establish(
                Stream(Rc::clone(&socket)),
                Rc::clone(&desk),
                Rc::clone(&policy),
                Received::default(),
            );
            let establishing = Establishing::new(socket, desk, task);
            let pending = Pending {
                establishing,
                settings,
                origin: Origin::Listener(id),
                secure,
            };
            let id = self.slots.insert(Source::Pending(Box::new(pending)));
            self.slots.set_deadline(id, timeout);
            // Its request is seldom there yet: the first look waits until it is.
            self.mark_changed(id);
        }
        count
    }

    /// Polls the future of a connection and does what it asks for.
    pub(crate) fn advance(&mut self, id: Id, ready: bool) {
        let mut ready = ready;
        loop {
            let Some(pending) = self.slots.pending_mut(id) else {
                return;
            };
            let poll = pending.establishing.poll(ready);
            let retired = pending.establishing.socket.take_retired();
            let question = pending.establishing.take_question();
            let deadline = pending.establishing.take_deadline();
            for fd in retired {
                self.retire(id, fd);
            }
            self.sort_attempts(id);
            match poll {
                Poll::Ready(Ok(established)) => return self.establish(id, established),
                Poll::Ready(Err(failure)) => return self.fail_to_establish(id, failure),
                Poll::Pending => {}
            }
            if let Some(deadline) = deadline {
                self.slots.set_deadline(id, deadline);
            }
            let answered = match question {
                Some(question) => self.consider(id, question),
                None => false,
            };
            if !answered {
                return self.mark_changed(id);
            }
            ready = false;
        }
    }

    /// Passes a question on. Returns whether the future can go on at once.
    fn consider(&mut self, id: Id, question: Question) -> bool {
        let awaited = match question {
            Question::Lookup { host, port, answer } => match self.lookup(id, host, port) {
                Ok(()) => Awaited::Lookup(answer),
                Err(error) => {
                    // The receiver is the future that has just asked.
                    let _ = answer.send(Err(error));
                    return true;
                }
            },
            Question::Step { step, answer } => match self.step(id, step) {
                Some(stepped) => {
                    self.hand_over(id, answer, stepped);
                    return true;
                }
                None => Awaited::Step(answer),
            },
            // Nobody is let in any more, so the program need not be asked. The receivers are the future's.
            Question::Handshake { answer, .. } if self.refuses => {
                let _ = answer.send(Decision::Reject(unavailable()));
                return true;
            }
            Question::Request { answer, .. } if self.refuses => {
                let _ = answer.send(unavailable());
                return true;
            }
            Question::Handshake {
                headers,
                protocols,
                foreign,
                answer,
            } => {
                self.events.push_back(Queued::Handshake {
                    id,
                    headers,
                    foreign,
                });
                Awaited::Handshake(answer, protocols)
            }
            Question::Request {
                request,
                body,
                answer,
            } => {
                self.events.push_back(Queued::Request { id, request, body });
                Awaited::Request(answer)
            }
        };
        if let Some(pending) = self.slots.pending_mut(id) {
            pending.establishing.awaited = Some(awaited);
        }
        false
    }

    fn lookup(&mut self, id: Id, host: String, port: u16) -> io::Result<()> {
        let (token, resolver) = self.resolver()?;
        let result = resolver.lookup(id, host, port);
        self.mark_changed(token);
        result
    }

    /// Takes a step of a TLS handshake, or has it taken on another thread if more than a few
    /// handshakes are under way: together they would hold up the loop. A single one is done sooner
    /// here, and a program that has no more never starts a thread for it.
    fn step(&mut self, id: Id, step: Step) -> Option<Stepped> {
        const FEW: usize = 4;
        let handshaking = &self.handshaking;
        if let Some(pending) = self.slots.pending_mut(id) {
            let place = &mut pending.establishing.handshaking;
            place.get_or_insert_with(|| Rc::clone(handshaking));
        }
        // One is the context's own.
        if Rc::strong_count(handshaking) - 1 <= FEW {
            return Some(step.take());
        }
        let Ok((token, resolver)) = self.resolver() else {
            return Some(step.take());
        };
        let refused = resolver.step(id, step).err();
        self.mark_changed(token);
        // Without a thread it is done here.
        refused.map(Step::take)
    }

    /// Gives a handshake that was taken a step further back to its future.
    fn hand_over(&mut self, id: Id, answer: oneshot::Sender<Stepped>, stepped: Stepped) {
        let waits = matches!(&stepped, Ok(handshake) if handshake.waits());
        if let (false, Some(pending)) = (waits, self.slots.pending_mut(id)) {
            pending.establishing.handshaking = None;
        }
        // The receiver lives in the future beside the sender.
        let _ = answer.send(stepped);
    }

    /// The way to the other threads.
    fn resolver(&mut self) -> io::Result<(Id, &mut Resolver)> {
        let inherited = |(_, resolver): &mut (Id, Resolver)| resolver.is_inherited();
        if let Some((token, old)) = self.resolver.take_if(inherited) {
            self.release(token, Some(old.into_fd()));
        }
        if self.resolver.is_none() {
            let resolver = Resolver::new()?;
            self.resolver = Some((self.slots.insert(Source::Resolver), resolver));
        }
        match &mut self.resolver {
            Some((token, resolver)) => Ok((*token, resolver)),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Hands the answers of the resolver to those who asked and are still there.
    pub(crate) fn take_answers(&mut self) {
        let Some((token, resolver)) = &mut self.resolver else {
            return;
        };
        let token = *token;
        let answers = resolver.answers();
        self.mark_changed(token);
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
            self.advance(id, false);
        }
    }

    /// Gives the program's decision to a connection that waits for it. Returns whether one did.
    pub(crate) fn decide(&mut self, id: Id, decision: Decision) -> bool {
        let taken = self.take_awaited(id, |awaited| matches!(awaited, Awaited::Handshake(..)));
        let Some(Awaited::Handshake(answer, _)) = taken else {
            return false;
        };
        let accepts = matches!(decision, Decision::Accept { .. });
        let waited = answer.send(decision).is_ok();
        if let Some(pending) = self.slots.pending_mut(id) {
            pending.establishing.accepted = accepts && waited;
        }
        self.advance(id, false);
        waited
    }

    /// Gives the program's response to a request that waits for it. Returns whether one did.
    pub(crate) fn respond(&mut self, id: Id, response: Response) -> bool {
        let taken = self.take_awaited(id, |awaited| matches!(awaited, Awaited::Request(_)));
        let Some(Awaited::Request(answer)) = taken else {
            return false;
        };
        let waited = answer.send(response).is_ok();
        self.advance(id, false);
        waited
    }

    fn take_awaited(&mut self, id: Id, is_it: impl FnOnce(&Awaited) -> bool) -> Option<Awaited> {
        let awaited = &mut self.slots.pending_mut(id)?.establishing.awaited;
        if awaited.as_ref().is_some_and(is_it) {
            awaited.take()
        } else {
            None
        }
    }

    fn establish(&mut self, id: Id, established: Established) {
        self.slots.set_deadline(id, None);
        let Some(slot) = self.slots.get_mut(id) else {
            return;
        };
        let Source::Pending(pending) = std::mem::take(&mut slot.source) else {
            return;
        };
        let Some(fd) = pending.establishing.socket.take() else {
            return;
        };
        let settings = pending.settings;
        let role = pending.role();
        let config = Config {
            role,
            max_message_size: settings.max_message_size,
            validate_utf8: settings.validate_utf8,
        };
        let mut link = Link::new(fd, &config, Stage::Announced);
        link.shared = pending.origin == Origin::Adopted;
        link.tls = established.tls;
        link.rest = established.leftover;
        link.protocol = established.protocol.map(String::into_boxed_str);
        if let Some(negotiated) = established.deflate {
            link.proto
                .use_deflate(&negotiated.agreement, self.codecs.clone());
            link.extensions = Some(negotiated.text.into_boxed_str());
        }
        link.wants = settings.wants;
        slot.source = Source::Link(Box::new(link));
        self.links += 1;
        let (headers, listener) = (established.headers, pending.origin.listener());
        self.events.push_back(Queued::Connect {
            id,
            headers,
            listener,
        });
        self.leave_listener(listener);
        self.mark_changed(id);
    }

    fn fail_to_establish(&mut self, id: Id, failure: Failure) {
        match failure {
            Failure::Client(text) => self.give_up(id, text, false),
            Failure::Server(text) => match self.take_pending_fd(id) {
                Some(fd) => self.linger_after_answer(id, fd, text),
                None => self.release_pending(id),
            },
        }
    }

    /// Ends a server's connection that has no socket any more.
    fn release_pending(&mut self, id: Id) {
        let pending = self.slots.pending(id);
        let listener = pending.and_then(|it| it.origin.listener());
        let accepted = pending.is_some_and(|it| it.establishing.accepted);
        self.release(id, None);
        self.leave_accepted(id, listener, accepted);
        self.leave_listener(listener);
    }

    /// A client of `listener` comes to nothing: whoever has accepted it is told.
    pub(crate) fn leave_accepted(&mut self, id: Id, listener: Option<Id>, accepted: bool) {
        if accepted && listener.is_some() {
            self.events.push_back(Queued::HandshakeEnded { id });
        }
    }

    /// A connection that has failed keeps the loop no longer, however long its name takes.
    pub(crate) fn forget_question(&mut self, id: Id) {
        let Some(pending) = self.slots.pending_mut(id) else {
            return;
        };
        let awaited = pending.establishing.awaited.take();
        let away = matches!(awaited, Some(Awaited::Lookup(_) | Awaited::Step(_)));
        if let (true, Some((token, resolver))) = (away, &mut self.resolver) {
            let token = *token;
            resolver.forget(id);
            self.mark_changed(token);
        }
    }

    fn take_pending_fd(&mut self, id: Id) -> Option<OwnedFd> {
        self.slots.pending_mut(id)?.establishing.socket.take()
    }

    /// The answer is out: the peer is given a moment to read it before the descriptor closes. A
    /// program that knows the connection is told why there will be none.
    fn linger_after_answer(&mut self, id: Id, fd: OwnedFd, text: String) {
        sys::shutdown_write(fd.as_fd());
        let config = Config {
            role: Role::Server,
            max_message_size: 0,
            validate_utf8: false,
        };
        let mut link = Link::new(fd, &config, Stage::Lingering);
        link.write_shut = true;
        let Some(slot) = self.slots.get_mut(id) else {
            return;
        };
        let over = std::mem::replace(&mut slot.source, Source::Link(Box::new(link)));
        self.links += 1;
        self.slots
            .set_deadline(id, Some(crate::link::LINGER_TIMEOUT));
        self.mark_changed(id);
        let Source::Pending(pending) = over else {
            return;
        };
        let listener = pending.origin.listener();
        self.leave_accepted(id, listener, pending.establishing.accepted);
        self.leave_listener(listener);
        if pending.origin == Origin::Adopted {
            if let Some(link) = self.slots.link_mut(id) {
                link.shared = true;
            }
            self.events.push_back(Queued::ConnectFailed { id, text });
        }
    }

    /// The time of a connection that is being established is over.
    pub(crate) fn expire_pending(&mut self, id: Id) {
        let Some(pending) = self.slots.pending_mut(id) else {
            return;
        };
        if pending.role() == Role::Client {
            return self.give_up(id, "connect timeout".into(), false);
        }
        pending.establishing.expire();
        self.advance(id, false);
    }
}
