//! Descriptors on their way out of the loop.
//!
//! INVARIANT: a watched descriptor is closed only after the caller was told to stop watching it, and its
//! slot is given to another source only then.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::event::{Id, Watch};

/// A descriptor that its source has given up.
#[derive(Debug)]
pub enum DepartingFd {
    /// The descriptor is closed.
    Closed(OwnedFd),
    /// The descriptor belongs to another source from now on.
    Moved(RawFd),
}

impl DepartingFd {
    fn raw_fd(&self) -> RawFd {
        match self {
            DepartingFd::Closed(fd) => fd.as_raw_fd(),
            DepartingFd::Moved(fd) => *fd,
        }
    }
}

/// The descriptors of a context that are on their way out of the loop.
#[derive(Debug, Default)]
pub struct Departures {
    /// Each with the source that it leaves, and whether the caller watches it.
    waiting: VecDeque<(Id, DepartingFd, bool)>,
    /// The one that the caller has just been told to stop watching.
    unwatched: Option<(Id, DepartingFd)>,
}

/// A step of a descriptor's way out of the loop.
#[derive(Debug)]
pub enum Departure {
    /// The caller is to stop watching the descriptor.
    Unwatch(Watch),
    /// This descriptor was closed: its source has one less.
    Closed(Id, RawFd),
    /// This source's descriptor belongs to another one now.
    Gone(Id),
}

impl Departure {
    fn end(id: Id, fd: DepartingFd) -> Self {
        match fd {
            DepartingFd::Closed(fd) => Departure::Closed(id, fd.as_raw_fd()),
            DepartingFd::Moved(_) => Departure::Gone(id),
        }
    }
}

impl Departures {
    /// Puts a descriptor on its way.
    pub fn add(&mut self, id: Id, fd: DepartingFd, is_watched: bool) {
        self.waiting.push_back((id, fd, is_watched));
    }

    /// The next step. What the caller was told to stop watching by the call before is closed.
    pub fn next(&mut self) -> Option<Departure> {
        if let Some((id, fd)) = self.unwatched.take() {
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
        self.unwatched = Some((id, fd));
        Some(Departure::Unwatch(watch))
    }
}
