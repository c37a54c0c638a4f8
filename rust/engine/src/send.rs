//! From calls to the kernel: frames are queued, and written together when a batch is through.

use std::os::fd::AsFd;

use evws_proto::connection::{Connection, Outgoing, SendError, State};
use evws_proto::{frame, Role};

use crate::context::Context;
use crate::event::{Id, Queued};
use crate::link::{Link, Stage, LINGER_TIMEOUT, PONG_BACKLOG, PONG_TIMEOUT};
use crate::queue::{NoMemory, Written};
use crate::slots::Source;

/// The largest buffer for compressed bytes that is kept for the next message.
const SCRATCH: usize = 256 * 1024;

/// What is sent as one message or control frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A text message.
    Text,
    /// A binary message.
    Binary,
    /// A Ping frame.
    Ping,
    /// A Pong frame.
    Pong,
    /// A part of a message.
    Fragment {
        /// Whether the message is binary; only its first part says.
        binary: bool,
        /// Whether this is the last part.
        last: bool,
    },
}

impl Context {
    /// Queues a frame. It is written when the callback that queued it has returned, or before the
    /// loop blocks.
    ///
    /// # Errors
    /// The connection is not open, a fragmented message is in progress, or there is no memory for it.
    pub fn send(&mut self, id: Id, kind: Kind, payload: &[u8]) -> Result<(), SendError> {
        let Context {
            slots,
            pool,
            masks,
            dirty,
            scratch,
            holders,
            ..
        } = self;
        let link = slots
            .link_mut(id)
            .filter(|link| link.is_open())
            .ok_or(SendError::NotOpen)?;
        let Link {
            proto, queue, role, ..
        } = link;
        let payload = match kind {
            Kind::Ping | Kind::Pong => &payload[..payload.len().min(125)],
            _ => payload,
        };
        let masked = *role == Role::Client;
        let mask = if masked { masks.next() } else { [0; 4] };
        if proto.compresses() {
            let frame = compressed(proto, kind, payload, mask, scratch)?;
            let length = frame.encoded_len();
            let queued = queue.append(pool, length, frame.payload.len(), |out| frame.encode(out));
            if queued.is_err() && !matches!(kind, Kind::Ping | Kind::Pong) {
                proto.forget_frame();
            }
            if scratch.capacity() > SCRATCH {
                *scratch = Vec::new();
            }
            holders.note(id, link);
            if queued.is_err() {
                if matches!(kind, Kind::Fragment { .. }) {
                    // It was asked before whether there is room. A message that lacks a part must not go on.
                    self.abort(id);
                }
                return Err(SendError::NoMemory);
            }
        } else {
            let length = frame::encoded_len(payload.len(), masked);
            let queued = queue.append(pool, length, payload.len(), |out| match kind {
                Kind::Text => proto.send_message(false, payload, mask, out),
                Kind::Binary => proto.send_message(true, payload, mask, out),
                Kind::Ping => proto.send_ping(payload, mask, out),
                Kind::Pong => proto.send_pong(payload, mask, out),
                Kind::Fragment { binary, last } => {
                    proto.send_fragment(binary, last, payload, mask, out)
                }
            });
            queued.map_err(|NoMemory| SendError::NoMemory)??;
        }
        link.drain_due = true;
        mark_dirty(link, id, dirty);
        Ok(())
    }

    /// Begins the closing handshake (RFC 6455 section 7.1.2). Does nothing unless the connection
    /// is open.
    pub fn close(&mut self, id: Id, code: u16, reason: &[u8]) {
        if !self.slots.link(id).is_some_and(Link::is_open) {
            return;
        }
        self.queue_close(id, Some(code), reason);
        let Some(link) = self.slots.link_mut(id) else {
            return;
        };
        link.drain_due = false;
        // Nothing is delivered any more, so nothing needs to wait: the peer's Close must be seen.
        if link.has_rest() {
            self.ready_now.push_back(id);
        }
        self.extend_closing(id, true);
        self.mark_changed(id);
    }

    /// Queues a Close frame, after an end to the fragmented message if one is in progress.
    pub(crate) fn queue_close(&mut self, id: Id, code: Option<u16>, reason: &[u8]) {
        let Context {
            slots,
            pool,
            masks,
            dirty,
            ..
        } = self;
        let Some(link) = slots.link_mut(id) else {
            return;
        };
        let Link { proto, queue, .. } = link;
        let length = 2 * frame::encoded_len(125, true);
        let queued = queue.append(pool, length, 0, |out| {
            proto.close(code, reason, || masks.next(), out)
        });
        // The state was looked at by whoever calls this; a second Close is not sent. Where there is no memory for a
        // first one, the connection ends without.
        link.write_dead |= queued.is_err();
        mark_dirty(link, id, dirty);
    }

    pub(crate) fn queue_pong(&mut self, id: Id, payload: &[u8]) {
        let Context {
            slots,
            pool,
            masks,
            dirty,
            ..
        } = self;
        let Some(link) = slots.link_mut(id) else {
            return;
        };
        if link.proto.state() != State::Open || link.write_dead {
            return;
        }
        let Link {
            proto, queue, role, ..
        } = link;
        let masked = *role == Role::Client;
        let mask = if masked { masks.next() } else { [0; 4] };
        let length = frame::encoded_len(payload.len(), masked);
        let queued = queue.append(pool, length, payload.len(), |out| {
            proto.send_pong(payload, mask, out)
        });
        if matches!(queued, Ok(Ok(()))) {
            link.pong_backlog = link.pong_backlog.saturating_add(length as u32);
            link.pongs_end = link.queue.end();
            mark_dirty(link, id, dirty);
        }
    }

