//! From calls to the kernel: a frame is queued, and a flush writes what is queued, all of a turn of the
//! loop together.

use std::os::fd::AsFd;

use evws_proto::connection::{FrameError, FrameKind};
use evws_proto::frame::{parse_header, Header};

use super::link::Link;
use super::pongs::Change;
use super::state::{LinkState, Writing};
use super::{change, Traffic};
use crate::event::{Event, Id};
use crate::limits::WhenFull;
use crate::log::{Log, Topic};
use crate::queue::{NoMemory, Written};
use crate::reactor::{Reactor, Timer};
use crate::shared::Shared;
use crate::{sys, timeouts};

/// Why a peer is cut off that does not take what it is sent.
pub(super) const QUEUE_FULL: &str = "send queue is full";

/// What becomes of a fragmented message that the program has not finished.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfinished {
    /// It ends with an empty fragment: the peer has it as a message. For programs that close, and know what they have sent.
    IsEnded,
    /// It stays as it is, so that no peer takes a part for the whole.
    IsCut,
}

/// Why nothing was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The connection is not open.
    NotOpen,
    /// A message of ours has begun and its last fragment was not sent.
    FragmentInProgress,
    /// There is no memory for the frame. The same call may be made again.
    NoMemory,
    /// The queue has no room. The same call may be made again.
    QueueFull,
    /// The queue has no room, and the message was dropped, or the connection has failed.
    Dropped,
}

impl From<FrameError> for SendError {
    #[inline]
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::NotOpen => SendError::NotOpen,
            FrameError::FragmentInProgress => SendError::FragmentInProgress,
            FrameError::NoMemory => SendError::NoMemory,
        }
    }
}

/// The largest buffer for compressed bytes that is kept for the next message.
const SCRATCH: usize = 256 * 1024;

/// Connections with something new to write.
#[derive(Default)]
pub struct ToWrite {
    /// Connections to be written by the next flush.
    now: Vec<Id>,
    /// Connections to be written in the next turn of the loop: a program that sends from `on_drain` would otherwise keep the
    /// loop to itself, and pile up in the kernel what no cache holds.
    next: Vec<Id>,
    /// The flush of this entry is over.
    is_flushed: bool,
}

impl ToWrite {
    /// Adds a connection, once.
    #[inline]
    pub fn push(&mut self, id: Id) {
        if self.is_flushed {
            self.next.push(id);
        } else {
            self.now.push(id);
        }
    }

    /// Something is queued on a connection: it is noted, unless it is already or the kernel will say when it takes more.
    #[inline]
    pub fn note(&mut self, log: &Log, link: &mut Link) {
        if change(log, link, LinkState::queue) {
            self.push(link.id);
        }
    }

    /// The loop enters the engine, which will be asked to flush.
    pub fn begin(&mut self) {
        self.is_flushed = false;
    }

    /// A turn of the loop begins.
    pub fn begin_turn(&mut self) {
        self.begin();
        self.now.append(&mut self.next);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.now.is_empty() && self.next.is_empty()
    }
}

impl Traffic {
    /// Queues a frame.
    ///
    /// # Errors
    /// The connection is not open, a fragmented message is in progress, the queue is full, or there is no
    /// memory for the frame. Nothing has changed then, but that a fragmented message whose compressed part is
    /// lost cannot go on: its connection is reset.
    #[inline]
    pub fn send(
        &mut self,
        id: Id,
        kind: FrameKind,
        payload: &[u8],
        shared: &mut Shared<'_>,
    ) -> Result<(), SendError> {
        self.settle(shared.reactor);
        let Traffic {
            links,
            masks,
            scratch,
            pool,
            to_write,
            codec_owners,
            log,
            ..
        } = self;
        let link = links.open_mut(id).ok_or(SendError::NotOpen)?;
        if link.is_dropping || link.limits.send_queue.is_full(link.queue.load()) {
            if let Err(refusal) = make_room(link, kind) {
                return Err(self.refuse(id, refusal, shared));
            }
        }
        let in_progress = link.proto.fragment_in_progress();
        let frame = link.proto.frame(kind, payload, || masks.next(), scratch)?;
        let queued = link.queue.append(pool, &frame);
        if log.is_on() && queued.is_ok() {
            log_frame(log, id, "sent", &frame.header());
        }
        if scratch.capacity() > SCRATCH {
            *scratch = Vec::new();
        }
        codec_owners.note(link, shared.reactor);
        if let Err(NoMemory) = queued {
            return Err(self.undo_frame(id, kind, in_progress, shared));
        }
        let waiting = link.queue.payload();
        link.counters.sent(kind, payload.len(), waiting);
        if !matches!(kind, FrameKind::Ping | FrameKind::Pong) {
            let end = link.queue.end();
            link.idleness.queued(end, shared.reactor.clock());
        }
        link.is_drain_due |= link.limits.send_queue.is_long(link.queue.load());
        to_write.note(log, link);
        if matches!(kind, FrameKind::Fragment { last: true, .. }) && link.subscriber.is_some() {
            self.release_held(id, shared.reactor);
        }
        Ok(())
    }

