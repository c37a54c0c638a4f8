//! From one message to many connections: prepared messages, broadcasts, topics.
//!
//! A publication is noted, and delivered when the loop would flush: all of a turn together, so that each subscriber is
//! looked at once a turn, and as a rule written to from memory that all of them share, without a queue of its own.
//! Whatever a program can tell the difference by has the publications settled first, which means put into the queues:
//! a send, a close, a subscription that begins or ends, a question about a queue.
//!
//! | a question about | is answered in |
//! | --- | --- |
//! | who has subscribed to what | `topics.rs` |
//! | what somebody who comes back has missed | `history.rs` |
//! | somebody who is too slow for what is published | `slow.rs` |

mod history;
mod slow;
#[cfg(test)]
mod tests;
mod topics;

use std::collections::HashMap;
use std::io::IoSlice;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use evws_proto::close;
use evws_proto::connection::{Encoding, Prepared, SharedFrame};
use evws_proto::deflate::{Codecs, DeflateWay};

use super::link::Link;
use super::send::QUEUE_FULL;
use super::state::Writing;
use super::{SendError, Traffic};
use crate::event::{Event, Id};
use crate::limits::WhenFull;
use crate::outbox::EventData;
use crate::reactor::{Reactor, Timer, CONTEXT};
use crate::shared::Shared;
use crate::sys;
use history::Record;
use slow::{Offer, OfferOutcome, Post};
use topics::{TopicIndex, Topics};

pub use history::Position;
pub use slow::{Behind, OnSlow, Subscriber};
pub use topics::Membership;

/// Frames of one topic are joined for one write up to so many bytes.
const RUN: usize = 128 * 1024;

/// What a program says about a publication.
#[derive(Clone, Copy, Debug, Default)]
pub struct PublishOptions<'a> {
    /// A connection that does not get it; 0: none.
    pub except: Id,
    /// Its key for subscribers that want the latest of each.
    pub key: &'a [u8],
    /// Whether it has its place in the topic's count, and among the messages that are kept.
    pub is_recorded: bool,
}

/// What a topic does, besides having subscribers.
#[derive(Clone, Copy, Debug, Default)]
pub struct TopicOptions {
    /// Messages are counted. The other options count only then.
    pub is_recorded: bool,
    /// How many of the latest messages are kept.
    pub history: usize,
    /// For how long; `None`: any time.
    pub max_age: Option<Duration>,
    /// What slow subscribers get that have not said so themselves.
    pub on_slow: Option<OnSlow>,
}

/// A message that is to be delivered to the subscribers of a topic.
struct Publication {
    topic: TopicIndex,
    except: Id,
    offer: Offer,
}

/// Topics, prepared messages, and what was published since the last flush.
#[derive(Default)]
pub struct Fanout {
    topics: Topics,
    prepared: HashMap<u64, Rc<Prepared>>,
    last_prepared: u64,
    pending: Vec<Publication>,
    /// Connections that are to fail, and those that have lost messages and want to know.
    to_tell: Vec<(Id, OfferOutcome)>,
}

impl Fanout {
    /// Whether publications wait to be delivered, or followed up.
    #[inline]
    pub fn is_busy(&self) -> bool {
        self.has_pending() || !self.to_tell.is_empty() || self.topics.have_changed()
    }

    /// Whether publications wait to be delivered.
    #[inline]
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }
}

/// Publications of one topic that follow each other, and what they are on the wire.
struct Run<'a> {
    publications: &'a [Publication],
    encoded: Vec<Encoded>,
    /// Octets of payload as the program sees it.
    payload: u64,
}

/// The frames of a run, for all connections that compress in the same way.
struct Encoded {
    way: Option<DeflateWay>,
    frames: Vec<SharedFrame>,
    /// All of them, one behind the other.
    joined: SharedFrame,
}

impl<'a> Run<'a> {
    fn new(publications: &'a [Publication]) -> Self {
        let payload = |publication: &Publication| publication.offer.message.payload().len() as u64;
        Run {
            publications,
            encoded: Vec::new(),
            payload: publications.iter().map(payload).sum(),
        }
    }

