//! From a readable descriptor to events: one batch of bytes at a time, parsed as it is asked for.
//! Nothing is written here: what an event has queued waits for the flush.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};

use evws_proto::connection::{Connection, Failure, Received, WholeMessage};

use super::control::Control;
use super::link::{Link, Links};
use super::rates::ANY;
use super::send::log_frame;
use super::{Traffic, BUFFER};
use crate::event::{Event, Id};
use crate::limits::RateLimit;
use crate::log::{Log, Topic};
use crate::shared::Shared;
use crate::sys;
use crate::tls::records::{Sink, TlsConnection};

/// Events of one batch that are delivered in one turn of the loop.
const EVENTS_PER_TURN: u32 = 4096;
/// Bytes that are parsed at first after a pause for too many messages: the next pause may come after one of them, and what
/// is left of the piece is moved again.
const PIECE: usize = 1024;
/// From this many missing bytes on, a message is read straight into its own memory.
const DIRECT: u64 = 16 * 1024;
/// Why a connection ends whose bytes cannot be kept.
const NO_MEMORY: &str = "what was received does not fit into memory";
/// Bytes in the receive buffer that one connection has yet to parse.
#[derive(Default)]
struct Batch {
    /// The connection that they were read from; 0: there is no batch.
    id: Id,
    /// Bytes that were read into the message that is being assembled, before those below.
    direct: usize,
    start: usize,
    end: usize,
    /// Events that it may still deliver in this turn.
    budget: u32,
}

/// What was read and not parsed yet.
#[derive(Default)]
pub struct Input {
    /// The one receive buffer; empty while there is no connection.
    buffer: Vec<u8>,
    batch: Batch,
    /// Connections with bytes to parse in this turn of the loop, and in the next.
    now: VecDeque<Id>,
    next: VecDeque<Id>,
    /// Bytes that were moved back into the receive buffer.
    #[cfg(test)]
    pub moved: usize,
    /// Steps that were not a message which lay whole in it.
    #[cfg(test)]
    pub others: usize,
}

impl Input {
    /// Whether there is something to parse in this turn.
    #[inline]
    pub fn is_active(&self) -> bool {
        self.batch.id != 0 || !self.now.is_empty()
    }

    /// Whether there is something to parse in the next turn.
    pub fn waits_for_next_turn(&self) -> bool {
        !self.next.is_empty()
    }

    /// Whether the receive buffer holds no memory.
    pub fn is_free(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Gives the receive buffer's memory back.
    pub fn release_buffer(&mut self) {
        self.buffer = Vec::new();
    }

    /// Whether bytes of the batch wait to be parsed.
    pub fn has_batch(&self) -> bool {
        self.batch.start < self.batch.end
    }

    /// Nothing more of the batch is parsed.
    pub fn end_batch(&mut self) {
        self.batch = Batch::default();
    }

    /// Connections with bytes that the last turn has left unparsed are parsed in this one.
    pub fn begin_turn(&mut self) {
        self.now.append(&mut self.next);
    }

    /// Has the unparsed bytes of a connection parsed, if there are any and they need not wait.
    pub fn resume_parsing(&mut self, links: &Links, id: Id) {
        let is_ready = |link: &Link| link.has_unparsed() && !link.holds_back();
        if links.get(id).is_some_and(is_ready) {
            self.now.push_back(id);
        }
    }

    #[inline]
    fn buffer(&mut self) -> &mut Vec<u8> {
        if self.buffer.is_empty() {
            self.buffer = vec![0; BUFFER];
        }
        &mut self.buffer
    }

    fn begin(&mut self, id: Id, direct: usize, end: usize) {
        self.batch = Batch {
            id,
            direct,
            start: 0,
            end,
            budget: EVENTS_PER_TURN,
        };
    }

    /// Moves what is left of the batch into its connection, to be parsed later. Returns whose it was,
    /// and whether there was memory for it.
    fn set_aside(&mut self, links: &mut Links) -> (Id, bool) {
        let batch = std::mem::take(&mut self.batch);
        if let Some(link) = links.get_mut(batch.id) {
            // If a nested loop came between reading and the first event.
            link.direct = batch.direct;
            let rest = &self.buffer[batch.start..batch.end];
            if !link.unparsed.give_back(rest) {
                return (batch.id, false);
            }
        }
        (batch.id, true)
    }

    /// Takes the unparsed bytes of a connection into the receive buffer.
    fn take_unparsed(&mut self, link: &mut Link) {
        let is_paused_soon = link.rates.as_mut().is_some_and(|rates| rates.resume());
        let most = if is_paused_soon { PIECE } else { BUFFER };
        let end = link.unparsed.take(&mut self.buffer()[..most]);
        #[cfg(test)]
        {
            self.moved += end;
        }
        let direct = std::mem::take(&mut link.direct);
        self.begin(link.id, direct, end);
    }
}

/// As [`Connection::receive`], with a line for each frame.
#[cold]
fn receive_logged<'a>(
    log: &Log,
    id: Id,
    proto: &'a mut Connection,
    input: &'a mut [u8],
) -> (usize, Received<'a>) {
    let mut headers = Vec::new();
    let received = proto.receive_observed(input, &mut headers);
    for header in &headers {
        log_frame(log, id, "received", header);
    }
    received
}

