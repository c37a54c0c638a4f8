//! Listeners: what the connections of one have in common, and the sockets that they come in at.

use std::ffi::OsStr;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{self, Path};
use std::rc::Rc;

use super::bind::{Bound, ListenerAddress};
use super::establish::door::Door;
use super::establish::mailbox::Phase;
use super::establish::policy::Policy;
use super::establish::server::AlreadyRead;
use super::establish::stream::Socket;
use super::pending::ConnectionSource;
use super::socket_file::SocketFile;
use super::{Arrival, Arrivals};
use crate::error::CallError;
use crate::event::{Event, Id, Interest, RejectCause, Settings};
use crate::log::{Log, Topic};
use crate::reactor::{Reactor, Timer};
use crate::shared::Shared;
use crate::{sys, timeouts};

/// Connections taken in one turn of the loop.
const BATCH: usize = 32;
/// Batches that are taken at most when a listener is stopped, however fast new connections come.
const LAST_BATCHES: usize = 128;

/// A listener. It has no descriptor of its own.
pub struct Listener {
    /// The options of every connection.
    pub settings: Settings,
    /// How every request is treated.
    pub policy: Rc<Policy>,
    /// Where it is reached.
    pub address: ListenerAddress,
    /// Its sockets; empty once it was stopped.
    pub acceptors: Vec<Id>,
    /// Its connections that are being established.
    pub pending: usize,
    /// How many of its clients were rejected, by the numbers of the causes.
    pub rejected: RejectCounts,
    /// How many of them there may be; 0: no limit.
    pub max_pending: usize,
    /// There are as many: nothing is accepted until some are over.
    pub is_full: bool,
}

impl Listener {
    /// How many connections may be accepted now.
    fn room(&self) -> usize {
        match self.max_pending {
            0 => usize::MAX,
            max => max.saturating_sub(self.pending),
        }
    }

    /// Whether so many are over that accepting goes on: one at a time would be a system call for each.
    fn has_room_again(&self) -> bool {
        self.is_full && self.pending <= self.max_pending - self.max_pending.div_ceil(8)
    }
}

/// Clients that were rejected, counted by the numbers of the causes.
pub type RejectCounts = [u64; RejectCause::ALL.len()];

/// A listening socket.
pub struct Acceptor {
    /// Never without one, until it is taken out to be closed.
    pub fd: OwnedFd,
    /// The listener that it belongs to.
    pub listener: Id,
    /// Descriptors ran out, or the like: nothing is accepted until a deadline has passed.
    pub exhausted: bool,
    /// Its listener is full.
    pub is_full: bool,
    /// The file of a Unix socket, removed with it.
    pub file: Option<SocketFile>,
}

impl Acceptor {
    /// What its descriptor is to be watched for.
    pub fn interest(&self) -> Interest {
        if self.exhausted || self.is_full {
            Interest::NONE
        } else {
            Interest::READ
        }
    }

    /// Takes up to `most` waiting connections. Notes when there is no descriptor left for them. Also returns whether more
    /// may wait.
    pub fn accept(
        &mut self,
        most: usize,
        token: Id,
        log: &Log,
    ) -> (Vec<(OwnedFd, Option<SocketAddr>)>, bool) {
        let mut accepted = Vec::new();
        // Errors count as well: one that does not go away must not hold up the loop.
        for _ in 0..most {
            match sys::accept(self.fd.as_fd()) {
                Ok(found) => accepted.push(found),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return (accepted, false)
                }
                Err(error) => {
                    log.write(
                        Topic::Error,
                        token,
                        format_args!("accepting failed: {error}"),
                    );
                    // One connection that ended before it was taken says nothing about the next.
                    if sys::is_lasting(&error) {
                        self.exhausted = true;
                        return (accepted, false);
                    }
                }
            }
        }
        (accepted, true)
    }
}

impl Arrivals {
    /// Begins to accept what comes in at these sockets.
    pub(super) fn add_listener(
        &mut self,
        bound: Bound,
        settings: Settings,
        policy: Policy,
        max_pending: usize,
        reactor: &mut Reactor,
    ) -> Id {
        let listener = Listener {
            settings,
            policy: Rc::new(policy),
            address: bound.address,
            acceptors: Vec::with_capacity(bound.sockets.len()),
            pending: 0,
            max_pending,
            is_full: false,
            rejected: RejectCounts::default(),
        };
        let id = self.insert(Arrival::Listener(Box::new(listener)), reactor);
        for (fd, file) in bound.sockets {
            let acceptor = Acceptor {
                fd,
                listener: id,
                exhausted: false,
                is_full: false,
                file,
            };
            let token = self.insert(Arrival::Acceptor(Box::new(acceptor)), reactor);
            if self.log.is_on() {
                self.log_listening(token);
            }
            reactor.touch(token);
            if let Some(listener) = self.listener_mut(id) {
                listener.acceptors.push(token);
            }
        }
        self.listening += 1;
        id
    }