    /// Where in `encoded` the run is for connections that compress in this way.
    #[inline]
    fn index_of(&mut self, way: Option<DeflateWay>, codecs: &Codecs) -> usize {
        match self.encoded.iter().position(|known| known.way == way) {
            Some(found) => found,
            None => self.encode(way, codecs),
        }
    }

    #[cold]
    fn encode(&mut self, way: Option<DeflateWay>, codecs: &Codecs) -> usize {
        let frame = |publication: &Publication| publication.offer.message.frame(way, codecs);
        let frames: Vec<SharedFrame> = self.publications.iter().map(frame).collect();
        let joined = match &frames[..] {
            [only] => Rc::clone(only),
            several => {
                let parts: Vec<&[u8]> = several.iter().map(|frame| &frame[..]).collect();
                Rc::new(parts.concat())
            }
        };
        let encoded = Encoded {
            way,
            frames,
            joined,
        };
        self.encoded.push(encoded);
        self.encoded.len() - 1
    }
}

/// Cuts publications into runs.
fn runs(pending: &[Publication]) -> impl Iterator<Item = &[Publication]> {
    let mut bytes = 0;
    pending.chunk_by(move |one, next| {
        let of_one = one.offer.message.payload().len();
        bytes += of_one;
        let joined = one.topic == next.topic && one.except == next.except && bytes < RUN;
        bytes *= usize::from(joined);
        joined
    })
}

impl Traffic {
    // ---- prepared messages ----

    /// Frames a message, and returns a number for it, which is never 0.
    ///
    /// # Errors
    /// [`SendError::NoMemory`]
    pub fn prepare(
        &mut self,
        is_binary: bool,
        is_compressible: bool,
        payload: &[u8],
    ) -> Result<u64, SendError> {
        let prepared = Prepared::new(is_binary, is_compressible, payload)?;
        self.fanout.last_prepared += 1;
        let number = self.fanout.last_prepared;
        self.fanout.prepared.insert(number, Rc::new(prepared));
        Ok(number)
    }

    /// A prepared message; `None`: it was forgotten.
    pub fn prepared(&self, number: u64) -> Option<Rc<Prepared>> {
        self.fanout.prepared.get(&number).cloned()
    }

    /// A prepared message will not be named any more. Queues that have it keep it as long as they need it.
    pub fn forget_prepared(&mut self, number: u64) {
        let prepared = &mut self.fanout.prepared;
        prepared.remove(&number);
        if prepared.capacity() > 64 && prepared.capacity() / 8 > prepared.len() {
            prepared.shrink_to(2 * prepared.len());
        }
    }

    /// Queues a prepared message for one connection.
    ///
    /// # Errors
    /// Those of [`send`](Self::send).
    pub fn send_prepared(
        &mut self,
        id: Id,
        message: &Rc<Prepared>,
        shared: &mut Shared<'_>,
    ) -> Result<(), SendError> {
        self.settle(shared.reactor);
        let open = self.links.get(id).filter(|link| link.state.is_open());
        let link = open.ok_or(SendError::NotOpen)?;
        link.proto.check_message()?;
        if link.is_dropping {
            return Err(SendError::FragmentInProgress);
        }
        let when_full = link.limits.send_queue.when_full;
        let is_full = link.limits.send_queue.is_full(link.queue.waiting());
        if is_full && when_full == WhenFull::Refuse {
            return Err(SendError::QueueFull);
        }
        let on_slow = Some(OnSlow::of_receiver(when_full));
        match self.offer_one(id, message, on_slow, shared.reactor) {
            OfferOutcome::Queued => Ok(()),
            OfferOutcome::NotOpen => Err(SendError::NotOpen),
            OfferOutcome::NoMemory => Err(SendError::NoMemory),
            OfferOutcome::Dropped => Err(SendError::Dropped),
            OfferOutcome::TooSlow => {
                self.fail_slow(id, shared);
                Err(SendError::Dropped)
            }
        }
    }