    /// There was no room for a frame.
    #[cold]
    fn refuse(&mut self, id: Id, refusal: SendError, shared: &mut Shared<'_>) -> SendError {
        let closes = self
            .links
            .get(id)
            .is_some_and(|link| link.limits.send_queue.when_full == WhenFull::Close);
        if closes && refusal == SendError::Dropped {
            self.fail_slow(id, shared);
        }
        refusal
    }

    /// There is no memory for a frame that was made.
    #[cold]
    fn undo_frame(
        &mut self,
        id: Id,
        kind: FrameKind,
        in_progress: bool,
        shared: &mut Shared<'_>,
    ) -> SendError {
        if let Some(link) = self.links.get_mut(id) {
            match kind {
                FrameKind::Fragment { .. } if link.extensions().is_some() => self.reset(id, shared),
                FrameKind::Ping | FrameKind::Pong => {}
                _ => link.proto.forget_frame(in_progress),
            }
        }
        SendError::NoMemory
    }

    /// Queues a Ping or a Pong of our own accord, unless nothing goes out any more.
    pub(super) fn queue_control(&mut self, id: Id, kind: FrameKind, payload: &[u8]) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        if !link.state.is_open() || link.state.writing() == Writing::Dead {
            return;
        }
        let (masks, scratch) = (&mut self.masks, &mut self.scratch);
        let frame = link.proto.frame(kind, payload, || masks.next(), scratch);
        let Ok(frame) = frame else { return };
        let length = frame.encoded_len();
        if link.queue.append(&mut self.pool, &frame).is_err() {
            return;
        }
        link.counters.sent_control(1);
        if kind == FrameKind::Pong {
            link.pongs.queued(length, link.queue.end());
        }
        // A program that sees that it should not send waits to hear when it may.
        link.is_drain_due |= !link.limits.send_queue.is_writable(link.queue.load());
        if self.log.is_on() {
            log_frame(&self.log, id, "sent", &frame.header());
        }
        self.to_write.note(&self.log, link);
    }

    /// Queues a Close frame. Nothing happens if there was one before. What was published until now comes before it, unless
    /// it waits for the end of a fragmented message.
    pub(super) fn queue_close(
        &mut self,
        id: Id,
        code: Option<u16>,
        reason: &[u8],
        unfinished: Unfinished,
        reactor: &Reactor,
    ) {
        self.leave_topics(id, reactor);
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        if unfinished == Unfinished::IsCut {
            link.proto.cut_message();
        }
        let masks = &mut self.masks;
        let mut frames = Vec::new();
        let ends_message = link.proto.fragment_in_progress();
        let closed = link.proto.close(code, reason, || masks.next(), &mut frames);
        if closed == Err(FrameError::NotOpen) {
            return;
        }
        if closed.is_err() || link.queue.append_close(&mut self.pool, &frames).is_err() {
            // There is no memory for it: the connection ends without.
            self.log.write(
                Topic::Error,
                id,
                format_args!("there is no memory for a Close"),
            );
            change(&self.log, link, LinkState::die);
        } else {
            link.counters.sent_control(1 + u64::from(ends_message));
            if self.log.is_on() {
                log_frames(&self.log, id, &frames);
            }
        }
        self.to_write.note(&self.log, link);
    }

    /// The kernel takes bytes of a connection again.
    pub(super) fn handle_writable(&mut self, id: Id, shared: &mut Shared<'_>) {
        let link = self.links.get(id);
        if link.is_some_and(|link| link.state.writing() == Writing::Blocked) {
            self.write(id, shared);
        }
    }

    /// Writes whatever is queued, as far as the kernel takes it. A full socket says when there is room
    /// again.
    pub fn flush(&mut self, shared: &mut Shared<'_>) {
        self.deliver(shared);
        let mut now = std::mem::take(&mut self.to_write.now);
        self.to_write.is_flushed = true;
        for id in now.drain(..) {
            let writing = self.links.get(id).map(|link| link.state.writing());
            if matches!(writing, Some(Writing::Queued | Writing::Dead)) {
                self.write(id, shared);
            }
        }
        self.to_write.now = now;
    }

    /// Offers a queue to the kernel.
    fn write(&mut self, id: Id, shared: &mut Shared<'_>) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        let before = link.queue.taken();
        let was_blocked = link.state.writing() == Writing::Blocked;
        if link.state.writing() != Writing::Dead {
            match link.write_queue(&mut self.pool, &mut self.wire) {
                Ok(written) => change(&self.log, link, |state| {
                    state.written(written == Written::All);
                }),
                Err(error) => {
                    // Messages that came before the end are still to be read: reading will meet it.
                    self.log
                        .write(Topic::Error, id, format_args!("writing failed: {error}"));
                    sys::shutdown_unwritable(link.fd.as_fd());
                    change(&self.log, link, LinkState::die);
                }
            }
        }
        if link.is_counted {
            self.groups
                .sent_after_end(link.group, link.queue.taken() - before);
        }
        if was_blocked && link.queue.taken() > before {
            // The system takes more because the peer has taken something.
            link.pulse.hear(shared.reactor.clock());
            link.idleness.taken(before, shared.reactor.clock());
        }
        if link.state.writing() == Writing::Dead {
            link.queue.clear(&mut self.pool);
        }
        if (link.state.writing() == Writing::Blocked) != was_blocked {
            shared.reactor.touch(id);
        }
        self.written(id, before, shared);
    }

    /// Follows up a write: events, timers and states that depend on it.
    fn written(&mut self, id: Id, before: u64, shared: &mut Shared<'_>) {
        let Shared { reactor, outbox } = shared;
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        let (taken, is_empty) = (link.queue.taken(), link.queue.is_empty());
        let progress = taken > before;
        if is_empty {
            link.queue_is_empty();
        }
        let is_short = link.limits.send_queue.is_short(link.queue.load());
        // Frames that were thrown away were not sent, so the program is not told that the queue is empty.
        if is_short && std::mem::take(&mut link.is_drain_due) && is_drain_told(link) {
            outbox.push(Event::Drain { id });
        }
        let pongs = link.pongs.written(taken, is_empty, progress);
        let (is_open, is_closing) = (link.state.is_open(), link.state.is_closing());
        match pongs {
            Change::Resumed => {
                link.pulse.hear(reactor.clock());
                reactor.stop(id, Timer::Pongs);
                reactor.touch(id);
                self.log.write(
                    Topic::State,
                    id,
                    format_args!("reading goes on: the Pongs are out"),
                );
                self.input.resume_parsing(&self.links, id);
                self.look_again(id, reactor);
            }
            Change::Progress if is_open => reactor.start(id, Timer::Pongs, Some(timeouts::PONGS)),
            Change::Progress | Change::None => {}
        }
        if progress && is_closing {
            self.extend_closing(id, true, reactor);
        } else {
            self.finish_writing(id, progress, reactor);
        }
    }
}