    #[cold]
    fn log_listening(&self, token: Id) {
        let Some(Arrival::Acceptor(acceptor)) = self.sources.get(&token) else {
            return;
        };
        let (number, fd) = (acceptor.fd.as_raw_fd(), acceptor.fd.as_fd());
        let place = match (sys::local_address(fd), sys::local_path(fd)) {
            (Ok(address), _) => address.to_string(),
            (Err(_), path) => String::from_utf8_lossy(&path.unwrap_or_default()).into_owned(),
        };
        self.log.write(
            Topic::Descriptor,
            token,
            format_args!("fd {number} is opened: listens at {place}"),
        );
    }

    /// A listening socket is readable.
    pub(super) fn accept_waiting(&mut self, token: Id, shared: &mut Shared<'_>) {
        let Some(Arrival::Acceptor(acceptor)) = self.sources.get(&token) else {
            return;
        };
        let id = acceptor.listener;
        let room = self.listener_mut(id).map_or(0, |listener| listener.room());
        self.accept(token, room.min(BATCH), shared.reactor);
        let Some(listener) = self.listener_mut(id) else {
            return;
        };
        if listener.room() == 0 {
            self.pause_accepting(id, true, shared.reactor);
            // Those who only might ask something more make room for those who want to come in.
            self.end_idle(id, shared);
        }
    }

    /// The sockets of a listener are watched no longer, or again.
    fn pause_accepting(&mut self, id: Id, is_full: bool, reactor: &mut Reactor) {
        let Some(listener) = self.listener_mut(id) else {
            return;
        };
        listener.is_full = is_full;
        listener.policy.is_full.set(is_full);
        for token in listener.acceptors.clone() {
            if let Some(Arrival::Acceptor(acceptor)) = self.sources.get_mut(&token) {
                acceptor.is_full = is_full;
                reactor.touch(token);
            }
        }
    }

    /// Takes up to `most` waiting connections of a listening socket. Returns whether more may wait.
    fn accept(&mut self, token: Id, most: usize, reactor: &mut Reactor) -> bool {
        let Some(Arrival::Acceptor(acceptor)) = self.sources.get_mut(&token) else {
            return false;
        };
        let (accepted, is_more) = acceptor.accept(most, token, &self.log);
        let (id, exhausted) = (acceptor.listener, acceptor.exhausted);
        if exhausted {
            reactor.start(token, Timer::AcceptPause, Some(timeouts::ACCEPT_PAUSE));
            reactor.touch(token);
        }
        let Some(listener) = self.listener_mut(id) else {
            return false;
        };
        listener.pending += accepted.len();
        let (settings, policy) = (listener.settings.clone(), Rc::clone(&listener.policy));
        for (fd, peer) in accepted {
            sys::set_nodelay(fd.as_fd());
            let (policy, source) = (Rc::clone(&policy), ConnectionSource::Listener(id));
            let received = AlreadyRead {
                door: Door::of(&policy, peer),
                ..AlreadyRead::default()
            };
            let socket = Socket::new(fd, peer);
            self.add_server(socket, policy, received, settings.clone(), source, reactor);
        }
        is_more
    }

    /// Descriptors had run out a while ago.
    pub fn end_accept_pause(&mut self, token: Id, reactor: &mut Reactor) {
        if let Some(Arrival::Acceptor(acceptor)) = self.sources.get_mut(&token) {
            acceptor.exhausted = false;
            reactor.touch(token);
        }
    }

    /// Closes the sockets of a listener. What the kernel has accepted for it is taken first, and goes
    /// on with the connections that are being established; those that stand are not touched.
    /// [`Event::ListenerEnded`] comes after the last event that names the listener. Returns whether it
    /// was listening.
    pub fn stop_listening(&mut self, id: Id, shared: &mut Shared<'_>) -> bool {
        let Some(listener) = self.listener_mut(id) else {
            return false;
        };
        let acceptors = listener.acceptors.clone();
        if acceptors.is_empty() {
            return false;
        }
        for token in acceptors {
            for _ in 0..LAST_BATCHES {
                // One that had ended by itself is no sign that it was the last.
                if !self.accept(token, BATCH, shared.reactor) {
                    break;
                }
            }
            // The file of a Unix socket goes now, so that nobody connects to what is closed.
            if let Some(Arrival::Acceptor(acceptor)) = self.sources.remove(&token) {
                let Acceptor { fd, .. } = *acceptor;
                shared.reactor.release(token, Some(fd));
            }
        }
        if let Some(listener) = self.listener_mut(id) {
            listener.policy.stopped.set(true);
        }
        self.listening -= 1;
        self.end_idle(id, shared);
        // Only now, so that the last of those has not told of its end already.
        if let Some(listener) = self.listener_mut(id) {
            listener.acceptors = Vec::new();
        }
        self.end_listener(id, shared);
        true
    }

    /// Ends the connections of a stopped listener that are only kept for a further request. One that has come already is
    /// answered.
    fn end_idle(&mut self, listener: Id, shared: &mut Shared<'_>) {
        let is_idle = |source: &Arrival| {
            matches!(source, Arrival::Pending(pending) if pending.source == ConnectionSource::Listener(listener)
                && pending.establishing.mailbox.phase.get() == Phase::Idle)
        };
        for id in self.ids(is_idle) {
            if let Some(pending) = self.pending_mut(id) {
                pending.establishing.mailbox.expire();
            }
            self.advance(id, true, shared);
        }
    }

