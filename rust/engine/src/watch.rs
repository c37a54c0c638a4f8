//! Which descriptors the caller is to watch, and their way out.
//!
//! INVARIANT: a watched descriptor is closed only after the caller was told to let it go, and its
//! slot is given to another source only then.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::context::Context;
use crate::event::{Id, Interest, Watch};
use crate::slots::{Slot, Source};

/// A descriptor that a source has done with.
pub enum Leaving {
    /// It is closed.
    Closed(OwnedFd),
    /// It belongs to another source from now on.
    Moved(RawFd),
}

impl Leaving {
    fn raw_fd(&self) -> RawFd {
        match self {
            Leaving::Closed(fd) => fd.as_raw_fd(),
            Leaving::Moved(fd) => *fd,
        }
    }
}

impl Context {
    /// The next change of what is to be watched, until there are none.
    pub fn poll_watch(&mut self) -> Option<Watch> {
        if let Some((id, fd)) = self.let_go.take() {
            self.has_left(id, fd);
        }
        while let Some((id, fd, watched)) = self.leaving.pop_front() {
            if watched {
                let watch = Watch {
                    token: id,
                    fd: fd.raw_fd(),
                    interest: None,
                };
                self.let_go = Some((id, fd));
                return Some(watch);
            }
            self.has_left(id, fd);
        }
        while let Some(id) = self.changed.pop() {
            if let Some(watch) = self.compare(id) {
                return Some(watch);
            }
        }
        None
    }

    /// What the caller must hear of a source, if anything.
    fn compare(&mut self, id: Id) -> Option<Watch> {
        let resolver = self.resolver.as_ref().map(|(_, resolver)| resolver);
        let slot = self.slots.get_mut(id)?;
        slot.changed = false;
        let (fd, interest) = match &slot.source {
            Source::Link(link) => (link.fd.as_raw_fd(), Some(link.interest())),
            Source::Attempt(racer) => (racer.attempt.raw_fd(), Some(racer.interest())),
            Source::Acceptor(acceptor) => (acceptor.fd.as_raw_fd(), Some(acceptor.interest())),
            Source::Pending(pending) => (
                pending.establishing.socket.raw_fd()?,
                Some(pending.establishing.wants()),
            ),
            Source::Resolver => {
                let resolver = resolver?;
                // The loop stays alive for the names that are being looked up, not for this.
                let interest = resolver.is_busy().then_some(Interest::READ);
                (resolver.fd().as_raw_fd(), interest)
            }
            Source::Listener(_) | Source::GivenUp { .. } | Source::Vacant | Source::Leaving => {
                return None
            }
        };
        if slot.told == interest {
            return None;
        }
        slot.told = interest;
        Some(Watch {
            token: id,
            fd,
            interest,
        })
    }

    /// Lets go of a descriptor while its source stays.
    pub(crate) fn retire(&mut self, id: Id, fd: OwnedFd) {
        self.leave(id, Leaving::Closed(fd));
        self.mark_changed(id);
    }

    fn leave(&mut self, id: Id, fd: Leaving) {
        let watched = self.slots.get_mut(id).is_some_and(Slot::leave);
        self.leaving.push_back((id, fd, watched));
    }

    /// Ends a source whose descriptor goes on under another token. What that one is watched for is
    /// told after this has let go of it.
    pub(crate) fn release_moved(&mut self, id: Id, fd: RawFd) {
        self.slots.take(id);
        self.leave(id, Leaving::Moved(fd));
    }

    /// Ends a source that is no established connection. The slot is free when the descriptor has left the loop.
    pub(crate) fn release(&mut self, id: Id, fd: Option<OwnedFd>) {
        self.slots.take(id);
        match fd {
            Some(fd) => self.retire(id, fd),
            None => self.free_if_left(id),
        }
    }

    /// The loop has let go of a descriptor.
    fn has_left(&mut self, id: Id, fd: Leaving) {
        drop(fd);
        if let Some(slot) = self.slots.get_mut(id) {
            slot.leaving -= 1;
            self.free_if_left(id);
        }
    }

    /// The last descriptor that goes takes the slot with it.
    fn free_if_left(&mut self, id: Id) {
        let is_done = |slot: &Slot| matches!(slot.source, Source::Leaving) && slot.leaving == 0;
        if self.slots.get(id).is_some_and(is_done) {
            self.slots.free(id);
        }
    }
}

impl Slot {
    /// One more descriptor is on its way out. Forgets what the caller was told; returns whether it was told anything.
    fn leave(&mut self) -> bool {
        self.leaving += 1;
        self.told.take().is_some()
    }
}
