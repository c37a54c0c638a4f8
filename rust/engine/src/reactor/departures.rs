//! Descriptors on their way out of the loop.
//!
//! INVARIANT: a watched descriptor is closed only after the caller was told to let it go, and its
//! slot is given to another source only then.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::event::{Id, Watch};

/// A descriptor that a source has done with.
#[derive(Debug)]
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

/// Those of a context.
#[derive(Debug, Default)]
pub struct Departures {
    /// With the source that each leaves, and whether the caller watches it.
    waiting: VecDeque<(Id, Leaving, bool)>,
    /// The one that the caller has just been told to stop watching.
    told: Option<(Id, Leaving)>,
}

/// What comes next of them.
#[derive(Debug)]
pub enum Departure {
    /// The caller is to stop watching this.
    Tell(Watch),
    /// This descriptor was closed: its source has one less.
    Closed(Id, RawFd),
    /// This source's descriptor belongs to another one now.
    Gone(Id),
}

impl Departure {
    fn end(id: Id, fd: Leaving) -> Self {
        match fd {
            Leaving::Closed(fd) => Departure::Closed(id, fd.as_raw_fd()),
            Leaving::Moved(_) => Departure::Gone(id),
        }
    }
}

impl Departures {
    /// Puts a descriptor on its way.
    pub fn add(&mut self, id: Id, fd: Leaving, is_watched: bool) {
        self.waiting.push_back((id, fd, is_watched));
    }

    /// The next step. What the caller was told to stop watching the time before is closed.
    pub fn next(&mut self) -> Option<Departure> {
        if let Some((id, fd)) = self.told.take() {
            return Some(Departure::end(id, fd));
        }
        let (id, fd, is_watched) = self.waiting.pop_front()?;
        if !is_watched {
            return Some(Departure::end(id, fd));
        }
        let watch = Watch {
            token: id,
            fd: fd.raw_fd(),
            interest: None,
        };
        self.told = Some((id, fd));
        Some(Departure::Tell(watch))
    }
}
