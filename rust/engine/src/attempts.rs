//! The engine's side of a race of addresses ([`crate::establish::race`]): each attempt is a source
//! with a token, a watched descriptor and a deadline of its own, and belongs to the connection
//! that is being established.

use std::rc::Rc;
use std::time::Duration;

use crate::context::Context;
use crate::establish::race::{Attempt, Progress};
use crate::event::{Id, Interest};
use crate::slots::Source;

/// How long an address is waited for before the next one is tried beside it (RFC 8305 section 8,
/// "Connection Attempt Delay").
const STAGGER: Duration = Duration::from_millis(250);

/// An attempt as a source.
pub struct Racer {
    /// The connection it is made for.
    pub owner: Id,
    /// What it shares with that connection's future.
    pub attempt: Rc<Attempt>,
}

impl Racer {
    /// What its descriptor is to be watched for: it is writable when the answer is there.
    pub fn interest(&self) -> Interest {
        match self.attempt.progress.get() {
            Progress::Waiting | Progress::Late => Interest::WRITE,
            Progress::Ready | Progress::Over => Interest::NONE,
        }
    }
}

impl Context {
    /// After a poll of the connection's future: takes up the attempts it has begun, and lets those
    /// go that are over.
    pub(crate) fn sort_attempts(&mut self, owner: Id) {
        let Some(pending) = self.slots.pending_mut(owner) else {
            return;
        };
        let establishing = &mut pending.establishing;
        let begun = establishing.socket.take_announced();
        if begun.is_empty() && establishing.attempts.is_empty() {
            return;
        }
        let (over, running) = std::mem::take(&mut establishing.attempts)
            .into_iter()
            .partition(|(_, attempt)| attempt.progress.get() == Progress::Over);
        establishing.attempts = running;
        self.release_attempts(over);
        for attempt in begun {
            self.watch_attempt(owner, attempt);
        }
    }

    fn watch_attempt(&mut self, owner: Id, attempt: Rc<Attempt>) {
        let racer = Racer {
            owner,
            attempt: Rc::clone(&attempt),
        };
        let token = self.slots.insert(Source::Attempt(Box::new(racer)));
        let stagger = attempt.has_successors.then_some(STAGGER);
        self.slots.set_deadline(token, stagger);
        self.mark_changed(token);
        if let Some(pending) = self.slots.pending_mut(owner) {
            pending.establishing.attempts.push((token, attempt));
        }
    }

    /// The connection is given up: so are its attempts.
    pub(crate) fn drop_attempts(&mut self, owner: Id) {
        if let Some(pending) = self.slots.pending_mut(owner) {
            let attempts = std::mem::take(&mut pending.establishing.attempts);
            self.release_attempts(attempts);
        }
    }

    fn release_attempts(&mut self, attempts: Vec<(Id, Rc<Attempt>)>) {
        for (token, attempt) in attempts {
            match attempt.take() {
                Some(fd) => self.release(token, Some(fd)),
                None => self.release_moved(token, attempt.raw_fd()),
            }
        }
    }

    /// Something has happened to an attempt: its connection looks at it.
    pub(crate) fn advance_attempt(&mut self, token: Id, now: Progress) {
        let Some(Source::Attempt(racer)) = self.slots.get_mut(token).map(|slot| &slot.source)
        else {
            return;
        };
        racer.attempt.progress.set(now);
        let owner = racer.owner;
        self.advance(owner, false);
    }
}
