//! One established connection: its socket, its protocol state, its queue, and where it stands.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use evws_proto::connection::{Config, Connection};
use evws_proto::Role;

use super::fanout::{Behind, Membership, Subscriber};
use super::keepalive::Pulse;
use super::lifetime::Idleness;
use super::pongs::Pongs;
use super::rates::Rates;
use super::state::{LinkState, Writing};
use super::statistics::{Counters, GroupNumber};
use super::unparsed::Unparsed;
use super::BUFFER;
use crate::event::{Id, Interest, Settings, Wants};
use crate::guest::Guest;
use crate::limits::Limits;
use crate::queue::{ChunkPool, SendQueue, Written};
use crate::reactor::index;
use crate::sys;
use crate::tls::records::TlsConnection;

/// What the upgrade has agreed on.
#[derive(Default)]
pub struct Agreed {
    /// The subprotocol.
    pub protocol: Option<Box<str>>,
    /// The extension, as the server's response says it.
    pub extensions: Option<Box<str>>,
}

/// An established connection.
pub struct Link {
    /// Its id, which is its token.
    pub id: Id,
    /// Its socket.
    pub fd: OwnedFd,
    /// Its TLS session.
    pub tls: Option<Box<TlsConnection>>,
    /// The state of RFC 6455.
    pub proto: Connection,
    /// Where it stands.
    pub state: LinkState,
    /// Frames that the kernel has not taken.
    pub queue: SendQueue,
    /// The Pongs in the queue.
    pub pongs: Pongs,
    /// What the peer may still send; `None`: as much as it likes.
    pub rates: Option<Box<Rates>>,
    /// It has sent as many messages as it may: the next one may have to wait.
    pub is_out_of_messages: bool,
    /// It has sent more messages: nothing is delivered or read.
    pub is_over_message_rate: bool,
    /// It has sent more bytes: nothing is read.
    pub is_over_byte_rate: bool,
    /// Bytes that were read, but not parsed yet. While there are some, nothing is read.
    pub unparsed: Unparsed,
    /// Bytes that were read into the message being assembled, but not parsed yet.
    pub direct: usize,
    /// What a listener knows of its client, until the program knows the connection as closed.
    pub guest: Option<Box<Guest>>,
    /// What the upgrade has agreed on; `None`: nothing, as for most.
    pub agreed: Option<Box<Agreed>>,
    /// Which end this is.
    pub role: Role,
    /// The events that the program wants.
    pub wants: Wants,
    /// What it has counted.
    pub counters: Counters,
    /// Whose sums its counts will be added to.
    pub group: GroupNumber,
    /// What it is limited to.
    pub limits: Rc<Limits>,
    /// Its peer's signs of life.
    pub pulse: Pulse,
    /// When the last message was.
    pub idleness: Idleness,
    /// For how many turns its peer's time has been over. The loop may have been held up, and an answer lie unread.
    pub pulse_doubts: u8,
    /// For how many turns it has been idle for too long. The loop may have been held up, and a message lie unread.
    pub idle_doubts: u8,
    /// Others have descriptors of the same socket, so that closing ours ends nothing.
    pub is_shared: bool,
    /// What it has counted was added to the sums.
    pub is_counted: bool,
    /// It is in the list of [`CodecOwners`](super::codecs::CodecOwners).
    pub is_codec_owner: bool,
    /// The queue was long since the last event of a short one.
    pub is_drain_due: bool,
    /// The first part of a message was dropped: the others are, too.
    pub is_dropping: bool,
    /// How many messages of the program were dropped.
    pub dropped: u64,
    /// Its topics, and what it is behind with; `None`: there is nothing.
    pub subscriber: Option<Box<Subscriber>>,
}