    /// Payload bytes that are queued and not yet given to the kernel; 0 for a closed connection.
    pub fn send_queue_size(&self, id: Id) -> u64 {
        match self.slots.link(id) {
            Some(link) if link.is_known() => link.queue.payload(),
            _ => 0,
        }
    }

    /// Writes every queue that has something new.
    pub(crate) fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for id in dirty.drain(..) {
            if let Some(link) = self.slots.link_mut(id) {
                link.dirty = false;
                // A full socket says when there is room again.
                if !link.write_blocked {
                    self.write(id);
                }
            }
        }
        if self.dirty.is_empty() {
            self.dirty = dirty;
        }
    }

    /// Offers a queue to the kernel.
    pub(crate) fn write(&mut self, id: Id) {
        let Context {
            slots, pool, wire, ..
        } = self;
        let Some(link) = slots.link_mut(id) else {
            return;
        };
        let was_blocked = link.write_blocked;
        let before = link.queue.taken();
        let written = if link.write_dead {
            link.queue.clear(pool);
            Ok(Written::All)
        } else {
            link.write_queue(pool, wire)
        };
        link.write_blocked = matches!(written, Ok(Written::Part));
        if written.is_err() {
            // Messages that came before the end are still to be read: reading will meet the end.
            link.write_dead = true;
            link.queue.clear(pool);
        }
        let progress = link.queue.taken() > before;
        let pongs_are_out = link.queue.is_empty() || link.queue.taken() >= link.pongs_end;
        let was_full = link.pong_backlog > PONG_BACKLOG;
        if pongs_are_out {
            link.pong_backlog = 0;
        }
        if link.queue.is_empty() {
            // What was thrown away was not sent: a program must not be told to go on.
            let drained = std::mem::take(&mut link.drain_due)
                && link.wants.drain
                && link.is_open()
                && !link.write_dead;
            if drained {
                self.events.push_back(Queued::Drain { id });
            }
        }
        if was_full && pongs_are_out {
            self.resume_after_pongs(id);
        }
        let Some(link) = self.slots.link(id) else {
            return;
        };
        let (open, closing) = (link.is_open(), link.is_closing());
        let lingering = link.stage == Stage::Lingering;
        if link.write_blocked != was_blocked {
            self.mark_changed(id);
        }
        if progress && closing {
            self.extend_closing(id, true);
        } else if progress && open && was_full && !pongs_are_out {
            self.slots.set_deadline(id, Some(PONG_TIMEOUT));
        } else if lingering {
            if progress {
                self.slots.set_deadline(id, Some(LINGER_TIMEOUT));
            }
            self.finish_writing(id);
        }
    }

    fn resume_after_pongs(&mut self, id: Id) {
        let Some(link) = self.slots.link(id) else {
            return;
        };
        let (open, left) = (link.is_open(), link.has_rest());
        // Once it is closing or closed, the deadline is that of the end.
        if open {
            self.slots.set_deadline(id, None);
        }
        if left {
            self.ready_now.push_back(id);
        }
        self.mark_changed(id);
    }

    /// A closed connection whose last byte the kernel has: a server that has seen both Close
    /// frames ends the stream (RFC 6455 section 7.1.1), everyone else waits for the peer's end.
    pub(crate) fn finish_writing(&mut self, id: Id) {
        let Some(link) = self.slots.link_mut(id) else {
            return;
        };
        if link.stage != Stage::Lingering {
            return;
        }
        if link.write_dead {
            return self.release_link(id);
        }
        if !link.queue.is_empty() {
            return;
        }
        if !link.notify_end() {
            link.write_blocked = true;
            return self.mark_changed(id);
        }
        if link.clean && link.role == Role::Server {
            self.release_link(id);
        } else if !link.write_shut {
            link.write_shut = true;
            if link.role == Role::Server || !link.clean {
                crate::sys::shutdown_write(link.fd.as_fd());
            }
        }
    }

    /// Ends an established connection for good.
    pub(crate) fn release_link(&mut self, id: Id) {
        if self.slots.link(id).is_none() {
            return;
        }
        let Source::Link(link) = self.slots.take(id) else {
            return;
        };
        let mut link = *link;
        // A peer that is gone, or takes nothing, goes without it.
        link.notify_end();
        link.end_shared();
        link.queue.clear(&mut self.pool);
        self.forget_link();
        self.retire(id, link.fd);
    }
}

/// The frame of a connection with compression: its length is not known before it is made.
fn compressed<'a>(
    proto: &mut Connection,
    kind: Kind,
    payload: &'a [u8],
    mask: [u8; 4],
    scratch: &'a mut Vec<u8>,
) -> Result<Outgoing<'a>, SendError> {
    match kind {
        Kind::Text => proto.message_frame(false, payload, mask, scratch),
        Kind::Binary => proto.message_frame(true, payload, mask, scratch),
        Kind::Ping => proto.ping_frame(payload, mask),
        Kind::Pong => proto.pong_frame(payload, mask),
        Kind::Fragment { binary, last } => {
            proto.fragment_frame(binary, last, payload, mask, scratch)
        }
    }
}

/// Notes that a connection has something new to write.
pub(crate) fn mark_dirty(link: &mut Link, id: Id, dirty: &mut Vec<Id>) {
    if !link.dirty {
        link.dirty = true;
        dirty.push(id);
    }
}
