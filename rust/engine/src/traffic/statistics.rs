//! What is counted: by each connection, and in sum for each listener.
//!
//! A connection counts for itself, without looking anything up. When the program is told that it is closed, its counts
//! are added to those of its group: the connections of one listener, or the context's own, which are clients and
//! adopted ones. So a sum is that of the group and of the connections that are open. What goes out after that end, the rest
//! of the queue and a Close, is added as it goes.

use evws_proto::connection::FrameKind;

use super::link::Link;
use crate::event::Id;
use crate::queue::Droppables;

/// One direction of a connection, or of many. All octets are those of the WebSocket stream: frames with their headers, and
/// neither the upgrade nor the records of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Whole messages.
    pub messages: u64,
    /// Frames: fragments, control frames and Close frames too.
    pub frames: u64,
    /// Octets of messages as the program sees them, fragments of unfinished ones included.
    pub payload: u64,
    /// Octets of frames, headers included, as they went over the wire.
    pub wire: u64,
}

impl Flow {
    fn add(&mut self, other: &Flow) {
        self.messages += other.messages;
        self.frames += other.frames;
        self.payload += other.payload;
        self.wire += other.wire;
    }
}

/// What became of payload: the quotient says what compression saves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Framed {
    /// Octets of messages that were made into frames.
    pub payload: u64,
    /// Octets of all frames that were made, with their headers: those that the kernel has taken, those that wait, and those
    /// that a connection without an orderly end has lost.
    pub wire: u64,
}

impl Framed {
    fn add(&mut self, other: &Framed) {
        self.payload += other.payload;
        self.wire += other.wire;
    }
}

/// What a connection counts that none of its other parts knows: [`SendQueue`](crate::queue::SendQueue) counts the octets
/// that were written, and the protocol the frames that have come.
#[derive(Debug, Default)]
pub struct Counters {
    messages_received: u64,
    payload_received: u64,
    wire_received: u64,
    messages_sent: u64,
    frames_sent: u64,
    payload_sent: u64,
    queue_peak: u64,
}

impl Counters {
    /// Octets were read.
    #[inline]
    pub fn read(&mut self, octets: usize) {
        self.wire_received += octets as u64;
    }

    /// A whole message has come, with this payload.
    #[inline]
    pub fn received(&mut self, octets: usize) {
        self.messages_received += 1;
        self.payload_received += octets as u64;
    }

    /// A frame of the program was queued, and `queued` octets of payload wait now.
    #[inline]
    pub fn sent(&mut self, kind: FrameKind, octets: usize, queued: u64) {
        self.frames_sent += 1;
        let (is_data, is_last) = match kind {
            FrameKind::Text | FrameKind::Binary => (true, true),
            FrameKind::Fragment { last, .. } => (true, last),
            FrameKind::Ping | FrameKind::Pong => (false, false),
        };
        self.messages_sent += u64::from(is_last);
        self.payload_sent += if is_data { octets as u64 } else { 0 };
        self.queue_peak = self.queue_peak.max(queued);
    }

    /// Prepared messages were written, or queued, so that `queued` octets of payload wait now.
    #[inline]
    pub fn sent_prepared(&mut self, messages: u64, payload: u64, queued: u64) {
        self.frames_sent += messages;
        self.messages_sent += messages;
        self.payload_sent += payload;
        self.queue_peak = self.queue_peak.max(queued);
    }

    /// A prepared message that was queued was dropped.
    pub fn unsent(&mut self, payload: u64) {
        self.frames_sent -= 1;
        self.messages_sent -= 1;
        self.payload_sent -= payload;
    }

    /// Frames of our own were queued.
    #[inline]
    pub fn sent_control(&mut self, frames: u64) {
        self.frames_sent += frames;
    }
}