impl Link {
    /// An idle connection whose upgrade is done, in the place where it stays.
    pub fn new(id: Id, fd: OwnedFd, role: Role, settings: &Settings) -> Box<Self> {
        let config = Config {
            role,
            max_message_size: settings.max_message_size,
            max_fragments: settings.limits.max_fragments,
            validate_utf8: settings.validate_utf8,
        };
        Box::new(Link {
            id,
            fd,
            tls: None,
            proto: Connection::new(&config),
            state: LinkState::announced(),
            queue: SendQueue::default(),
            pongs: Pongs::default(),
            rates: Rates::new(&settings.limits),
            is_out_of_messages: false,
            is_over_message_rate: false,
            is_over_byte_rate: false,
            unparsed: Unparsed::default(),
            direct: 0,
            guest: None,
            agreed: None,
            role,
            wants: settings.wants,
            counters: Counters::default(),
            group: 0,
            limits: Rc::clone(&settings.limits),
            pulse: Pulse::default(),
            idleness: Idleness::default(),
            pulse_doubts: 0,
            idle_doubts: 0,
            is_shared: false,
            is_counted: false,
            is_codec_owner: false,
            is_drain_due: false,
            is_dropping: false,
            dropped: 0,
            subscriber: None,
        })
    }

    /// The negotiated subprotocol.
    pub fn protocol(&self) -> Option<&str> {
        self.agreed.as_ref()?.protocol.as_deref()
    }

    /// The negotiated extension, as the server's response says it.
    pub fn extensions(&self) -> Option<&str> {
        self.agreed.as_ref()?.extensions.as_deref()
    }

    /// Its subscriptions.
    pub fn memberships(&self) -> &[Membership] {
        let subscriber = self.subscriber.as_ref();
        subscriber.map_or(&[], |subscriber| &subscriber.memberships)
    }

    /// Its subscriptions, to be changed.
    pub fn memberships_mut(&mut self) -> &mut Vec<Membership> {
        &mut self.subscriber.get_or_insert_default().memberships
    }

    /// What it is behind with, to be changed.
    pub fn behind(&mut self) -> &mut Behind {
        let subscriber = self.subscriber.get_or_insert_default();
        subscriber.behind.get_or_insert_default()
    }

    /// What it is behind with; `None`: nothing.
    pub fn find_behind(&self) -> Option<&Behind> {
        self.subscriber.as_ref()?.behind.as_deref()
    }

    /// The same, to be changed.
    #[inline]
    pub fn find_behind_mut(&mut self) -> Option<&mut Behind> {
        self.subscriber.as_mut()?.behind.as_deref_mut()
    }

    /// What the limit of the queue counts, with what waits for the end of a fragmented message.
    pub fn load_and_held(&self) -> u64 {
        self.queue.load() + self.find_behind().map_or(0, Behind::held_load)
    }

    /// How many messages wait for the end of a fragmented message.
    pub fn held(&self) -> u64 {
        self.find_behind().map_or(0, Behind::held)
    }

    /// A message of so many octets that had been queued was dropped.
    pub fn note_unsent(&mut self, octets: u64) {
        self.dropped += 1;
        self.counters.unsent(octets);
    }

    /// Everything that was queued has gone out.
    #[inline]
    pub fn queue_is_empty(&mut self) {
        if self.find_behind_mut().is_some_and(Behind::queue_is_empty) {
            self.subscriber.get_or_insert_default().behind = None;
            self.forget_empty_subscriber();
        }
    }

    /// A connection without subscriptions needs no memory for them.
    pub fn forget_empty_subscriber(&mut self) {
        let is_empty = |of: &Subscriber| of.memberships.is_empty() && of.behind.is_none();
        if self.subscriber.as_deref().is_some_and(is_empty) {
            self.subscriber = None;
        }
    }

    /// Whether the program knows it before it is told that it is open.
    pub fn is_known_before_open(&self) -> bool {
        self.role == Role::Client || self.is_shared
    }

    /// Whether what arrives must wait.
    #[inline]
    pub fn holds_back(&self) -> bool {
        let is_held = self.pongs.throttle() || self.is_over_message_rate;
        self.state.holds_back() || (is_held && !self.state.is_lingering())
    }

    /// Whether nothing may be read.
    #[inline]
    pub fn is_unread(&self) -> bool {
        self.state.holds_back() || (self.is_throttled() && !self.state.is_lingering())
    }

    /// Whether the peer is not read from because of what it has sent itself: it may be alive, and nobody would notice.
    #[inline]
    pub fn is_throttled(&self) -> bool {
        self.pongs.throttle() || self.is_over_message_rate || self.is_over_byte_rate
    }

