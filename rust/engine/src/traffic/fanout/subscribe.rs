//! Subscriptions that begin and end, and what is said about topics.

use std::rc::Rc;
use std::time::Duration;

use super::history::{Position, Record};
use super::slow::{OfferOutcome, OnSlow};
use super::topics::TopicIndex;
use super::TopicOptions;
use crate::event::Id;
use crate::reactor::{Reactor, Time, Timer, CONTEXT};
use crate::traffic::link::Link;
use crate::traffic::{SendError, Traffic};

/// For so long nothing is looked at to be forgotten, for each topic that there is.
const EXPIRY_PAUSE: Duration = Duration::from_micros(10);

impl Traffic {
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
        let open = links.open_mut(id);
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
        let is_full = |link: &Link| link.limits.send_queue.is_full(link.load_and_held());
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
            let outcome = self.offer_message(id, &message, None, reactor);
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
    pub(in crate::traffic) fn leave_topics(&mut self, id: Id, reactor: &Reactor) {
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
            record.expire(reactor.clock().now());
            let next = record.expires_at();
            self.wake_for_history(next, reactor);
        } else {
            topic.record = None;
        }
        self.fanout.topics.end_if_unused(index);
        if self.fanout.topics.is_empty() {
            reactor.stop(CONTEXT, Timer::History);
        }
    }

    /// A message is to be forgotten at `next`.
    pub(super) fn wake_for_history(&self, next: Option<Time>, reactor: &mut Reactor) {
        let Some(next) = next else {
            return;
        };
        let left = reactor.remaining(CONTEXT, Timer::History);
        if left.is_none_or(|left| reactor.clock().until(next) < left) {
            reactor.start_at(CONTEXT, Timer::History, Some(next));
        }
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

    /// Whether [`Event::TopicUsed`](crate::Event::TopicUsed) is wanted. Topics that have subscribers now are told of at once.
    pub fn watch_topics(&mut self, is_wanted: bool) {
        self.fanout.topics.watch(is_wanted);
    }

    /// Messages that have been kept for as long as they are to be are forgotten. All topics are looked at, so where there are
    /// many that is not done for each message: who resumes one does not get what is too old in any case.
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
            Some(next) => {
                let pause = EXPIRY_PAUSE.saturating_mul(self.fanout.topics.count());
                let soonest = now.checked_add(pause);
                reactor.start_at(CONTEXT, Timer::History, soonest.max(Some(next)));
            }
            None => reactor.stop(CONTEXT, Timer::History),
        }
    }
}
