//! Topics by their names, and who has subscribed to them.
//!
//! A topic is there as long as it has subscribers or a record. A subscription is kept on both sides, each with the place
//! of the other, so that it begins and ends in the time of a lookup: 16 octets at the topic and 8 at the connection.

use std::collections::HashMap;
use std::rc::Rc;

use super::history::Record;
use super::slow::OnSlow;
use crate::event::Id;
use crate::traffic::link::{Link, Links};
use crate::traffic::lists::{grow, shrink, shrink_table};

/// The place of a topic in the table, until it ends.
pub type TopicIndex = u32;

/// A topic's side of a subscription.
#[derive(Clone, Copy, Debug)]
pub struct Subscription {
    /// Who has subscribed.
    pub id: Id,
    /// The place in the connection's list.
    index: u32,
    /// What becomes of messages that it is too slow for; `None`: what the topic says.
    pub on_slow: Option<OnSlow>,
}

/// A connection's side of a subscription.
#[derive(Clone, Copy, Debug)]
pub struct Membership {
    topic: TopicIndex,
    /// The place in the topic's list.
    position: u32,
}

/// A topic.
pub struct TopicState {
    /// Its name, any octets.
    pub name: Rc<[u8]>,
    /// Its number, which no other topic has had.
    pub number: u64,
    /// Who has subscribed, in no order.
    pub subscribers: Vec<Subscription>,
    /// What slow subscribers get that have not said so themselves; `None`: what their send queue's limits say.
    pub on_slow: Option<OnSlow>,
    /// What was published; `None`: nobody counts.
    pub record: Option<Box<Record>>,
}

/// The topics of a context.
#[derive(Default)]
pub struct Topics {
    names: HashMap<Rc<[u8]>, TopicIndex>,
    table: Vec<Option<TopicState>>,
    free: Vec<TopicIndex>,
    /// How many there have been.
    begun: u64,
    /// Whether the program wants to know which topics have subscribers.
    are_watched: bool,
    /// Topics that got their first subscriber (true) or lost their last one, since the program asked.
    changes: Vec<(Rc<[u8]>, bool)>,
    /// How many times all topics were looked at.
    #[cfg(test)]
    searches: u64,
    /// How many places in lists were looked at for one.
    #[cfg(test)]
    pub looked_at: std::cell::Cell<usize>,
}

impl Topics {
    /// The topic of this name.
    pub fn find(&self, name: &[u8]) -> Option<TopicIndex> {
        self.names.get(name).copied()
    }

    /// The same; a new one if there was none.
    pub fn find_or_begin(&mut self, name: &[u8]) -> TopicIndex {
        if let Some(index) = self.find(name) {
            return index;
        }
        let name: Rc<[u8]> = name.into();
        self.begun += 1;
        let topic = TopicState {
            name: Rc::clone(&name),
            number: self.begun,
            subscribers: Vec::new(),
            on_slow: None,
            record: None,
        };
        let index = match self.free.pop() {
            Some(index) => {
                self.table[index as usize] = Some(topic);
                index
            }
            None => {
                self.table.push(Some(topic));
                self.table.len() as TopicIndex - 1
            }
        };
        self.names.insert(name, index);
        index
    }

    /// A topic that is there.
    pub fn get(&self, index: TopicIndex) -> Option<&TopicState> {
        self.table.get(index as usize)?.as_ref()
    }

    /// A topic that is there.
    pub fn get_mut(&mut self, index: TopicIndex) -> Option<&mut TopicState> {
        self.table.get_mut(index as usize)?.as_mut()
    }

