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
        let epoch = self.masks.number().max(1);
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
            wake_for_history(record.expires_at(), reactor);
        } else {
            topic.record = None;
        }
        self.fanout.topics.end_if_unused(index);
        if self.fanout.topics.is_empty() {
            reactor.stop(CONTEXT, Timer::History);
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
        let records = self.fanout.topics.iter_mut();
        let records = records.filter_map(|topic| topic.record.as_mut());
        let next = records.filter_map(|record| {
            record.expire(now);
            record.expires_at()
        });
        match next.min() {
            Some(next) => {
                let pause = EXPIRY_PAUSE.saturating_mul(self.fanout.topics.count());
                let soonest = now.checked_add(pause);
                reactor.start_at(CONTEXT, Timer::History, soonest.max(Some(next)));
            }
            None => reactor.stop(CONTEXT, Timer::History),
        }
    }
}

/// A message is to be forgotten at `next`.
pub(super) fn wake_for_history(next: Option<Time>, reactor: &mut Reactor) {
    let Some(next) = next else {
        return;
    };
    let left = reactor.remaining(CONTEXT, Timer::History);
    if left.is_none_or(|left| reactor.clock().until(next) < left) {
        reactor.start_at(CONTEXT, Timer::History, Some(next));
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use evws_proto::connection::Prepared;
    use evws_proto::Role;

    use super::*;
    use crate::traffic::bench::{Bench, SECOND};
    use crate::traffic::fanout::PublishOptions;

    fn set(bench: &mut Bench, name: &[u8], seconds: u32) {
        let options = TopicOptions {
            is_recorded: true,
            history: 10,
            max_age: Some(seconds * SECOND),
            on_slow: None,
        };
        bench.with(|traffic, shared| traffic.set_topic(name, &options, shared.reactor));
    }

    fn publish(bench: &mut Bench, name: &[u8]) {
        let message = Rc::new(Prepared::new(true, false, b"x").unwrap());
        let options = PublishOptions {
            is_recorded: true,
            ..PublishOptions::default()
        };
        bench.with(|traffic, shared| traffic.publish(name, &message, &options, shared.reactor));
    }

    /// The seconds until histories are looked at.
    fn left(bench: &Bench) -> Option<f64> {
        let left = bench.reactor.remaining(CONTEXT, Timer::History);
        left.map(|left| left.as_secs_f64().ceil())
    }

    /// There is one timer for all topics: what is kept for a short time must not stay for that of another.
    #[test]
    fn histories_are_looked_at_when_the_first_message_is_too_old() {
        let mut bench = Bench::new();
        set(&mut bench, b"a", 10);
        publish(&mut bench, b"a");
        assert_eq!(left(&bench), Some(10.0));
        bench.reactor.advance(SECOND);
        set(&mut bench, b"b", 30);
        publish(&mut bench, b"b");
        assert_eq!(left(&bench), Some(9.0), "a later one puts nothing off");
        set(&mut bench, b"c", 5);
        publish(&mut bench, b"c");
        assert_eq!(left(&bench), Some(5.0));
        set(&mut bench, b"b", 3);
        assert_eq!(left(&bench), Some(3.0), "it is kept for a shorter time now");
        set(&mut bench, b"c", 20);
        assert_eq!(left(&bench), Some(3.0));
        // Each that goes leaves the next one: a, and then c.
        for next in [Some(6.0), Some(11.0), None] {
            bench.reactor.advance(left(&bench).unwrap() as u32 * SECOND);
            assert_eq!(bench.reactor.pop_due(), Some((CONTEXT, Timer::History)));
            bench.with(|traffic, shared| traffic.expire_history(shared.reactor));
            assert_eq!(left(&bench), next);
        }
    }

    /// One of ten thousand that leaves, and one that leaves one of its ten thousand topics, take no longer than others.
    #[test]
    fn who_leaves_is_looked_for_in_the_shorter_list() {
        const COUNT: u32 = 200;
        let mut bench = Bench::new();
        let all: Vec<_> = (0..COUNT).map(|_| bench.connected(Role::Server)).collect();
        let first = all[0].0;
        for (id, _) in &all {
            bench
                .with(|traffic, shared| traffic.subscribe(*id, b"a", None, None, shared.reactor))
                .unwrap();
        }
        for number in 0..COUNT {
            let name = number.to_be_bytes();
            bench
                .with(|traffic, shared| traffic.subscribe(first, &name, None, None, shared.reactor))
                .unwrap();
        }
        let before = bench.traffic.fanout.topics.looked_at.get();
        bench.with(|traffic, shared| {
            assert!(traffic.unsubscribe(all[1].0, b"a", shared.reactor));
            assert!(traffic.unsubscribe(first, &0u32.to_be_bytes(), shared.reactor));
        });
        assert_eq!(bench.traffic.fanout.topics.looked_at.get() - before, 2);
    }

    /// Whoever has more topics than a topic has subscribers is looked for among these.
    #[test]
    fn who_has_many_topics_leaves_the_one_that_it_leaves() {
        let mut bench = Bench::new();
        let (many, _peer) = bench.connected(Role::Server);
        let (one, _its_peer) = bench.connected(Role::Server);
        for (id, name) in [(one, b"a"), (many, b"a"), (many, b"b"), (many, b"c")] {
            bench.with(|traffic, shared| {
                let subscribed = traffic.subscribe(id, name, None, None, shared.reactor);
                assert_eq!(subscribed, Ok(true));
            });
        }
        assert!(bench.with(|traffic, shared| traffic.unsubscribe(many, b"a", shared.reactor)));
        assert_eq!(bench.traffic.subscriber_ids(b"a"), [one]);
        let mut topics = bench.traffic.topics_of(many);
        topics.sort_unstable();
        assert_eq!(topics, [b"b", b"c"]);
        assert!(!bench.with(|traffic, shared| traffic.unsubscribe(many, b"a", shared.reactor)));
    }
}
