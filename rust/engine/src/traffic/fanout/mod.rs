//! From one message to many connections: prepared messages, broadcasts, topics.
//!
//! A publication is noted, and delivered when the loop would flush: all of a turn together, so that each subscriber is
//! looked at once a turn, and as a rule written to from memory that all of them share, without a queue of its own.
//! Whatever a program can tell the difference by has the publications settled first, which means put into the queues:
//! a send, a close, a subscription that begins or ends, a question about a queue.
//!
//! | a question about | is answered in |
//! | --- | --- |
//! | what is delivered when, and written how | `deliver.rs` |
//! | who has subscribed to what | `topics.rs`, and how that begins and ends `subscribe.rs` |
//! | what somebody who comes back has missed | `history.rs` |
//! | somebody who is too slow for what is published | `slow.rs` |

mod deliver;
mod history;
mod slow;
mod subscribe;
#[cfg(test)]
mod tests;
mod topics;

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use evws_proto::connection::Prepared;

use super::lists::shrink_table;
use super::{SendError, Traffic};
use crate::event::Id;
use crate::limits::WhenFull;
use crate::reactor::Reactor;
use crate::shared::Shared;
use deliver::note_dropped;
use slow::{Offer, OfferOutcome, Post};
use subscribe::wake_for_history;
use topics::{TopicIndex, Topics};

pub use history::Position;
pub use slow::{Behind, OnSlow, Subscriber};
pub use topics::Membership;

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
        self.fanout.prepared.remove(&number);
        shrink_table(&mut self.fanout.prepared);
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
        let open = self.links.open(id);
        let link = open.ok_or(SendError::NotOpen)?;
        link.proto.check_message()?;
        if link.is_dropping {
            return Err(SendError::FragmentInProgress);
        }
        let when_full = link.limits.send_queue.when_full;
        let is_full = link.limits.send_queue.is_full(link.queue.load());
        if is_full && when_full == WhenFull::Refuse {
            return Err(SendError::QueueFull);
        }
        let on_slow = Some(OnSlow::of_receiver(when_full));
        match self.offer_message(id, message, on_slow, shared.reactor) {
            OfferOutcome::Queued => Ok(()),
            OfferOutcome::NotOpen => Err(SendError::NotOpen),
            OfferOutcome::NoMemory => Err(SendError::NoMemory),
            OfferOutcome::Dropped => Err(SendError::Dropped),
            OfferOutcome::TooSlow => {
                if let Some(link) = self.links.get_mut(id) {
                    link.dropped += 1;
                }
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
            let outcome = self.offer_message(id, message, Some(on_slow), reactor);
            count += usize::from(outcome == OfferOutcome::Queued);
            if let (OfferOutcome::Dropped, Some(link)) = (outcome, self.links.get_mut(id)) {
                note_dropped(link, link.dropped - 1, &mut self.fanout.to_tell);
            }
            if let (true, Some(link)) = (outcome.is_end(), self.links.get_mut(id)) {
                link.dropped += 1;
                self.fanout.to_tell.push((id, outcome));
            }
        }
        count
    }

    fn offer_message(
        &mut self,
        id: Id,
        message: &Rc<Prepared>,
        on_slow: Option<OnSlow>,
        reactor: &Reactor,
    ) -> OfferOutcome {
        let offer = Offer {
            message: Rc::clone(message),
            key: None,
            on_slow: None,
        };
        self.offer_one(id, &offer, on_slow, reactor)
    }

    pub(super) fn offer_one(
        &mut self,
        id: Id,
        offer: &Offer,
        on_slow: Option<OnSlow>,
        reactor: &Reactor,
    ) -> OfferOutcome {
        let Some(link) = self.links.get_mut(id) else {
            return OfferOutcome::NotOpen;
        };
        let frame = offer.message.frame(link.proto.encoding().way, &self.codecs);
        let mut post = Post {
            pool: &mut self.pool,
            masks: &mut self.masks,
            to_write: &mut self.to_write,
            log: &self.log,
            clock: reactor.clock(),
        };
        post.offer(link, offer, on_slow, &frame)
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
            if was_empty {
                wake_for_history(record.expires_at(), reactor);
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
}