    /// All of them, by their places.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut TopicState> {
        #[cfg(test)]
        {
            self.searches += 1;
        }
        self.table.iter_mut().flatten()
    }

    /// How many times all topics were looked at.
    #[cfg(test)]
    pub fn searches(&self) -> u64 {
        self.searches
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// How many places there are for them.
    pub fn count(&self) -> u32 {
        self.table.len() as u32
    }

    /// Their names, in no order.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.names.keys().map(|name| &name[..])
    }

    /// Their names, of those that a connection has subscribed to, in no order.
    pub fn names_of<'a>(&'a self, link: &'a Link) -> impl Iterator<Item = &'a [u8]> {
        let topics = link.memberships().iter().map(|member| member.topic);
        topics.filter_map(|topic| self.get(topic).map(|topic| &topic.name[..]))
    }

    /// How many have subscribed.
    pub fn subscribers(&self, name: &[u8]) -> usize {
        let topic = self.find(name).and_then(|index| self.get(index));
        topic.map_or(0, |topic| topic.subscribers.len())
    }

    /// The place of a connection among the subscribers of a topic. The shorter one of both lists is searched.
    pub fn position(&self, index: TopicIndex, link: &Link) -> Option<usize> {
        let subscribers = &self.get(index)?.subscribers;
        let memberships = link.memberships();
        let by_topic = memberships.len() <= subscribers.len();
        #[cfg(test)]
        {
            let count = if by_topic {
                memberships.len()
            } else {
                subscribers.len()
            };
            self.looked_at.set(self.looked_at.get() + count);
        }
        if by_topic {
            let found = memberships.iter().find(|member| member.topic == index);
            found.map(|member| member.position as usize)
        } else {
            subscribers.iter().position(|other| other.id == link.id)
        }
    }

    /// A connection subscribes that has not yet.
    pub fn add(&mut self, index: TopicIndex, link: &mut Link, on_slow: Option<OnSlow>) {
        let Some(topic) = self.get_mut(index) else {
            return;
        };
        let id = link.id;
        let memberships = link.memberships_mut();
        grow(&mut topic.subscribers);
        grow(memberships);
        memberships.push(Membership {
            topic: index,
            position: topic.subscribers.len() as u32,
        });
        topic.subscribers.push(Subscription {
            id,
            index: memberships.len() as u32 - 1,
            on_slow,
        });
        if topic.subscribers.len() == 1 {
            let name = Rc::clone(&topic.name);
            self.note_change(name, true);
        }
    }

    /// Ends the subscription at this place of a topic's list. Publications that are on their way must have been taken from
    /// there before.
    pub fn remove(&mut self, index: TopicIndex, position: usize, links: &mut Links) {
        let Some(topic) = self.get_mut(index) else {
            return;
        };
        let gone = topic.subscribers.swap_remove(position);
        shrink(&mut topic.subscribers);
        let moved = topic.subscribers.get(position).copied();
        if topic.subscribers.is_empty() {
            let name = Rc::clone(&topic.name);
            self.note_change(name, false);
            self.end_if_unused(index);
        }
        if let Some(moved) = moved {
            let member = links
                .get_mut(moved.id)
                .and_then(|link| link.memberships_mut().get_mut(moved.index as usize));
            if let Some(member) = member {
                member.position = position as u32;
            }
        }
        let Some(link) = links.get_mut(gone.id) else {
            return;
        };
        let memberships = link.memberships_mut();
        memberships.swap_remove(gone.index as usize);
        shrink(memberships);
        if let Some(member) = memberships.get(gone.index as usize).copied() {
            let subscription = self
                .get_mut(member.topic)
                .and_then(|topic| topic.subscribers.get_mut(member.position as usize));
            if let Some(subscription) = subscription {
                subscription.index = gone.index;
            }
        }
        link.forget_empty_subscriber();
    }

    /// Ends all subscriptions of a connection.
    pub fn remove_all(&mut self, id: Id, links: &mut Links) {
        while let Some(&member) = links.get(id).and_then(|link| link.memberships().last()) {
            self.remove(member.topic, member.position as usize, links);
        }
    }

    /// A topic that nobody needs is forgotten.
    pub fn end_if_unused(&mut self, index: TopicIndex) {
        let is_unused = self
            .get(index)
            .is_some_and(|topic| topic.subscribers.is_empty() && topic.record.is_none());
        if !is_unused {
            return;
        }
        if let Some(topic) = self.table[index as usize].take() {
            self.names.remove(&topic.name);
        }
        if self.names.is_empty() {
            self.names = HashMap::new();
            self.table = Vec::new();
            self.free = Vec::new();
            return;
        }
        self.free.push(index);
        shrink_table(&mut self.names);
    }

    /// Whether the program wants to know which topics have subscribers. Those that have some now have changed.
    pub fn watch(&mut self, is_wanted: bool) {
        self.are_watched = is_wanted;
        self.changes = Vec::new();
        if is_wanted {
            let used = self.table.iter().flatten();
            let used = used.filter(|topic| !topic.subscribers.is_empty());
            self.changes = used.map(|topic| (Rc::clone(&topic.name), true)).collect();
        }
    }

    fn note_change(&mut self, name: Rc<[u8]>, is_used: bool) {
        if self.are_watched {
            self.changes.push((name, is_used));
        }
    }

    /// Takes the topics that got their first subscriber (true) or lost their last one.
    pub fn take_changes(&mut self) -> Vec<(Rc<[u8]>, bool)> {
        std::mem::take(&mut self.changes)
    }

    /// Whether there are such.
    pub fn have_changed(&self) -> bool {
        !self.changes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the manual says of the memory of a subscription.
    #[test]
    fn a_subscription_is_small() {
        let both = size_of::<Subscription>() + size_of::<Membership>();
        assert!(
            both * 5 / 4 <= 32,
            "{both} octets, a quarter more when a list has just grown"
        );
    }
}