/// Reads once: into the message `target` as many bytes as it lacks and has memory for, and further ones
/// into the receive buffer, of plaintext or of the records of TLS `most` bytes. Returns how many bytes went into each.
#[inline]
fn read_once(
    fd: &OwnedFd,
    tls: &mut Option<Box<TlsConnection>>,
    target: Option<(&mut Vec<u8>, usize)>,
    wire: &mut Vec<u8>,
    buffer: &mut [u8],
    most: usize,
) -> io::Result<(usize, usize)> {
    match (tls, target) {
        (Some(tls), target) => {
            // Records are longer than their plaintext, so there is room for it.
            wire.resize(BUFFER, 0);
            let read = |bytes: &mut [u8]| {
                let most = most.min(bytes.len());
                sys::receive(fd.as_fd(), &mut bytes[..most])
            };
            tls.receive(read, wire, &mut Sink::new(target, buffer))
        }
        (None, Some((target, wanted))) => {
            let wanted = wanted.min(most);
            let rest = buffer.len().min(most - wanted);
            sys::receive_two(fd.as_fd(), target, wanted, &mut buffer[..rest])
        }
        (None, None) => {
            let most = most.min(buffer.len());
            sys::receive(fd.as_fd(), &mut buffer[..most]).map(|count| (0, count))
        }
    }
}

impl Traffic {
    /// The descriptor is readable.
    #[inline]
    pub(super) fn handle_readable(&mut self, id: Id, shared: &mut Shared<'_>) {
        let Some(link) = self.links.get(id) else {
            return;
        };
        if link.state.is_lingering() {
            self.discard(id, shared);
        } else if !link.is_unread() && !link.has_unparsed() && self.input.batch.id != id {
            self.receive(id, shared);
        }
    }