/// What is known of one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionStatistics {
    /// What has come.
    pub received: Flow,
    /// What was sent. `wire` is what the kernel has taken, everything else what was queued and cannot be dropped.
    pub sent: Flow,
    /// What was made of what was sent.
    pub framed: Framed,
    /// Octets of payload that wait to be written.
    pub queue: u64,
    /// The most that have waited at a time.
    pub queue_peak: u64,
    /// Messages that were dropped because the queue was full.
    pub dropped: u64,
    /// Messages that wait now, and may still be dropped. Once it is decided they are among those that were sent or dropped, so
    /// that every message is counted once.
    pub droppable: u64,
}

impl ConnectionStatistics {
    /// Those of a connection as it is now.
    pub fn of(link: &Link) -> Self {
        let counters = &link.counters;
        // What waits when a connection closes is not dropped any more.
        let is_open = link.state.is_open();
        let waiting = if is_open {
            link.queue.droppable()
        } else {
            Droppables::default()
        };
        ConnectionStatistics {
            received: Flow {
                messages: counters.messages_received,
                frames: link.proto.frames_received(),
                payload: counters.payload_received,
                wire: counters.wire_received,
            },
            sent: Flow {
                messages: counters.messages_sent - waiting.messages,
                frames: counters.frames_sent - waiting.messages,
                payload: counters.payload_sent - waiting.payload,
                wire: link.queue.taken(),
            },
            framed: Framed {
                payload: counters.payload_sent,
                wire: link.queue.made(),
            },
            queue: link.queue.payload(),
            queue_peak: counters.queue_peak,
            dropped: link.dropped,
            droppable: waiting.messages + link.held(),
        }
    }
}

/// The sums of many connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// What has come.
    pub received: Flow,
    /// What was sent.
    pub sent: Flow,
    /// What was made of what was sent.
    pub framed: Framed,
    /// Connections that the program was told of as open.
    pub opened: u64,
    /// Of those, how many are open still: it was not told that they are closed.
    pub open: u64,
    /// Octets of payload that wait to be written.
    pub queue: u64,
    /// The most that have waited on one connection at a time.
    pub queue_peak: u64,
    /// Messages that were dropped because a queue was full.
    pub dropped: u64,
    /// Messages that wait now, and may still be dropped.
    pub droppable: u64,
    /// How many were closed with which code, 1005 and 1006 included, by the order of the codes. There are no more than the
    /// codes of RFC 6455 section 7.4, some 4000, so that peers cannot make it grow without bound.
    pub closed: Vec<(u16, u64)>,
}

impl Totals {
    fn count(&mut self, connection: &ConnectionStatistics) {
        self.received.add(&connection.received);
        self.sent.add(&connection.sent);
        self.framed.add(&connection.framed);
        self.queue_peak = self.queue_peak.max(connection.queue_peak);
        self.dropped += connection.dropped;
    }

    /// Adds an open connection.
    fn count_open(&mut self, connection: &ConnectionStatistics) {
        self.count(connection);
        self.queue += connection.queue;
        self.droppable += connection.droppable;
    }

    fn count_closed(&mut self, code: u16, times: u64) {
        match self.closed.binary_search_by_key(&code, |&(code, _)| code) {
            Ok(index) => self.closed[index].1 += times,
            Err(index) => self.closed.insert(index, (code, times)),
        }
    }

    /// Adds the sums of others, to which no open connection has been added.
    fn add(&mut self, other: &Totals) {
        self.received.add(&other.received);
        self.sent.add(&other.sent);
        self.framed.add(&other.framed);
        self.opened += other.opened;
        self.open += other.open;
        self.queue_peak = self.queue_peak.max(other.queue_peak);
        self.dropped += other.dropped;
        for &(code, times) in &other.closed {
            self.count_closed(code, times);
        }
    }
}

/// The connections that came in at one listener.
#[derive(Debug)]
struct Group {
    listener: Id,
    /// How many connections have their number.
    members: u32,
    totals: Totals,
}

/// The groups of a context. A connection has the number of its own.
#[derive(Debug, Default)]
pub struct Groups {
    /// The context's own: clients, adopted connections, and those of listeners that are no more.
    own: Totals,
    /// Number 1 is the first.
    listeners: Vec<Option<Group>>,
}

