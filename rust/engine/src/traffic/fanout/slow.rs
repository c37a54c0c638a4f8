//! One prepared message for one connection: queued, or what becomes of it if the connection is too slow for what it is sent.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use evws_proto::connection::{masked, Encoding, FrameError, Prepared, SharedFrame};

use super::topics::Membership;
use crate::limits::WhenFull;
use crate::log::Log;
use crate::queue::{ChunkPool, Droppable, NoMemory, DROPPABLE_COST};
use crate::reactor::Clock;
use crate::traffic::link::Link;
use crate::traffic::masks::Masks;
use crate::traffic::send::{log_frames, ToWrite};

/// Frames that are shorter are copied into a queue: what it takes to refer to one is not less.
const SHARED_FROM: usize = 256;
/// The same where each chunk becomes a record of TLS, which has a header and a code of its own.
const SHARED_FROM_TLS: usize = 2048;

/// So many keys are known without a look at whether their frames have gone out.
const MANY: usize = 32;

/// What becomes of a published message for which a subscriber's send queue has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnSlow {
    /// The connection fails with 1013.
    Close,
    /// It is dropped.
    DropNew,
    /// Published messages that wait are dropped for it, the oldest ones first, or else it is.
    DropOld,
    /// Of the messages of a topic with one key only the newest one stays. The queue may grow beyond its limit by one message
    /// for each key.
    Latest,
}

impl OnSlow {
    /// What a connection's own limits say about published messages: none is lost without a word.
    pub fn of_subscriber(when_full: WhenFull) -> OnSlow {
        match when_full {
            WhenFull::Drop => OnSlow::DropNew,
            WhenFull::Close | WhenFull::Refuse => OnSlow::Close,
        }
    }

    /// What they say about messages whose sender hears how many were queued.
    pub fn of_receiver(when_full: WhenFull) -> OnSlow {
        match when_full {
            WhenFull::Close => OnSlow::Close,
            WhenFull::Drop | WhenFull::Refuse => OnSlow::DropNew,
        }
    }
}

/// The key of a message in a topic, whose number comes first.
pub type Key = (u64, Rc<[u8]>);

/// A message for connections.
#[derive(Clone)]
pub struct Offer {
    /// What is sent.
    pub message: Rc<Prepared>,
    /// What it is the latest of.
    pub key: Option<Key>,
    /// What its topic says about connections that are too slow.
    pub on_slow: Option<OnSlow>,
}

/// A message that waits, and what happens if there is no room for it; `None`: it is queued all the same.
pub type Held = (Offer, Option<OnSlow>);

/// What a connection has because of messages that are sent to many.
#[derive(Default)]
pub struct Subscriber {
    /// Its side of its subscriptions.
    pub memberships: Vec<Membership>,
    /// What it is behind with.
    pub behind: Option<Box<Behind>>,
}

/// What a connection is behind with.
#[derive(Default)]
pub struct Behind {
    /// The numbers of the newest frames in its queue, of each key.
    newest: HashMap<Key, u64>,
    /// How many of these there may be before those are forgotten that have gone out.
    many: usize,
    /// The numbers of frames of a key that came before its newest one, and how many of these there may be before those are
    /// forgotten that have gone out.
    outdated: Vec<u64>,
    many_outdated: usize,
    /// What waits for the end of a fragmented message.
    held: VecDeque<Held>,
    /// What these count for.
    held_load: u64,
    /// How many messages were dropped that the program has not been told of.
    pub untold: u64,
}

impl Behind {
    /// Everything that was queued has gone out. Returns whether there is nothing else.
    pub fn queue_is_empty(&mut self) -> bool {
        self.newest = HashMap::new();
        self.many = 0;
        self.outdated = Vec::new();
        self.many_outdated = 0;
        self.held.is_empty() && self.untold == 0
    }

