//! The sources of a context, named by ids that go stale instead of dangling.

use std::time::{Duration, Instant};

use crate::attempts::Racer;
use crate::deadlines::Deadlines;
use crate::event::{Id, Interest};
use crate::link::Link;
use crate::listener::{Acceptor, Listener};
use crate::pending::Pending;

/// What a slot holds.
#[derive(Default)]
pub enum Source {
    /// Nothing; the slot may be given to the next source.
    #[default]
    Vacant,
    /// Nothing, but its descriptor has yet to leave the loop.
    Leaving,
    /// The answers of the resolver.
    Resolver,
    /// What the connections of a listener have in common. It has no descriptor.
    Listener(Box<Listener>),
    /// A listening socket.
    Acceptor(Box<Acceptor>),
    /// An attempt to connect, one of several for a connection.
    Attempt(Box<Racer>),
    /// A connection on its way to being established.
    Pending(Box<Pending>),
    /// A connection that came to nothing before the program knew it as open: all that is left to do
    /// is to tell so.
    GivenUp {
        /// The program has asked for it.
        on_demand: bool,
    },
    /// An established connection.
    Link(Box<Link>),
}

/// A place for a source.
#[derive(Default)]
pub struct Slot {
    generation: u32,
    /// What is in it.
    pub source: Source,
    /// What the caller was told to watch for last; `None`: nothing is watched.
    pub told: Option<Interest>,
    /// Whether it stands in the list of sources to look at for a change of that.
    pub changed: bool,
    /// How many descriptors of it have yet to leave the loop.
    pub leaving: u32,
    deadline: Option<Instant>,
}

/// All of them.
#[derive(Default)]
pub struct Slots {
    slots: Vec<Slot>,
    vacant: Vec<u32>,
    deadlines: Deadlines,
}

fn index(id: Id) -> usize {
    (id & u64::from(u32::MAX)) as usize
}

impl Slots {
    /// Takes a slot. The id is never 0.
    pub fn insert(&mut self, source: Source) -> Id {
        let index = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.max(1);
        slot.source = source;
        (u64::from(slot.generation) << 32) | u64::from(index)
    }

    /// The slot of an id, unless the id is stale.
    #[inline]
    pub fn get(&self, id: Id) -> Option<&Slot> {
        let slot = self.slots.get(index(id))?;
        (u64::from(slot.generation) == id >> 32).then_some(slot)
    }

    /// The slot of an id, unless the id is stale.
    #[inline]
    pub fn get_mut(&mut self, id: Id) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(index(id))?;
        (u64::from(slot.generation) == id >> 32).then_some(slot)
    }

    /// The established connection of an id, open or lingering.
    #[inline]
    pub fn link(&self, id: Id) -> Option<&Link> {
        match self.get(id)?.source {
            Source::Link(ref link) => Some(link),
            _ => None,
        }
    }

    /// The established connection of an id, open or lingering.
    #[inline]
    pub fn link_mut(&mut self, id: Id) -> Option<&mut Link> {
        match self.get_mut(id)?.source {
            Source::Link(ref mut link) => Some(link),
            _ => None,
        }
    }

    /// The connection of an id that is being established.
    pub fn pending(&self, id: Id) -> Option<&Pending> {
        match self.get(id)?.source {
            Source::Pending(ref pending) => Some(pending),
            _ => None,
        }
    }

    /// The connection of an id that is being established.
    pub fn pending_mut(&mut self, id: Id) -> Option<&mut Pending> {
        match self.get_mut(id)?.source {
            Source::Pending(ref mut pending) => Some(pending),
            _ => None,
        }
    }

    /// Empties a slot, whose descriptor may yet have to leave the loop.
    pub fn take(&mut self, id: Id) -> Source {
        self.set_deadline(id, None);
        self.get_mut(id).map_or(Source::Vacant, |slot| {
            std::mem::replace(&mut slot.source, Source::Leaving)
        })
    }

    /// Makes an emptied slot free for the next source; the id is stale from now on.
    pub fn free(&mut self, id: Id) {
        if let Some(slot) = self.get_mut(id) {
            slot.source = Source::Vacant;
            slot.told = None;
            // An entry of the old id may still stand in the list. It will find nothing, and
            // must not keep the next source out.
            slot.changed = false;
            slot.generation = slot.generation.wrapping_add(1);
            self.vacant.push(index(id) as u32);
        }
    }

    /// Sets or drops the one deadline of a source.
    pub fn set_deadline(&mut self, id: Id, after: Option<Duration>) {
        let Some(slot) = self.slots.get_mut(index(id)) else {
            return;
        };
        if u64::from(slot.generation) == id >> 32 && (slot.deadline.is_some() || after.is_some()) {
            slot.deadline = self.deadlines.set(id, slot.deadline, after);
        }
    }

    /// Takes the next source whose deadline has passed.
    pub fn pop_due(&mut self, now: Instant) -> Option<Id> {
        let id = self.deadlines.pop_due(now)?;
        if let Some(slot) = self.get_mut(id) {
            slot.deadline = None;
        }
        Some(id)
    }

    /// Time until the next deadline.
    pub fn until_next_deadline(&self) -> Option<Duration> {
        self.deadlines.until_next()
    }

    /// The listener of an id.
    pub fn listener_mut(&mut self, id: Id) -> Option<&mut Listener> {
        match self.get_mut(id)?.source {
            Source::Listener(ref mut listener) => Some(listener),
            _ => None,
        }
    }

    /// All listening sockets.
    pub fn acceptors_mut(&mut self) -> impl Iterator<Item = &mut Acceptor> + '_ {
        self.slots
            .iter_mut()
            .filter_map(|slot| match &mut slot.source {
                Source::Acceptor(acceptor) => Some(&mut **acceptor),
                _ => None,
            })
    }

    /// Whether `wanted` holds for any source.
    pub fn any(&self, wanted: impl Fn(&Source) -> bool) -> bool {
        self.slots.iter().any(|slot| wanted(&slot.source))
    }

    /// The ids of the sources that `wanted` holds for, in no order.
    pub fn ids(&self, wanted: impl Fn(&Source) -> bool) -> Vec<Id> {
        let found = self.slots.iter().enumerate();
        found
            .filter(|(_, slot)| wanted(&slot.source))
            .map(|(index, slot)| (u64::from(slot.generation) << 32) | index as u64)
            .collect()
    }

    /// Takes everything out, in no order.
    pub fn drain(&mut self) -> impl Iterator<Item = Source> + '_ {
        self.slots
            .iter_mut()
            .map(|slot| std::mem::take(&mut slot.source))
    }
}

#[cfg(test)]
impl Slots {
    /// As if `time` had gone by: every deadline is nearer by it.
    pub fn pass(&mut self, time: Duration) {
        let now = Instant::now();
        for index in 0..self.slots.len() {
            let slot = &self.slots[index];
            let id = u64::from(slot.generation) << 32 | index as u64;
            if let Some(left) = slot.deadline.map(|at| at.saturating_duration_since(now)) {
                self.set_deadline(id, Some(left.saturating_sub(time)));
            }
        }
    }

    /// How many sources are like this.
    pub fn count(&self, is_one: impl Fn(&Source) -> bool) -> usize {
        let sources = self.slots.iter().map(|slot| &slot.source);
        sources.filter(|source| is_one(source)).count()
    }
}