/// The number of a group; 0 is the context's own.
pub type GroupNumber = u32;

impl Groups {
    /// A connection came in at `listener`, or nowhere. Returns the number of its group.
    pub fn join(&mut self, listener: Option<Id>) -> GroupNumber {
        let Some(listener) = listener else { return 0 };
        let index = self.find(listener).unwrap_or_else(|| {
            let group = Group {
                listener,
                members: 0,
                totals: Totals::default(),
            };
            let vacant = self.listeners.iter().position(Option::is_none);
            let index = vacant.unwrap_or(self.listeners.len());
            if vacant.is_none() {
                self.listeners.push(None);
            }
            self.listeners[index] = Some(group);
            index
        });
        if let Some(group) = &mut self.listeners[index] {
            group.members += 1;
        }
        index as GroupNumber + 1
    }

    fn find(&self, listener: Id) -> Option<usize> {
        let is_it = |group: &Option<Group>| {
            group
                .as_ref()
                .is_some_and(|group| group.listener == listener)
        };
        self.listeners.iter().position(is_it)
    }

    fn totals(&mut self, number: GroupNumber) -> &mut Totals {
        let group = (number as usize)
            .checked_sub(1)
            .and_then(|index| self.listeners.get_mut(index)?.as_mut());
        match group {
            Some(group) => &mut group.totals,
            None => &mut self.own,
        }
    }

    /// The program is told that a connection is open.
    pub fn opened(&mut self, number: GroupNumber) {
        let totals = self.totals(number);
        totals.opened += 1;
        totals.open += 1;
    }

    /// The program is told that a connection which was open is closed.
    pub fn closed(&mut self, number: GroupNumber, code: u16, connection: &ConnectionStatistics) {
        let totals = self.totals(number);
        totals.open -= 1;
        totals.count_closed(code, 1);
        totals.count(connection);
    }

    /// The kernel has taken `octets` of a connection that was told of as closed.
    pub fn sent_after_end(&mut self, number: GroupNumber, octets: u64) {
        self.totals(number).sent.wire += octets;
    }

    /// A connection is gone.
    pub fn leave(&mut self, number: GroupNumber) {
        let Some(index) = (number as usize).checked_sub(1) else {
            return;
        };
        if let Some(Some(group)) = self.listeners.get_mut(index) {
            group.members -= 1;
        }
        self.settle(index);
    }

    /// A listener is no more. Its connections keep their number, and their sums become the context's when the last one is gone.
    pub fn end(&mut self, listener: Id) {
        let Some(index) = self.find(listener) else {
            return;
        };
        if let Some(group) = &mut self.listeners[index] {
            group.listener = 0;
        }
        self.settle(index);
    }

    fn settle(&mut self, index: usize) {
        let is_over = |group: &mut Group| group.listener == 0 && group.members == 0;
        if let Some(ended) = self
            .listeners
            .get_mut(index)
            .and_then(|group| group.take_if(is_over))
        {
            self.own.add(&ended.totals);
        }
    }

    /// The sums of some listeners, or (`None`) of all connections, to which the `open` ones of these are added.
    pub fn sum<'a>(
        &self,
        listeners: Option<&[Id]>,
        open: impl Iterator<Item = &'a Link>,
    ) -> Totals {
        let is_meant = |listener: Id| listeners.is_none_or(|ids| ids.contains(&listener));
        let mut totals = match listeners {
            Some(_) => Totals::default(),
            None => self.own.clone(),
        };
        let groups = self.listeners.iter().flatten();
        for group in groups.filter(|group| is_meant(group.listener)) {
            totals.add(&group.totals);
        }
        for link in open {
            let index = (link.group as usize).checked_sub(1);
            let group = index.and_then(|index| self.listeners.get(index)?.as_ref());
            if is_meant(group.map_or(0, |group| group.listener)) {
                totals.count_open(&ConnectionStatistics::of(link));
            }
        }
        totals
    }
}

#[cfg(test)]
mod tests;
