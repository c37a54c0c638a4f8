//! What the futures of connections on their way ask, and who answers: other threads for names and steps of TLS handshakes,
//! the program for decisions and responses.

use std::io;
use std::rc::Rc;

use evws_proto::http::HttpResponse;
use tokio::sync::oneshot;

use super::establish::mailbox::{Awaited, Decision, Question};
use super::establish::rejected::unavailable;
use super::{Arrival, Arrivals};
use crate::event::{Event, Id};
use crate::outbox::{EventData, Subject};
use crate::reactor::Reactor;
use crate::resolver::{Answer, JobResult, Resolver};
use crate::shared::Shared;
use crate::tls::handshake::{HandshakeStep, StepResult};

impl Arrivals {
    /// Passes a question on. Returns whether the future can go on at once.
    pub(super) fn handle_question(
        &mut self,
        id: Id,
        question: Question,
        shared: &mut Shared<'_>,
    ) -> bool {
        let awaited = match question {
            Question::Lookup { host, port, answer } => {
                match self.lookup(id, host, port, shared.reactor) {
                    Ok(()) => Awaited::Lookup(answer),
                    Err(error) => {
                        // The receiver is the future that has just asked.
                        let _ = answer.send(Err(error));
                        return true;
                    }
                }
            }
            Question::Step { step, answer } => match self.step(id, step, shared.reactor) {
                Some(stepped) => {
                    self.give_step_result(id, answer, stepped);
                    return true;
                }
                None => Awaited::Step(answer),
            },
            // A shutdown has begun, so the program is not asked. The receivers are the future's.
            Question::Handshake { answer, .. } if self.is_refusing => {
                let _ = answer.send(Decision::Unavailable);
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
                let listener = self.pending(id).and_then(|it| it.source.listener());
                let event = Event::Handshake {
                    id,
                    listener,
                    foreign,
                };
                let data = EventData {
                    headers,
                    ..EventData::default()
                };
                shared.outbox.push_with(event, data);
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
                if let Some(listener) = pending.source.listener() {
                    let data = EventData {
                        subject: Subject::Request(request, pending.secure),
                        payload: body,
                        ..EventData::default()
                    };
                    shared
                        .outbox
                        .push_with(Event::Request { id, listener }, data);
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
    fn give_step_result(
        &mut self,
        id: Id,
        answer: oneshot::Sender<StepResult>,
        stepped: StepResult,
    ) {
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
    pub(super) fn take_answers(&mut self, shared: &mut Shared<'_>) {
        let Some((token, resolver)) = &mut self.resolver else {
            return;
        };
        let answers = resolver.answers();
        shared.reactor.touch(*token);
        for Answer { id, result } in answers {
            let is_away =
                |awaited: &Awaited| matches!(awaited, Awaited::Lookup(_) | Awaited::Step(_));
            match (self.take_awaited(id, is_away), result) {
                (Some(Awaited::Lookup(answer)), JobResult::Addresses(result)) => {
                    // The receiver lives in the future beside it.
                    let _ = answer.send(result);
                }
                (Some(Awaited::Step(answer)), JobResult::Stepped(stepped)) => {
                    self.give_step_result(id, answer, stepped);
                }
                // The result is lost: the sender is dropped, which tells the future.
                _ => {}
            }
            self.advance(id, false, shared);
        }
    }

    /// Gives the program's decision to a connection that waits for it. Returns whether one did.
    pub fn decide(&mut self, id: Id, decision: Decision, shared: &mut Shared<'_>) -> bool {
        let taken = self.take_awaited(id, |awaited| matches!(awaited, Awaited::Handshake(..)));
        let Some(Awaited::Handshake(answer, _)) = taken else {
            return false;
        };
        let accepts = matches!(decision, Decision::Accept { .. });
        let waited = answer.send(decision).is_ok();
        if let Some(pending) = self.pending_mut(id) {
            pending.establishing.accepted = accepts && waited;
        }
        self.advance(id, false, shared);
        waited
    }

    /// Gives the program's response to a request that waits for it. Returns whether one did.
    pub fn respond(&mut self, id: Id, response: HttpResponse, shared: &mut Shared<'_>) -> bool {
        let taken = self.take_awaited(id, |awaited| matches!(awaited, Awaited::Request(_)));
        let Some(Awaited::Request(answer)) = taken else {
            return false;
        };
        let waited = answer.send(response).is_ok();
        self.advance(id, false, shared);
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

    /// A connection that has failed keeps the loop no longer, however long its name takes.
    pub(super) fn cancel_question(&mut self, id: Id, reactor: &mut Reactor) {
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

    /// How many TLS handshakes are under way.
    #[cfg(test)]
    pub fn handshaking(&self) -> usize {
        Rc::strong_count(&self.handshaking) - 1
    }

    /// Whether anything was ever done on another thread.
    #[cfg(test)]
    pub fn has_threads(&self) -> bool {
        self.resolver.is_some()
    }
}