    /// Reads once. The unparsed rest of the batch before is set aside.
    fn receive(&mut self, id: Id, shared: &mut Shared<'_>) {
        self.set_aside(false, shared);
        let Traffic {
            links, input, wire, ..
        } = self;
        let Some(link) = links.get_mut(id) else {
            return;
        };
        link.pulse.hear(shared.reactor.clock());
        let wanted = link.proto.payload_wanted();
        let target = if wanted >= DIRECT {
            link.proto.payload_buffer()
        } else {
            None
        };
        let target = target.map(|target| (target, usize::try_from(wanted).unwrap_or(usize::MAX)));
        let most = match &mut link.rates {
            Some(rates) => rates.readable(shared.reactor.clock().now()),
            None => ANY,
        };
        let is_limited = link.rates.is_some();
        let buffer = input.buffer();
        let result = read_once(&link.fd, &mut link.tls, target, wire, buffer, most);
        if let Ok((direct, end)) = result {
            link.counters.read(direct + end);
        }
        let wants_write = link.tls.as_ref().is_some_and(|tls| tls.wants_write());
        if wants_write {
            self.to_write.note(&self.log, link);
        }
        if link.state.is_closing() {
            self.extend_closing(id, false, shared.reactor);
        }
        match result {
            Ok((0, 0)) => self.end_of_stream(id, shared),
            Ok((direct, end)) => {
                self.input.begin(id, direct, end);
                if is_limited {
                    self.count_bytes(id, direct + end, shared);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                self.log
                    .write(Topic::Error, id, format_args!("reading failed: {error}"));
                self.end_of_stream(id, shared);
            }
        }
    }

    /// Reads what the peer of a closed connection still sends, and drops it, until the stream ends.
    fn discard(&mut self, id: Id, shared: &mut Shared<'_>) {
        // What the batch has left lies in the same buffer.
        self.set_aside(false, shared);
        let Traffic {
            links, input, wire, ..
        } = self;
        let Some(Link { fd, tls, .. }) = links.get_mut(id) else {
            return;
        };
        let result = read_once(fd, tls, None, wire, input.buffer(), ANY);
        match result {
            Ok((0, 0)) => self.release(id, shared.reactor),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.release(id, shared.reactor),
        }
    }

    /// Moves what is left of the batch into its connection; for the next turn if it `waits`.
    fn set_aside(&mut self, waits: bool, shared: &mut Shared<'_>) {
        let (id, is_kept) = self.input.set_aside(&mut self.links);
        if !is_kept {
            // A connection cannot go on without these bytes.
            shared.outbox.push_text(Event::Error { id }, NO_MEMORY);
            self.fail(id, 1009, NO_MEMORY, shared);
        } else if waits {
            self.input.next.push_back(id);
        } else {
            self.input.resume_parsing(&self.links, id);
        }
    }

    /// Whether [`parse_next`](Self::parse_next) has something to do.
    #[inline]
    pub fn has_input(&self) -> bool {
        self.input.is_active()
    }

    /// A step towards the next event of what was read: that event, or none yet. Events that it has
    /// put into the outbox come first.
    #[inline]
    pub fn parse_next(&mut self, shared: &mut Shared<'_>) -> Option<Event> {
        if self.input.batch.id != 0 {
            return self.parse(shared);
        }
        let id = self.input.now.pop_front()?;
        let link = self.links.get_mut(id)?;
        if link.holds_back() || !link.has_unparsed() {
            return None;
        }
        if link.has_unparsed_bytes() {
            self.input.take_unparsed(link);
        } else {
            self.end_of_stream(id, shared);
        }
        None
    }

    /// The next event of the batch, or none if it has ended or must wait.
    fn parse(&mut self, shared: &mut Shared<'_>) -> Option<Event> {
        loop {
            let Input { buffer, batch, .. } = &mut self.input;
            let id = batch.id;
            let Some(link) = self.links.get_mut(id) else {
                *batch = Batch::default();
                return None;
            };
            if link.holds_back() {
                self.set_aside(false, shared);
                return None;
            }
            if batch.direct == 0 && batch.start == batch.end {
                *batch = Batch::default();
                self.input.resume_parsing(&self.links, id);
                return None;
            }
            if batch.budget == 0 {
                // The batch has had its share of this turn of the loop.
                self.set_aside(true, shared);
                return None;
            }
            if link.is_out_of_messages && batch.direct == 0 {
                let now = shared.reactor.clock().now();
                let rest = &buffer[batch.start..batch.end];
                if let Some(pause) = link.before_message(rest, now) {
                    self.slow_down(id, RateLimit::Messages, pause, shared);
                    self.set_aside(false, shared);
                    return None;
                }
            }
            batch.budget -= 1;
            let whole = if batch.direct == 0 && !self.log.is_on() {
                link.proto
                    .receive_whole(&mut buffer[batch.start..batch.end])
            } else {
                None
            };
            let Some((used, whole)) = whole else {
                match self.parse_other(shared) {
                    Some(event) => return Some(event),
                    None => continue,
                }
            };
            let before = batch.start;
            batch.start += used;
            let WholeMessage { binary, payload } = match whole {
                Ok(message) => message,
                Err(Failure { code, text }) => {
                    return self.handle_control(id, Control::Failed { code, text }, shared)
                }
            };
            link.counters.received(payload.len());
            link.idleness.message(shared.reactor.clock());
            let is_wanted = link.wants.message;
            if is_wanted {
                let range = before + payload.start..before + payload.end;
                shared.outbox.set_received(range);
            }
            if link.rates.is_some() {
                self.count_message(id, shared);
            }
            if is_wanted {
                return Some(Event::Message { id, binary });
            }
        }
    }

    /// The next event of the batch, which is no message that lies whole in it; or a message that the log is to see.
    #[inline(never)]
    fn parse_other(&mut self, shared: &mut Shared<'_>) -> Option<Event> {
        #[cfg(test)]
        {
            self.input.others += 1;
        }
        let Input { buffer, batch, .. } = &mut self.input;
        let id = batch.id;
        let link = self.links.get_mut(id)?;
        let received = if batch.direct > 0 {
            let direct = std::mem::take(&mut batch.direct);
            link.proto.payload_received(direct)
        } else {
            let input = &mut buffer[batch.start..batch.end];
            let (used, received) = if self.log.is_on() {
                receive_logged(&self.log, id, &mut link.proto, input)
            } else {
                link.proto.receive_other(input)
            };
            batch.start += used;
            received
        };
        let Received::Message { binary, payload } = received else {
            let control = Control::from(received);
            if link.idleness.is_watched() && link.proto.take_progress() {
                link.idleness.message(shared.reactor.clock());
            }
            // What a split control frame needed is not kept by a connection that goes idle.
            link.proto.release();
            return self.handle_control(id, control, shared);
        };
        let length = payload.len();
        let is_wanted = link.wants.message;
        let is_limited = link.rates.is_some();
        link.counters.received(length);
        link.idleness.message(shared.reactor.clock());
        if is_wanted {
            match link.proto.take_message() {
                Some(message) => shared.outbox.data_mut().payload = message,
                None => shared
                    .outbox
                    .set_received(batch.start - length..batch.start),
            }
        } else {
            link.proto.release();
        }
        self.codec_owners.note(link, shared.reactor);
        if is_limited {
            self.count_message(id, shared);
        }
        is_wanted.then_some(Event::Message { id, binary })
    }

    /// Bytes of the receive buffer, which the last event has named.
    #[inline]
    pub fn received(&self, range: Range<usize>) -> &[u8] {
        &self.input.buffer[range]
    }
}
