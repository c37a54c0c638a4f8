//! From a readable descriptor to events: one batch of bytes at a time, parsed as it is asked for.

use std::io;
use std::os::fd::AsFd;

use evws_proto::connection::Received;

use crate::context::{Context, Current};
use crate::event::{Event, Id, Queued};
use crate::link::{Link, Stage, PONG_BACKLOG, PONG_TIMEOUT};
use crate::send::mark_dirty;
use crate::slots::Source;
use crate::sys;
use crate::tls::records::Sink;

/// The size of the receive buffer: what a peer writes at a time, four messages of 64 KiB, say, and
/// their headers. Larger ones gain nothing and leave the processor's cache.
pub(crate) const BUFFER: usize = 260 * 1024;
/// Events of one batch that are delivered in one turn of the loop.
const EVENTS_PER_TURN: u32 = 4096;
/// From this many missing bytes on, a message is read straight into its own memory.
const DIRECT: u64 = 16 * 1024;
/// Why a connection ends whose bytes cannot be kept.
const NO_MEMORY: &str = "what was received does not fit into memory";
/// An RFC 6455 control frame carries no more than this.
const CONTROL_PAYLOAD: usize = 125;

/// Bytes in the receive buffer that one connection has yet to parse.
#[derive(Default)]
pub(crate) struct Batch {
    /// Whose they are; 0: nobody's.
    id: Id,
    /// Bytes that were read into the message that is being assembled, before those below.
    direct: usize,
    start: usize,
    end: usize,
    /// Events that it may still deliver in this turn.
    budget: u32,
}

impl Batch {
    pub fn is_active(&self) -> bool {
        self.id != 0
    }
}

/// A Ping's payload, to be sent back.
type Echo = ([u8; CONTROL_PAYLOAD], usize);

/// What is to be done with a frame that is no message, once it no longer borrows the bytes.
enum Found {
    Nothing,
    Pong(Vec<u8>),
    Ping(Echo),
    Close { code: Option<u16>, reason: Vec<u8> },
    Failed { code: u16, text: &'static str },
}

impl From<Received<'_>> for Found {
    fn from(received: Received<'_>) -> Found {
        match received {
            Received::NeedMore | Received::Message { .. } => Found::Nothing,
            Received::Ping(payload) => {
                let mut echo = [0; CONTROL_PAYLOAD];
                echo[..payload.len()].copy_from_slice(payload);
                Found::Ping((echo, payload.len()))
            }
            Received::Pong(payload) => Found::Pong(payload.to_vec()),
            Received::Close { code, reason } => Found::Close {
                code,
                reason: reason.to_vec(),
            },
            Received::Failed(failure) => Found::Failed {
                code: failure.code,
                text: failure.text,
            },
        }
    }
}