    /// Queues a prepared message for these connections. Returns for how many it was queued; those that are not open do not
    /// count, nor do ids that come a second time.
    pub fn broadcast(
        &mut self,
        message: &Rc<Prepared>,
        ids: &[Id],
        except: Id,
        reactor: &Reactor,
    ) -> usize {
        self.settle(reactor);
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        let mut count = 0;
        for id in ids.into_iter().filter(|&id| id != except) {
            let Some(link) = self.links.get(id) else {
                continue;
            };
            let on_slow = OnSlow::of_receiver(link.limits.send_queue.when_full);
            let outcome = self.offer_one(id, message, Some(on_slow), reactor);
            count += usize::from(outcome == OfferOutcome::Queued);
            if let (OfferOutcome::Dropped, Some(link)) = (outcome, self.links.get_mut(id)) {
                note_dropped(link, link.dropped - 1, &mut self.fanout.to_tell);
            }
            if matches!(outcome, OfferOutcome::TooSlow | OfferOutcome::NoMemory) {
                self.fanout.to_tell.push((id, outcome));
            }
        }
        count
    }

    fn offer_one(
        &mut self,
        id: Id,
        message: &Rc<Prepared>,
        on_slow: Option<OnSlow>,
        reactor: &Reactor,
    ) -> OfferOutcome {
        let Some(link) = self.links.get_mut(id) else {
            return OfferOutcome::NotOpen;
        };
        let offer = Offer {
            message: Rc::clone(message),
            key: None,
            on_slow: None,
        };
        let frame = message.frame(link.proto.encoding().way, &self.codecs);
        let mut post = Post {
            pool: &mut self.pool,
            masks: &mut self.masks,
            to_write: &mut self.to_write,
            log: &self.log,
            clock: reactor.clock(),
        };
        post.offer(link, &offer, on_slow, &frame)
    }

    // ---- topics ----

    /// Subscribes an open connection, or changes what becomes of messages that it is too slow for. With `since` it is first
    /// sent what it has missed. Returns false if not all of that is there any more; then it gets nothing of it, but what
    /// is published from now on.
    ///
    /// # Errors
    /// [`SendError::NotOpen`]
    pub fn subscribe(
        &mut self,
        id: Id,
        name: &[u8],
        on_slow: Option<OnSlow>,
        since: Option<Position>,
        reactor: &Reactor,
    ) -> Result<bool, SendError> {
        self.settle(reactor);
        let Traffic { links, fanout, .. } = self;
        let open = links.get_mut(id).filter(|link| link.state.is_open());
        let link = open.ok_or(SendError::NotOpen)?;
        let index = fanout.topics.find_or_begin(name);
        if let Some(position) = fanout.topics.position(index, link) {
            if let Some(topic) = fanout.topics.get_mut(index) {
                topic.subscribers[position].on_slow = on_slow;
            }
            return Ok(true);
        }
        fanout.topics.add(index, link, on_slow);
        Ok(since.is_none_or(|since| self.replay(id, index, since, reactor)))
    }

    /// Queues what was published after `since`. Returns whether all of it is there. What is kept has its bound, and its memory
    /// is shared, so that it may go beyond the send queue's limit. It is not sent to who is there already, since a peer
    /// that comes back again and again, and reads nothing, would have it as often in its queue.
    fn replay(&mut self, id: Id, index: TopicIndex, since: Position, reactor: &Reactor) -> bool {
        let is_full = |link: &Link| link.limits.send_queue.is_full(link.waiting_and_held());
        if self.links.get(id).is_some_and(is_full) {
            return false;
        }
        let topic = self.fanout.topics.get_mut(index);
        let Some(record) = topic.and_then(|topic| topic.record.as_mut()) else {
            return false;
        };
        record.expire(reactor.clock().now());
        let Some(missed) = record.after(since) else {
            return false;
        };
        let missed: Vec<_> = missed.map(|kept| Rc::clone(&kept.message)).collect();
        for message in missed {
            let outcome = self.offer_one(id, &message, None, reactor);
            if outcome != OfferOutcome::Queued {
                self.fanout.to_tell.push((id, outcome));
                return false;
            }
        }
        true
    }

    /// Ends a subscription. Returns whether there was one.
    pub fn unsubscribe(&mut self, id: Id, name: &[u8], reactor: &Reactor) -> bool {
        self.settle(reactor);
        let Traffic { links, fanout, .. } = self;
        let Some(index) = fanout.topics.find(name) else {
            return false;
        };
        let Some(link) = links.get(id) else {
            return false;
        };
        let Some(position) = fanout.topics.position(index, link) else {
            return false;
        };
        fanout.topics.remove(index, position, links);
        true
    }