    /// The frame of this number is the newest one of its key, in a queue that begins with `first`.
    fn note_newest(&mut self, key: &Key, number: u64, first: u64) {
        let before = self.newest.insert(key.clone(), number);
        if let Some(before) = before.filter(|&before| before >= first) {
            self.outdated.push(before);
            if self.outdated.len() > self.many_outdated {
                self.outdated.retain(|&number| number >= first);
                self.many_outdated = MANY.max(2 * self.outdated.len());
            }
        }
        if self.newest.len() > self.many {
            // A queue that is never empty would have this grow by each key that there ever was.
            self.newest.retain(|_, number| *number >= first);
            self.many = MANY.max(2 * self.newest.len());
        }
    }

    /// How many messages wait for the end of a fragmented message.
    pub fn held(&self) -> u64 {
        self.held.len() as u64
    }

    /// How many keys it knows.
    #[cfg(test)]
    pub fn keys(&self) -> usize {
        self.newest.len()
    }

    /// What these count for towards the limit of the queue.
    pub fn held_load(&self) -> u64 {
        self.held_load
    }

    /// Takes what waits for the end of a fragmented message.
    pub fn take_held(&mut self) -> VecDeque<Held> {
        self.held_load = 0;
        std::mem::take(&mut self.held)
    }
}

/// What has become of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferOutcome {
    /// It waits to be sent.
    Queued,
    /// It was dropped.
    Dropped,
    /// The connection is to fail for it.
    TooSlow,
    /// There is no memory for it: the connection is to end.
    NoMemory,
    /// The connection sends nothing any more.
    NotOpen,
}

/// What it takes to queue a message.
pub struct Post<'a> {
    /// The memory of queues.
    pub pool: &'a mut ChunkPool,
    /// For clients.
    pub masks: &'a mut Masks,
    /// Where connections are noted that have something new to write.
    pub to_write: &'a mut ToWrite,
    /// Every frame is told.
    pub log: &'a Log,
    /// The time of messages.
    pub clock: &'a Clock,
}

impl OfferOutcome {
    /// Whether the connection is to end. Its message was not counted as dropped.
    pub fn is_end(self) -> bool {
        matches!(self, OfferOutcome::TooSlow | OfferOutcome::NoMemory)
    }
}