impl Context {
    /// The next event, until there are none. Queued events come first, then what was read.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.current = Current::default();
        loop {
            if let Some(queued) = self.events.pop_front() {
                if let Some(event) = self.deliver(queued) {
                    return Some(event);
                }
            } else if self.batch.is_active() {
                if let Some(event) = self.parse() {
                    return Some(event);
                }
            } else if let Some(id) = self.ready_now.pop_front() {
                self.begin_rest(id);
            } else if !self.flushed && !self.dirty.is_empty() {
                self.flushed = true;
                self.flush();
            } else if let Some(event) = self.finish_shutdown() {
                return Some(event);
            } else {
                self.dirty_next.append(&mut self.dirty);
                return None;
            }
        }
    }

    /// Turns a queued event into one for the caller, unless its time has passed.
    fn deliver(&mut self, queued: Queued) -> Option<Event> {
        match queued {
            Queued::Handshake {
                id,
                headers,
                foreign,
            } => {
                let listener = self.slots.pending(id)?.origin.listener();
                self.current.headers = headers;
                Some(Event::Handshake {
                    id,
                    listener,
                    foreign,
                })
            }
            Queued::Request { id, request, body } => {
                let pending = self.slots.pending(id)?;
                let listener = pending.origin.listener()?;
                self.current.secure = pending.secure;
                self.current.owned = body;
                self.current.request = Some(request);
                Some(Event::Request { id, listener })
            }
            Queued::Connect {
                id,
                headers,
                listener,
            } => {
                let link = self.slots.link_mut(id);
                let Some(link) = link.filter(|link| link.stage == Stage::Announced) else {
                    return listener.map(|_| Event::HandshakeEnded { id });
                };
                link.stage = Stage::Open;
                if link.has_rest() {
                    self.ready_now.push_back(id);
                }
                self.mark_changed(id);
                self.current.headers = headers;
                Some(Event::Connect { id, listener })
            }
            Queued::Drain { id } => {
                let link = self.slots.link(id)?;
                (link.is_open() && link.queue.is_empty()).then_some(Event::Drain { id })
            }
            Queued::Error { id, text } => {
                self.slots.link(id)?;
                self.current.owned = text.into_owned().into_bytes();
                Some(Event::Error { id })
            }
            Queued::ConnectFailed { id, text } => {
                // The rest of an adopted connection may linger, or be gone already.
                let slot = self.slots.get(id);
                if slot.is_some_and(|slot| matches!(slot.source, Source::GivenUp { .. })) {
                    self.release(id, None);
                }
                self.current.owned = text.into_bytes();
                Some(Event::ConnectFailed { id })
            }
            Queued::Close { id, code } => {
                self.slots.link(id)?;
                self.part(id);
                Some(Event::Close { id, code })
            }
            Queued::HandshakeEnded { id } => Some(Event::HandshakeEnded { id }),
            Queued::ListenerEnded { listener } => {
                self.release(listener, None);
                Some(Event::ListenerEnded { listener })
            }
        }
    }

    /// Readiness of an established connection.
    pub(crate) fn handle_link(&mut self, id: Id, readable: bool, writable: bool) {
        if writable {
            self.write(id);
        }
        if !readable {
            return;
        }
        let Some(link) = self.slots.link_mut(id) else {
            return;
        };
        if link.stage == Stage::Lingering {
            self.discard(id);
        } else if !link.holds_back() && !link.has_rest() && self.batch.id != id {
            self.receive(id);
        }
    }

    /// Reads once. Whatever the batch before has left is set aside.
    fn receive(&mut self, id: Id) {
        self.set_aside();
        let Context {
            slots,
            buffer,
            wire,
            ..
        } = self;
        if buffer.is_empty() {
            *buffer = vec![0; BUFFER];
        }
        let Some(link) = slots.link_mut(id) else {
            return;
        };
        let wanted = link.proto.payload_wanted();
        let direct_target = if wanted >= DIRECT {
            link.proto.payload_buffer()
        } else {
            None
        };
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        let result = if let Some(tls) = &mut link.tls {
            // What is in records is shorter than they are: there is room for it.
            wire.resize(BUFFER, 0);
            // As with recvmsg(2): no more than there is memory for.
            let target = direct_target.map(|target| {
                let room = target.capacity() - target.len();
                (target, wanted.min(room))
            });
            let result = tls.receive(
                |bytes| sys::receive(link.fd.as_fd(), bytes),
                wire,
                &mut Sink::new(target, buffer),
            );
            if tls.wants_write() {
                mark_dirty(link, id, &mut self.dirty);
            }
            result
        } else if let Some(target) = direct_target {
            sys::receive_two(link.fd.as_fd(), target, wanted, buffer)
        } else {
            sys::receive(link.fd.as_fd(), buffer).map(|count| (0, count))
        };
        if link.is_closing() {
            self.extend_closing(id, false);
        }
        match result {
            Ok((0, 0)) => self.end_of_stream(id),
            Ok((direct, end)) => {
                self.batch = Batch {
                    id,
                    direct,
                    start: 0,
                    end,
                    budget: EVENTS_PER_TURN,
                };
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.end_of_stream(id),
        }
    }

    /// Takes the rest of a connection into the receive buffer.
    fn begin_rest(&mut self, id: Id) {
        let Some(link) = self.slots.link_mut(id) else {
            return;
        };
        if link.holds_back() || !link.has_rest() {
            return;
        }
        if !link.has_bytes() {
            return self.end_of_stream(id);
        }
        if self.buffer.is_empty() {
            self.buffer = vec![0; BUFFER];
        }
        let end = link.rest.len().min(self.buffer.len());
        self.buffer[..end].copy_from_slice(&link.rest[..end]);
        if end == link.rest.len() {
            link.rest = Vec::new();
        } else {
            link.rest.drain(..end);
        }
        let direct = std::mem::take(&mut link.direct);
        self.batch = Batch {
            id,
            direct,
            start: 0,
            end,
            budget: EVENTS_PER_TURN,
        };
    }

    /// Moves what is left of the batch into its connection, to be parsed later.
    fn set_aside(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        let Some(link) = self.slots.link_mut(batch.id) else {
            return;
        };
        if batch.direct > 0 {
            // A nested loop came between reading and the first event.
            link.direct = batch.direct;
        }
        if batch.start < batch.end {
            if link.rest.try_reserve(batch.end - batch.start).is_err() {
                // Bytes that are missing cannot be made up for.
                let text = NO_MEMORY.into();
                self.queue_close(batch.id, Some(1009), NO_MEMORY.as_bytes());
                let id = batch.id;
                self.events.push_back(Queued::Error { id, text });
                return self.end(id, 1009);
            }
            link.rest
                .splice(..0, self.buffer[batch.start..batch.end].iter().copied());
        }
        if link.has_rest() && !link.holds_back() {
            self.ready_now.push_back(batch.id);
        }
    }

    /// The next event of the batch, or none if it has ended or must wait.
    fn parse(&mut self) -> Option<Event> {
        loop {
            let Context {
                slots,
                batch,
                buffer,
                current,
                holders,
                ..
            } = self;
            let id = batch.id;
            let Some(link) = slots.link_mut(id) else {
                *batch = Batch::default();
                return None;
            };
            if link.holds_back() {
                self.set_aside();
                return None;
            }
            if batch.direct == 0 && batch.start == batch.end {
                *batch = Batch::default();
                if link.has_rest() {
                    self.ready_now.push_back(id);
                }
                return None;
            }
            if batch.budget == 0 {
                self.postpone();
                return None;
            }
            batch.budget -= 1;
            let received = if batch.direct > 0 {
                let direct = std::mem::take(&mut batch.direct);
                link.proto.payload_received(direct)
            } else {
                let (used, received) = link.proto.receive(&mut buffer[batch.start..batch.end]);
                batch.start += used;
                received
            };
            if let Received::Message { binary, payload } = received {
                let length = payload.len();
                if !link.wants.message {
                    link.proto.release();
                    holders.note(id, link);
                    continue;
                }
                match link.proto.take_message() {
                    Some(message) => {
                        current.owned = message;
                        holders.note(id, link);
                    }
                    None => current.range = Some((batch.start - length, batch.start)),
                }
                return Some(Event::Message { id, binary });
            }
            let found = Found::from(received);
            // What a split control frame needed is not kept by a connection that goes idle.
            link.proto.release();
            if let Some(event) = self.act(id, found) {
                return Some(event);
            }
        }
    }

    /// The batch has had its share of this turn of the loop.
    fn postpone(&mut self) {
        let id = self.batch.id;
        self.set_aside();
        if self.ready_now.back() == Some(&id) {
            self.ready_now.pop_back();
            self.ready_next.push_back(id);
        }
    }

    fn act(&mut self, id: Id, found: Found) -> Option<Event> {
        let link = self.slots.link_mut(id)?;
        match found {
            Found::Nothing => None,
            Found::Pong(payload) => {
                if !link.wants.pong || link.is_closing() {
                    return None;
                }
                self.current.owned = payload;
                Some(Event::Pong { id })
            }
            Found::Ping((echo, length)) => {
                self.answer_ping(id, &echo[..length]);
                None
            }
            Found::Close { code, reason } => {
                // Nothing goes out if this answers our own.
                self.queue_close(id, code, &[]);
                self.current.owned = reason;
                let unread = self.batch.start < self.batch.end;
                self.batch = Batch::default();
                if let Some(link) = self.slots.link_mut(id) {
                    link.clean = !unread && link.rest.is_empty();
                }
                self.part(id);
                Some(Event::Close {
                    id,
                    code: code.unwrap_or(1005),
                })
            }
            Found::Failed { code, text } => {
                self.fail(id, code, text);
                self.batch = Batch::default();
                Some(Event::Error { id })
            }
        }
    }

    /// Every Ping gets its own Pong. A peer that takes none is not read from for a while.
    fn answer_ping(&mut self, id: Id, payload: &[u8]) {
        self.queue_pong(id, payload);
        let Some(link) = self.slots.link_mut(id) else {
            return;
        };
        if link.pong_backlog > PONG_BACKLOG {
            self.write(id);
            let still = self
                .slots
                .link(id)
                .is_some_and(|link| link.pong_backlog > PONG_BACKLOG);
            if still {
                self.slots.set_deadline(id, Some(PONG_TIMEOUT));
                self.mark_changed(id);
            }
        }
    }

    /// Reads what a closed connection still sends, for nobody, until its end.
    fn discard(&mut self, id: Id) {
        if self.buffer.is_empty() {
            self.buffer = vec![0; BUFFER];
        }
        // What the batch has left lies in the same buffer.
        self.set_aside();
        let Some(Link { fd, tls, .. }) = self.slots.link_mut(id) else {
            return;
        };
        let result = match tls {
            Some(tls) => {
                self.wire.resize(BUFFER, 0);
                let mut sink = Sink::new(None, &mut self.buffer);
                let read = |bytes: &mut [u8]| sys::receive(fd.as_fd(), bytes);
                tls.receive(read, &mut self.wire, &mut sink)
            }
            None => sys::receive(fd.as_fd(), &mut self.buffer).map(|count| (0, count)),
        };
        match result {
            Ok((0, 0)) => self.release_link(id),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.release_link(id),
        }
    }
}
