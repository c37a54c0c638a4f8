//! Listeners: what the connections of one have in common, and the sockets that they come in at.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{self, Path};
use std::rc::Rc;
use std::time::Duration;

use crate::bind::{Bound, ListenerAddress};
use crate::context::Context;
use crate::establish::desk::Phase;
use crate::establish::server::Policy;
use crate::event::{Id, Interest, Queued};
use crate::pending::{Origin, Settings};
use crate::slots::Source;
use crate::socket_file::SocketFile;
use crate::sys;

/// How long accepting pauses when descriptors have run out.
pub const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);
/// Connections taken in one turn of the loop.
const BATCH: usize = 32;
/// Batches that are taken at most when a listener is stopped, however fast new connections come.
const LAST_BATCHES: usize = 128;

/// A listener. It has no descriptor of its own.
pub struct Listener {
    /// For every connection.
    pub settings: Settings,
    /// For every request.
    pub policy: Rc<Policy>,
    /// Where it is reached.
    pub address: ListenerAddress,
    /// Its sockets; none: it was stopped.
    pub acceptors: Vec<Id>,
    /// Its connections that are being established.
    pub pending: usize,
}

/// A listening socket.
pub struct Acceptor {
    /// Never without one, until it is taken out to be closed.
    pub fd: OwnedFd,
    /// Whose it is.
    pub listener: Id,
    /// Descriptors ran out, or the like: nothing is accepted until a deadline has passed.
    pub exhausted: bool,
    /// The file of a Unix socket, removed with it.
    pub file: Option<SocketFile>,
}

impl Acceptor {
    /// What its descriptor is to be watched for.
    pub fn interest(&self) -> Interest {
        if self.exhausted {
            Interest::NONE
        } else {
            Interest::READ
        }
    }

    /// Takes waiting connections. Notes when there is no descriptor left for them.
    pub fn accept(&mut self) -> Vec<OwnedFd> {
        let mut accepted = Vec::new();
        // Errors count as well: one that does not go away must not hold up the loop.
        for _ in 0..BATCH {
            match sys::accept(self.fd.as_fd()) {
                Ok(fd) => accepted.push(fd),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if sys::is_lasting(&error) => {
                    self.exhausted = true;
                    break;
                }
                // One connection that ended before it was taken says nothing about the next.
                Err(_) => {}
            }
        }
        accepted
    }
}

impl Context {
    /// Begins to accept what comes in at these sockets.
    pub(crate) fn add_listener(&mut self, bound: Bound, settings: Settings, policy: Policy) -> Id {
        let listener = Listener {
            settings,
            policy: Rc::new(policy),
            address: bound.address,
            acceptors: Vec::with_capacity(bound.sockets.len()),
            pending: 0,
        };
        let id = self.slots.insert(Source::Listener(Box::new(listener)));
        for (fd, file) in bound.sockets {
            let acceptor = Acceptor {
                fd,
                listener: id,
                exhausted: false,
                file,
            };
            let token = self.slots.insert(Source::Acceptor(Box::new(acceptor)));
            self.mark_changed(token);
            if let Some(listener) = self.slots.listener_mut(id) {
                listener.acceptors.push(token);
            }
        }
        self.listeners += 1;
        id
    }

    /// Closes the sockets of a listener. What the kernel has accepted for it is taken first, and goes
    /// on with the connections that are being established; those that stand are not touched.
    /// [`Event::ListenerEnded`](crate::Event::ListenerEnded) comes after the last event that names
    /// the listener. Returns whether it was listening.
    pub fn stop_listening(&mut self, id: Id) -> bool {
        let Some(listener) = self.slots.listener_mut(id) else {
            return false;
        };
        let acceptors = listener.acceptors.clone();
        if acceptors.is_empty() {
            return false;
        }
        for token in acceptors {
            for _ in 0..LAST_BATCHES {
                if self.accept(token) < BATCH {
                    break;
                }
            }
            self.release_acceptor(token);
        }
        if let Some(listener) = self.slots.listener_mut(id) {
            listener.acceptors.clear();
            listener.policy.stopped.set(true);
        }
        self.listeners -= 1;
        self.forget_idle_memory();
        self.end_idle(id);
        self.end_listener(id);
        true
    }

    /// Ends the connections of a stopped listener that are only kept for a further request. One that has come already is
    /// answered.
    fn end_idle(&mut self, listener: Id) {
        let is_idle = |source: &Source| {
            matches!(source, Source::Pending(pending) if pending.origin == Origin::Listener(listener)
                && pending.establishing.phase() == Phase::Idle)
        };
        for id in self.slots.ids(is_idle) {
            if let Some(pending) = self.slots.pending_mut(id) {
                pending.establishing.expire();
            }
            self.advance(id, true);
        }
    }

    fn release_acceptor(&mut self, token: Id) {
        if let Source::Acceptor(acceptor) = self.slots.take(token) {
            // The file of a Unix socket goes now, so that nobody connects to what is closed.
            let Acceptor { fd, .. } = *acceptor;
            self.retire(token, fd);
        }
    }

    /// A connection of a listener is no longer being established.
    pub(crate) fn leave_listener(&mut self, listener: Option<Id>) {
        let Some(id) = listener else { return };
        if let Some(listener) = self.slots.listener_mut(id) {
            listener.pending -= 1;
            self.end_listener(id);
        }
    }

    /// Tells the program to forget a listener that was stopped, once nothing names it any more. Its
    /// slot is free when that was told.
    fn end_listener(&mut self, id: Id) {
        let ended = self
            .slots
            .listener_mut(id)
            .is_some_and(|listener| listener.acceptors.is_empty() && listener.pending == 0);
        if ended {
            self.events
                .push_back(Queued::ListenerEnded { listener: id });
        }
    }

    /// Where a listener is reached; `None`: it was stopped.
    pub fn listener_address(&self, id: Id) -> Option<&ListenerAddress> {
        Some(&self.listener(id)?.address)
    }

    /// Whether the connections of a listener are secured by TLS.
    pub fn listener_is_secure(&self, id: Id) -> bool {
        self.listener(id)
            .is_some_and(|listener| listener.policy.tls.is_some())
    }

    /// Whether it is the listener of a Unix socket at `path`, which may be relative.
    pub fn listener_is_at(&self, id: Id, path: &[u8]) -> bool {
        let address = self.listener_address(id);
        let Some(own) = address.and_then(|address| address.path.as_deref()) else {
            return false;
        };
        own == path
            || path::absolute(Path::new(OsStr::from_bytes(path)))
                .is_ok_and(|absolute| absolute.as_os_str().as_bytes() == own)
    }

    pub(crate) fn listener(&self, id: Id) -> Option<&Listener> {
        match &self.slots.get(id)?.source {
            Source::Listener(listener) if !listener.acceptors.is_empty() => Some(listener),
            _ => None,
        }
    }

    /// Removes the files of Unix sockets that this process has made, and touches nothing else: for
    /// a process that ends.
    pub fn remove_socket_files(&mut self) {
        for acceptor in self.slots.acceptors_mut() {
            acceptor.file = None;
        }
    }
}