    /// No rate keeps the peer from being read.
    pub fn forget_rates(&mut self) {
        self.is_out_of_messages = false;
        self.is_over_message_rate = false;
        self.is_over_byte_rate = false;
    }

    /// Whether something was read that is not parsed yet, or the end was read behind it.
    #[inline]
    pub fn has_unparsed(&self) -> bool {
        self.has_unparsed_bytes() || self.tls.as_ref().is_some_and(|tls| tls.has_ended())
    }

    /// Whether bytes were read that are not parsed yet.
    #[inline]
    pub fn has_unparsed_bytes(&self) -> bool {
        !self.unparsed.is_empty() || self.direct > 0
    }

    /// Offers the queue to the kernel.
    ///
    /// # Errors
    /// As [`SendQueue::write`].
    pub fn write_queue(&mut self, pool: &mut ChunkPool, wire: &mut Vec<u8>) -> io::Result<Written> {
        match &mut self.tls {
            Some(tls) => {
                wire.resize(BUFFER, 0);
                tls.write(self.fd.as_fd(), &mut self.queue, pool, wire)
            }
            None => self.queue.write(self.fd.as_fd(), pool),
        }
    }

    /// Ends our side of a TLS session. Returns whether the kernel has taken that, or never will.
    pub fn notify_end(&mut self) -> bool {
        match &mut self.tls {
            Some(tls) => tls.notify_end(self.fd.as_fd()),
            None => true,
        }
    }

    /// Ends the stream, if closing the descriptor will not.
    pub fn shut_down_if_shared(&self) {
        if self.is_shared {
            sys::shutdown(self.fd.as_fd());
        }
    }

    /// What its descriptor is to be watched for.
    pub fn interest(&self) -> Interest {
        let read = if self.is_unread() {
            Interest::NONE
        } else {
            Interest::READ
        };
        let write = if self.state.writing() == Writing::Blocked {
            Interest::WRITE
        } else {
            Interest::NONE
        };
        read | write
    }
}

/// The established connections of a context, open or lingering.
#[derive(Default)]
pub struct Links {
    /// Indexed by slots.
    table: Vec<Option<Box<Link>>>,
    count: usize,
}

impl Links {
    /// Adds one, whose slot holds no other.
    pub fn insert(&mut self, link: Box<Link>) {
        let index = index(link.id);
        if index >= self.table.len() {
            self.table.resize_with(index + 1, || None);
        }
        self.table[index] = Some(link);
        self.count += 1;
    }

    /// The connection of an id, unless the id is stale or another source's.
    #[inline]
    pub fn get(&self, id: Id) -> Option<&Link> {
        let link = self.table.get(index(id))?.as_deref()?;
        (link.id == id).then_some(link)
    }

    /// The connection of an id, unless the id is stale or another source's.
    #[inline]
    pub fn get_mut(&mut self, id: Id) -> Option<&mut Link> {
        let link = self.table.get_mut(index(id))?.as_deref_mut()?;
        (link.id == id).then_some(link)
    }

    /// The connection of an id, if it is open.
    #[inline]
    pub fn open(&self, id: Id) -> Option<&Link> {
        self.get(id).filter(|link| link.state.is_open())
    }

    /// The connection of an id, if it is open.
    #[inline]
    pub fn open_mut(&mut self, id: Id) -> Option<&mut Link> {
        self.get_mut(id).filter(|link| link.state.is_open())
    }

    /// Takes one out.
    pub fn remove(&mut self, id: Id) -> Option<Box<Link>> {
        self.get(id)?;
        let link = self.table[index(id)].take()?;
        self.count -= 1;
        if self.count == 0 {
            self.table = Vec::new();
        }
        Some(link)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Link> {
        self.table.iter().flatten().map(|link| &**link)
    }

    /// Their ids, in no order.
    pub fn ids(&self) -> Vec<Id> {
        self.iter().map(|link| link.id).collect()
    }

    /// Takes all of them out.
    pub fn drain(&mut self) -> impl Iterator<Item = Box<Link>> {
        self.count = 0;
        let table = std::mem::take(&mut self.table);
        table.into_iter().flatten()
    }
}