    /// A connection of a listener is no longer being established.
    pub(super) fn leave_listener(&mut self, listener: Option<Id>, shared: &mut Shared<'_>) {
        let Some(id) = listener else { return };
        if let Some(listener) = self.listener_mut(id) {
            listener.pending -= 1;
            if listener.has_room_again() {
                self.pause_accepting(id, false, shared.reactor);
            }
            self.end_listener(id, shared);
        }
    }

    /// Tells the program to forget a listener that was stopped, once nothing names it any more. Its
    /// slot is free when that was told.
    fn end_listener(&mut self, id: Id, shared: &mut Shared<'_>) {
        let ended = self
            .listener_mut(id)
            .is_some_and(|listener| listener.acceptors.is_empty() && listener.pending == 0);
        if ended {
            let event = Event::ListenerEnded { listener: id };
            shared.outbox.push(event);
        }
    }

    /// The program has been told that a listener has ended.
    pub fn forget_listener(&mut self, id: Id, reactor: &mut Reactor) {
        self.release(id, None, reactor);
    }

    /// A listener that is not stopped.
    fn listener(&self, id: Id) -> Option<&Listener> {
        match self.sources.get(&id)? {
            Arrival::Listener(listener) if !listener.acceptors.is_empty() => Some(listener),
            _ => None,
        }
    }

    /// Where a listener is reached; `None`: it was stopped.
    pub fn listener_address(&self, id: Id) -> Option<&ListenerAddress> {
        Some(&self.listener(id)?.address)
    }

    /// Counts a client that has not become a connection, at its listener and for the context.
    pub(super) fn count_rejected(&mut self, listener: Option<Id>, cause: Option<RejectCause>) {
        let (Some(id), Some(cause)) = (listener, cause) else {
            return;
        };
        self.rejected[cause.index()] += 1;
        if let Some(listener) = self.listener_mut(id) {
            listener.rejected[cause.index()] += 1;
        }
    }

    /// How many clients of some listeners were rejected; `None`: of all that there were.
    pub fn rejected(&self, listeners: Option<&[Id]>) -> RejectCounts {
        let Some(ids) = listeners else {
            return self.rejected;
        };
        let mut sums = RejectCounts::default();
        for listener in ids.iter().filter_map(|&id| self.listener(id)) {
            for (sum, count) in sums.iter_mut().zip(listener.rejected) {
                *sum += count;
            }
        }
        sums
    }

    /// How many clients of some listeners are on their way to a connection; `None`: how many connections of all kinds.
    pub fn handshakes(&self, listeners: Option<&[Id]>) -> usize {
        match listeners {
            Some(ids) => {
                let listeners = ids.iter().filter_map(|&id| self.listener(id));
                listeners.map(|listener| listener.pending).sum()
            }
            None => {
                let is_pending = |source: &&Arrival| matches!(source, Arrival::Pending(_));
                self.sources.values().filter(is_pending).count()
            }
        }
    }

    /// Whether the connections of a listener are secured by TLS.
    pub fn listener_is_secure(&self, id: Id) -> bool {
        self.listener(id)
            .is_some_and(|listener| listener.policy.tls.is_some())
    }

    /// Whether it listens at `place`: a port in digits, or the path of a Unix socket, which may be relative.
    pub fn listener_is_at(&self, id: Id, place: &[u8]) -> bool {
        let Some(address) = self.listener_address(id) else {
            return false;
        };
        if place.iter().all(u8::is_ascii_digit) {
            let port = std::str::from_utf8(place)
                .ok()
                .and_then(|digits| digits.parse().ok());
            return address.port != 0 && port == Some(address.port);
        }
        address.path.as_deref().is_some_and(|own| {
            own == place
                || path::absolute(Path::new(OsStr::from_bytes(place)))
                    .is_ok_and(|absolute| absolute.as_os_str().as_bytes() == own)
        })
    }

    /// Reads the TLS files of listeners again: of all of them, or of none if one cannot be used.
    pub fn reload_tls(&mut self, listeners: &[Id]) -> Result<(), CallError> {
        let mut made = Vec::new();
        for &id in listeners {
            let tls = self
                .listener(id)
                .and_then(|listener| listener.policy.tls.as_ref())
                .ok_or(CallError::NoTls)?;
            made.push((tls, tls.read()?));
        }
        for (tls, configuration) in made {
            tls.replace(configuration);
        }
        Ok(())
    }

    /// Removes the files of Unix sockets that this process has made.
    pub fn remove_socket_files(&mut self) {
        for source in self.sources.values_mut() {
            if let Arrival::Acceptor(acceptor) = source {
                acceptor.file = None;
            }
        }
    }

    /// Whether the sockets of a listener are watched.
    #[cfg(test)]
    pub fn accepts(&self, id: Id) -> bool {
        let acceptors = self
            .listener(id)
            .map_or(&[][..], |listener| &listener.acceptors);
        acceptors.iter().any(|&token| {
            self.interest(token)
                .is_some_and(|(_, wanted)| wanted == Some(Interest::READ))
        })
    }
}