impl Post<'_> {
    /// Offers a connection a message, `frame`, which suits its encoding. `on_slow`: what happens if there is no room; `None`:
    /// it is queued all the same.
    pub fn offer(
        &mut self,
        link: &mut Link,
        offer: &Offer,
        on_slow: Option<OnSlow>,
        frame: &SharedFrame,
    ) -> OfferOutcome {
        if !link.state.is_open() {
            return OfferOutcome::NotOpen;
        }
        match link.proto.check_message() {
            Ok(()) => {}
            Err(FrameError::FragmentInProgress) => return hold(link, offer, on_slow, frame),
            Err(_) => return OfferOutcome::NotOpen,
        }
        if link.limits.send_queue.is_full(link.queue.load()) {
            match on_slow {
                None => {}
                Some(OnSlow::Close) => return OfferOutcome::TooSlow,
                Some(OnSlow::DropNew) => return drop_new(link),
                Some(OnSlow::DropOld) => {
                    self.drop_old(link);
                    if link.limits.send_queue.is_full(link.queue.load()) {
                        return drop_new(link);
                    }
                }
                Some(OnSlow::Latest) => self.drop_outdated(link, offer),
            }
        }
        match self.queue(link, offer, on_slow, frame) {
            Ok(()) => OfferOutcome::Queued,
            Err(NoMemory) => OfferOutcome::NoMemory,
        }
    }

    /// Queues what is left of a frame of which the kernel may have taken `begun` bytes, and counts those down.
    pub fn queue_begun(
        &mut self,
        link: &mut Link,
        offer: &Offer,
        frame: &SharedFrame,
        begun: &mut usize,
    ) -> OfferOutcome {
        let taken = frame.len().min(*begun);
        *begun -= taken;
        if taken == frame.len() {
            link.queue.count_written(taken);
            self.count(link, offer);
            return OfferOutcome::Queued;
        }
        if link
            .queue
            .append_frame(self.pool, Rc::clone(frame), Droppable::No, 0)
            .is_err()
        {
            return OfferOutcome::NoMemory;
        }
        link.queue.advance(taken, self.pool);
        self.count(link, offer);
        self.note_queued(link);
        OfferOutcome::Queued
    }

    fn queue(
        &mut self,
        link: &mut Link,
        offer: &Offer,
        on_slow: Option<OnSlow>,
        frame: &SharedFrame,
    ) -> Result<(), NoMemory> {
        let droppable = match on_slow {
            Some(OnSlow::DropOld) => Droppable::Old,
            Some(OnSlow::Latest) => Droppable::Outdated,
            _ => Droppable::No,
        };
        let shared_from = match link.tls {
            Some(_) => SHARED_FROM_TLS,
            None => SHARED_FROM,
        };
        let own;
        let frame = match link.proto.encoding() {
            Encoding {
                is_masked: true, ..
            } => {
                own = masked(frame, self.masks.next()).map_err(|_| NoMemory)?;
                &own
            }
            _ => frame,
        };
        if droppable == Droppable::No && frame.len() < shared_from {
            link.queue.append_copy(self.pool, frame)?;
        } else {
            let message = offer.message.payload().len() as u64;
            let number =
                link.queue
                    .append_frame(self.pool, Rc::clone(frame), droppable, message)?;
            if let (Droppable::Outdated, Some(key)) = (droppable, &offer.key) {
                let first = link.queue.first_number().unwrap_or(0);
                link.behind().note_newest(key, number, first);
            }
        }
        if self.log.is_on() {
            log_frames(self.log, link.id, frame);
        }
        self.count(link, offer);
        self.note_queued(link);
        Ok(())
    }

    /// A message was queued or written.
    fn count(&mut self, link: &mut Link, offer: &Offer) {
        let payload = offer.message.payload().len() as u64;
        let queued = link.queue.payload();
        link.counters.sent_prepared(1, payload, queued);
        link.idleness.queued(link.queue.end(), self.clock);
        link.proto.note_prepared();
    }

    /// There is something new to write.
    fn note_queued(&mut self, link: &mut Link) {
        link.is_drain_due |= link.limits.send_queue.is_long(link.queue.load());
        self.to_write.note(self.log, link);
    }

    /// Drops the oldest messages that may be dropped, until there is room.
    fn drop_old(&mut self, link: &mut Link) {
        let kept = in_flight(link);
        while link.limits.send_queue.is_full(link.queue.load()) {
            let Some(message) = link.queue.drop_oldest(kept, self.pool) else {
                return;
            };
            link.note_unsent(message);
        }
    }

    /// Drops the message with the key of `offer` that waits, and whatever else is not the latest any more.
    fn drop_outdated(&mut self, link: &mut Link, offer: &Offer) {
        let kept = in_flight(link);
        let Some(behind) = link.find_behind_mut() else {
            return;
        };
        let known = offer.key.as_ref().and_then(|key| behind.newest.remove(key));
        let outdated = std::mem::take(&mut behind.outdated);
        behind.many_outdated = 0;
        for number in outdated.into_iter().chain(known) {
            if let Some(message) = link.queue.drop_frame(number, kept, self.pool) {
                link.note_unsent(message);
            }
        }
    }
}

/// How many bytes at the front of the queue are encrypted already.
fn in_flight(link: &Link) -> usize {
    link.tls.as_ref().map_or(0, |tls| tls.in_flight())
}

/// A fragmented message of the program is in progress, between whose parts no other may lie.
fn hold(
    link: &mut Link,
    offer: &Offer,
    on_slow: Option<OnSlow>,
    frame: &SharedFrame,
) -> OfferOutcome {
    let waits = link.load_and_held();
    let is_full = link.limits.send_queue.is_full(waits);
    match on_slow {
        Some(OnSlow::Close) if is_full => return OfferOutcome::TooSlow,
        Some(_) if is_full => return drop_new(link),
        _ => {}
    }
    let behind = link.behind();
    if behind.held.try_reserve(1).is_err() {
        return OfferOutcome::NoMemory;
    }
    behind.held_load += frame.len() as u64 + DROPPABLE_COST;
    behind.held.push_back((offer.clone(), on_slow));
    OfferOutcome::Queued
}

fn drop_new(link: &mut Link) -> OfferOutcome {
    link.dropped += 1;
    OfferOutcome::Dropped
}

#[cfg(test)]
mod tests;