/// Decides on a frame while the queue is full, or a message is being dropped. One whose first part was queued is never
/// dropped in its middle: its connection goes on with it, or fails.
#[cold]
fn make_room(link: &mut Link, kind: FrameKind) -> Result<(), SendError> {
    let in_progress = link.proto.fragment_in_progress();
    let when_full = link.limits.send_queue.when_full;
    match kind {
        FrameKind::Ping | FrameKind::Pong => Ok(()),
        FrameKind::Text | FrameKind::Binary if in_progress || link.is_dropping => {
            Err(SendError::FragmentInProgress)
        }
        FrameKind::Fragment { last, .. } if link.is_dropping => {
            link.is_dropping = !last;
            Err(SendError::Dropped)
        }
        FrameKind::Fragment { .. } if in_progress && when_full == WhenFull::Drop => Ok(()),
        _ if when_full == WhenFull::Refuse => Err(SendError::QueueFull),
        _ => {
            link.dropped += 1;
            link.is_dropping = matches!(kind, FrameKind::Fragment { last: false, .. });
            Err(SendError::Dropped)
        }
    }
}

fn is_drain_told(link: &Link) -> bool {
    link.wants.drain && link.state.is_open() && link.state.writing() != Writing::Dead
}

/// A line for a frame that was `sent`, that is queued, or `received`.
#[cold]
pub(super) fn log_frame(log: &Log, id: Id, way: &str, header: &Header) {
    log.write(Topic::Frame, id, format_args!("{way} {header}"));
}

/// The same for encoded frames.
#[cold]
pub(super) fn log_frames(log: &Log, id: Id, mut frames: &[u8]) {
    while let Ok(Some((header, length))) = parse_header(frames) {
        log_frame(log, id, "sent", &header);
        let payload = usize::try_from(header.payload_len).unwrap_or(usize::MAX);
        frames = frames.get(length.saturating_add(payload)..).unwrap_or(&[]);
    }
}
