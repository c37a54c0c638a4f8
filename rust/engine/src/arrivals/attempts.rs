//! The engine's side of a race of addresses ([`super::establish::race`]): each attempt is a source
//! with a token, a watched descriptor and a timer of its own, and belongs to the connection that is
//! being established.

use std::os::fd::RawFd;
use std::rc::Rc;

use super::establish::race::{Attempt, AttemptState};
use super::{Arrival, Arrivals};
use crate::event::{Id, Interest};
use crate::reactor::{Reactor, Timer};
use crate::shared::Shared;
use crate::timeouts;

/// An attempt as a source.
pub struct ConnectAttempt {
    /// The connection it is made for.
    owner: Id,
    /// The attempt, which the connection's future shares.
    attempt: Rc<Attempt>,
}

impl ConnectAttempt {
    /// Its descriptor.
    pub fn raw_fd(&self) -> RawFd {
        self.attempt.raw_fd()
    }

    /// What its descriptor is to be watched for: it is writable when the answer is there.
    pub fn interest(&self) -> Interest {
        match self.attempt.progress.get() {
            AttemptState::Waiting | AttemptState::Late => Interest::WRITE,
            AttemptState::Ready | AttemptState::Over => Interest::NONE,
        }
    }
}

impl Arrivals {
    /// After a poll of the connection's future: takes up the attempts it has begun, and lets those
    /// go that are over.
    pub(super) fn update_attempts(&mut self, owner: Id, reactor: &mut Reactor) {
        let Some(pending) = self.pending_mut(owner) else {
            return;
        };
        let establishing = &mut pending.establishing;
        let begun = establishing.socket.take_announced();
        if begun.is_empty() && establishing.attempts.is_empty() {
            return;
        }
        let (over, running) = std::mem::take(&mut establishing.attempts)
            .into_iter()
            .partition(|(_, attempt)| attempt.progress.get() == AttemptState::Over);
        establishing.attempts = running;
        self.release_attempts(over, reactor);
        for attempt in begun {
            self.watch_attempt(owner, attempt, reactor);
        }
    }

    fn watch_attempt(&mut self, owner: Id, attempt: Rc<Attempt>, reactor: &mut Reactor) {
        let delay = attempt.has_successors.then_some(timeouts::ATTEMPT_DELAY);
        let source = ConnectAttempt {
            owner,
            attempt: Rc::clone(&attempt),
        };
        let token = self.insert(Arrival::Attempt(Box::new(source)), reactor);
        reactor.start(token, Timer::AttemptDelay, delay);
        reactor.touch(token);
        if let Some(pending) = self.pending_mut(owner) {
            pending.establishing.attempts.push((token, attempt));
        }
    }

    /// The connection is given up: so are its attempts.
    pub(super) fn drop_attempts(&mut self, owner: Id, reactor: &mut Reactor) {
        if let Some(pending) = self.pending_mut(owner) {
            let attempts = std::mem::take(&mut pending.establishing.attempts);
            self.release_attempts(attempts, reactor);
        }
    }

    fn release_attempts(&mut self, attempts: Vec<(Id, Rc<Attempt>)>, reactor: &mut Reactor) {
        for (token, attempt) in attempts {
            self.sources.remove(&token);
            match attempt.take() {
                Some(fd) => reactor.release(token, Some(fd)),
                None => reactor.release_moved(token, attempt.raw_fd()),
            }
        }
    }

    /// An attempt takes long: the next one begins.
    pub fn expire_attempt_delay(&mut self, token: Id, shared: &mut Shared<'_>) {
        self.advance_attempt(token, AttemptState::Late, shared);
    }

    /// Something has happened to an attempt: its connection looks at it.
    pub(super) fn advance_attempt(
        &mut self,
        token: Id,
        now: AttemptState,
        shared: &mut Shared<'_>,
    ) {
        let Some(Arrival::Attempt(source)) = self.sources.get(&token) else {
            return;
        };
        source.attempt.progress.set(now);
        let owner = source.owner;
        self.advance(owner, false, shared);
    }
}