    /// A connection is not open any more.
    #[inline]
    pub(super) fn leave_topics(&mut self, id: Id, reactor: &Reactor) {
        if self
            .links
            .get(id)
            .is_some_and(|link| link.subscriber.is_some())
        {
            self.settle(reactor);
            self.fanout.topics.remove_all(id, &mut self.links);
            if let Some(link) = self.links.get_mut(id) {
                let behind = link.subscriber.take().and_then(|of| of.behind);
                link.dropped += behind.map_or(0, |behind| behind.held());
            }
        }
    }

    /// Says what a topic does besides having subscribers.
    pub fn set_topic(&mut self, name: &[u8], options: &TopicOptions, reactor: &mut Reactor) {
        self.settle(reactor);
        let epoch = self.masks.number() | 1;
        let index = self.fanout.topics.find_or_begin(name);
        let Some(topic) = self.fanout.topics.get_mut(index) else {
            return;
        };
        topic.on_slow = options.on_slow;
        if options.is_recorded {
            let record = topic
                .record
                .get_or_insert_with(|| Box::new(Record::new(epoch)));
            record.configure(options.history, options.max_age);
        } else {
            topic.record = None;
        }
        self.fanout.topics.end_if_unused(index);
        self.expire_history(reactor);
    }

    /// Where a topic stands; `None`: nobody counts its messages.
    pub fn position(&self, name: &[u8]) -> Option<Position> {
        let topics = &self.fanout.topics;
        let topic = topics.get(topics.find(name)?)?;
        topic.record.as_ref().map(|record| record.position())
    }

    /// How many connections have subscribed to a topic.
    pub fn subscribers(&self, name: &[u8]) -> usize {
        self.fanout.topics.subscribers(name)
    }

    /// The topics that have subscribers or are recorded, in no order.
    pub fn topics(&self) -> Vec<Vec<u8>> {
        self.fanout.topics.names().map(<[u8]>::to_vec).collect()
    }

    /// The topics of a connection, in no order.
    pub fn topics_of(&self, id: Id) -> Vec<Vec<u8>> {
        let link = self.links.get(id);
        let names = link
            .into_iter()
            .flat_map(|link| self.fanout.topics.names_of(link));
        names.map(<[u8]>::to_vec).collect()
    }

    /// Those who have subscribed to a topic.
    pub fn subscriber_ids(&self, name: &[u8]) -> Vec<Id> {
        let topics = &self.fanout.topics;
        let topic = topics.find(name).and_then(|index| topics.get(index));
        let subscribers = topic.map_or(&[][..], |topic| &topic.subscribers);
        subscribers.iter().map(|subscriber| subscriber.id).collect()
    }

    /// Whether [`Event::TopicUsed`] is wanted. Topics that have subscribers now are told of at once.
    pub fn watch_topics(&mut self, is_wanted: bool) {
        self.fanout.topics.watch(is_wanted);
    }

    /// Messages that have been kept for as long as they are to be are forgotten.
    pub fn expire_history(&mut self, reactor: &mut Reactor) {
        let now = reactor.clock().now();
        let mut next = None;
        let records = self.fanout.topics.iter_mut();
        for record in records.filter_map(|topic| topic.record.as_mut()) {
            record.expire(now);
            let at = record.expires_at();
            next = at.filter(|&at| next.is_none_or(|next| at < next)).or(next);
        }
        match next {
            Some(_) => reactor.start_at(CONTEXT, Timer::History, next),
            None => reactor.stop(CONTEXT, Timer::History),
        }
    }

    // ---- publishing ----

    /// Publishes a prepared message. Returns how many subscribers it is for.
    pub fn publish(
        &mut self,
        name: &[u8],
        message: &Rc<Prepared>,
        options: &PublishOptions<'_>,
        reactor: &mut Reactor,
    ) -> usize {
        let Traffic { links, fanout, .. } = self;
        let Some(index) = fanout.topics.find(name) else {
            return 0;
        };
        let excluded = links.get(options.except);
        let excluded = excluded.and_then(|link| fanout.topics.position(index, link));
        let Some(topic) = fanout.topics.get_mut(index) else {
            return 0;
        };
        let key: Rc<[u8]> = options.key.into();
        if let Some(record) = topic.record.as_mut().filter(|_| options.is_recorded) {
            let was_empty = record.expires_at().is_none();
            record.add(Rc::clone(message), reactor.clock().now());
            if was_empty && record.expires_at().is_some() {
                let at = record.expires_at();
                let is_sooner = reactor
                    .remaining(CONTEXT, Timer::History)
                    .is_none_or(|left| at.is_some_and(|at| reactor.clock().until(at) < left));
                if is_sooner {
                    reactor.start_at(CONTEXT, Timer::History, at);
                }
            }
        }
        let count = topic.subscribers.len() - usize::from(excluded.is_some());
        if count > 0 {
            fanout.pending.push(Publication {
                topic: index,
                except: options.except,
                offer: Offer {
                    message: Rc::clone(message),
                    key: Some((topic.number, key)),
                    on_slow: topic.on_slow,
                },
            });
        }
        count
    }

    /// Queues what was published.
    #[inline]
    pub fn settle(&mut self, reactor: &Reactor) {
        if self.fanout.has_pending() {
            self.deliver_pending(false, reactor);
        }
    }

    /// Delivers what was published, by writing to those that have nothing else to write.
    #[inline]
    pub(super) fn deliver(&mut self, shared: &mut Shared<'_>) {
        if self.fanout.is_busy() {
            self.deliver_and_tell(shared);
        }
    }

    #[cold]
    fn deliver_and_tell(&mut self, shared: &mut Shared<'_>) {
        self.deliver_pending(true, shared.reactor);
        for (id, outcome) in std::mem::take(&mut self.fanout.to_tell) {
            match outcome {
                OfferOutcome::TooSlow => self.fail_slow(id, shared),
                OfferOutcome::NoMemory => self.fail_without_memory(id, shared),
                _ => shared.outbox.push(Event::Dropped { id, messages: 0 }),
            }
        }
        for (name, is_used) in self.fanout.topics.take_changes() {
            let data = EventData {
                payload: name.to_vec(),
                ..EventData::default()
            };
            shared.outbox.push_with(Event::TopicUsed { is_used }, data);
        }
    }

    /// Ends a connection that does not take what it is sent.
    fn fail_slow(&mut self, id: Id, shared: &mut Shared<'_>) {
        if self.links.get(id).is_some_and(|link| link.state.is_open()) {
            shared.outbox.push_text(Event::Error { id }, QUEUE_FULL);
            self.fail(id, close::TRY_AGAIN_LATER, QUEUE_FULL, shared);
        }
    }

    /// Ends a connection for whose messages there is no memory.
    fn fail_without_memory(&mut self, id: Id, shared: &mut Shared<'_>) {
        if self.links.get(id).is_some_and(|link| link.state.is_open()) {
            let text = "there is no memory for a message";
            shared.outbox.push_text(Event::Error { id }, text);
            self.reset(id, shared);
        }
    }

    /// How many dropped messages a program has to be told of, once.
    pub fn take_untold(&mut self, id: Id) -> u64 {
        let Some(link) = self.links.get_mut(id) else {
            return 0;
        };
        let behind = link.subscriber.as_mut().and_then(|of| of.behind.as_mut());
        behind.map_or(0, |behind| std::mem::take(&mut behind.untold))
    }

    /// Delivers what was published; `may_write`: those who have nothing else to write are written to at once, if what they
    /// get is of one topic.
    fn deliver_pending(&mut self, may_write: bool, reactor: &Reactor) {
        let mut pending = std::mem::take(&mut self.fanout.pending);
        let may_write = may_write && runs(&pending).nth(1).is_none();
        for publications in runs(&pending) {
            self.deliver_run(Run::new(publications), may_write, reactor);
        }
        pending.clear();
        if pending.capacity() > 1024 {
            pending = Vec::new();
        }
        self.fanout.pending = pending;
    }

    fn deliver_run(&mut self, mut run: Run<'_>, may_write: bool, reactor: &Reactor) {
        let Traffic {
            links,
            fanout: Fanout {
                topics, to_tell, ..
            },
            pool,
            masks,
            to_write,
            codecs,
            log,
            ..
        } = self;
        let Some(&Publication { topic, except, .. }) = run.publications.first() else {
            return;
        };
        let Some(topic) = topics.get(topic) else {
            return;
        };
        let may_write = may_write && !log.is_on();
        let mut post = Post {
            pool,
            masks,
            to_write,
            log,
            clock: reactor.clock(),
        };
        for subscription in &topic.subscribers {
            let id = subscription.id;
            let Some(link) = links.get_mut(id).filter(|_| id != except) else {
                continue;
            };
            let Encoding { is_masked, way } = link.proto.encoding();
            let index = run.index_of(way, codecs);
            let encoded = &run.encoded[index];
            let mut begun = 0;
            if may_write && !is_masked && takes_frames_directly(link) {
                let joined = &encoded.joined[..];
                // An error is met again by whoever writes next.
                begun = sys::send_gathered(link.fd.as_fd(), &[IoSlice::new(joined)]).unwrap_or(0);
                if begun == joined.len() {
                    link.queue.count_written(begun);
                    let messages = run.publications.len() as u64;
                    link.counters.sent_prepared(messages, run.payload, 0);
                    link.idleness.queued(link.queue.end(), post.clock);
                    link.proto.note_prepared();
                    continue;
                }
            }
            let dropped_before = link.dropped;
            for (publication, frame) in run.publications.iter().zip(&encoded.frames) {
                let outcome = if begun > 0 {
                    post.queue_begun(link, &publication.offer, frame, &mut begun)
                } else {
                    let on_slow = subscription.on_slow.or(publication.offer.on_slow);
                    let when_full = link.limits.send_queue.when_full;
                    let on_slow = on_slow.unwrap_or(OnSlow::of_subscriber(when_full));
                    post.offer(link, &publication.offer, Some(on_slow), frame)
                };
                if matches!(outcome, OfferOutcome::TooSlow | OfferOutcome::NoMemory) {
                    to_tell.push((id, outcome));
                    break;
                }
            }
            note_dropped(link, dropped_before, to_tell);
        }
    }

    /// A fragmented message of the program is over: what has waited for that is queued.
    #[cold]
    pub(super) fn release_held(&mut self, id: Id, reactor: &Reactor) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        let behind = link.subscriber.as_mut().and_then(|of| of.behind.as_mut());
        let Some(held) = behind.map(|behind| behind.take_held()) else {
            return;
        };
        let way = link.proto.encoding().way;
        let dropped_before = link.dropped;
        for (offer, on_slow) in held {
            let frame = offer.message.frame(way, &self.codecs);
            let mut post = Post {
                pool: &mut self.pool,
                masks: &mut self.masks,
                to_write: &mut self.to_write,
                log: &self.log,
                clock: reactor.clock(),
            };
            let outcome = post.offer(link, &offer, on_slow, &frame);
            if matches!(outcome, OfferOutcome::TooSlow | OfferOutcome::NoMemory) {
                self.fanout.to_tell.push((id, outcome));
                break;
            }
        }
        note_dropped(link, dropped_before, &mut self.fanout.to_tell);
    }
}

/// Whether frames may go to the kernel without having been in the queue.
#[inline]
fn takes_frames_directly(link: &Link) -> bool {
    link.state.is_open()
        && link.state.writing() == Writing::Idle
        && link.queue.is_empty()
        && link.tls.is_none()
        && !link.wants.drain
        && link.proto.check_message().is_ok()
}

/// The program is to hear that messages were dropped, if it wants to.
fn note_dropped(link: &mut Link, before: u64, to_tell: &mut Vec<(Id, OfferOutcome)>) {
    let dropped = link.dropped - before;
    if dropped == 0 || !link.wants.dropped {
        return;
    }
    let id = link.id;
    let behind = link.behind();
    if behind.untold == 0 {
        to_tell.push((id, OfferOutcome::Dropped));
    }
    behind.untold += dropped;
}
