//! The traffic of established connections: what they receive, what they send, and how they end.
//!
//! | a question about | is answered in |
//! | --- | --- |
//! | where a connection stands | `state.rs` |
//! | from a readable descriptor to a message | `receive.rs` |
//! | Pings, Pongs and Closes of the peer | `control.rs` |
//! | from a message to the kernel, and what the kernel refuses | `send.rs` |
//! | how long a closing peer is waited for, and what is left of a closed connection | `closing.rs` |
//! | whether the peer is still there | `keepalive.rs` |
//! | connections whose time is over | `lifetime.rs` |
//! | Pings of a peer that does not read | `pongs.rs` |
//! | peers that send more than they may | `rates.rs` |
//! | one message for many connections | `fanout/` |

#[cfg(test)]
mod bench;
mod closing;
mod codecs;
mod control;
mod fanout;
#[cfg(test)]
mod full_tests;
mod keepalive;
mod lifetime;
mod link;
mod lists;
mod masks;
#[cfg(test)]
mod memory_tests;
mod pongs;
mod rates;
mod receive;
mod send;
mod state;
mod statistics;
#[cfg(test)]
mod tests;
mod unparsed;

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use evws_proto::deflate::Codecs;
use evws_proto::forwarded::Peer;
use evws_proto::handshake::Negotiated;
use evws_proto::Role;

use crate::event::{Id, Interest, Settings};
use crate::guest::Guest;
use crate::log::{Log, Topic};
use crate::queue::ChunkPool;
use crate::reactor::{Reactor, Timer};
use crate::shared::Shared;
use crate::sys;
use crate::tls::info::TlsInfo;
use crate::tls::records::TlsConnection;
use codecs::CodecOwners;
use fanout::Fanout;
use keepalive::Share;
use link::{Agreed, Link, Links};
use masks::Masks;
use receive::Input;
use send::ToWrite;
use statistics::Groups;

pub use fanout::{OnSlow, Position, PublishOptions, TopicOptions};
pub use send::SendError;
pub use state::Life;
use state::LinkState;
pub use statistics::{ConnectionStatistics, Flow, Framed, Totals};

/// The size of the receive buffer: what a peer writes at a time, four messages of 64 KiB, say, and
/// their headers. Larger ones gain nothing and leave the processor's cache.
const BUFFER: usize = 260 * 1024;

/// A connection whose upgrade is done.
pub struct Upgraded {
    /// Its socket.
    pub fd: OwnedFd,
    /// Which end we are.
    pub role: Role,
    /// The options of the connection.
    pub settings: Settings,
    /// Its TLS session; `None`: there is no TLS.
    pub tls: Option<Box<TlsConnection>>,
    /// The negotiated subprotocol.
    pub protocol: Option<String>,
    /// The parameters of permessage-deflate; `None`: it was not agreed on.
    pub deflate: Option<Negotiated>,
    /// Bytes that were read beyond the head.
    pub unparsed: Vec<u8>,
    /// Others have descriptors of the same socket.
    pub is_shared: bool,
    /// What a listener knows of its client.
    pub guest: Option<Box<Guest>>,
    /// Where it came in; `None`: it did not come in at a listener.
    pub listener: Option<Id>,
}

/// The established connections of a context, and the memory that they share.
#[derive(Default)]
pub struct Traffic {
    links: Links,
    input: Input,
    /// Records of TLS, as they were read or are written; empty without TLS.
    wire: Vec<u8>,
    to_write: ToWrite,
    pool: ChunkPool,
    masks: Masks,
    /// Codecs that connections borrow for one message.
    codecs: Codecs,
    codec_owners: CodecOwners,
    /// The compressed payload of the frame that is being made.
    scratch: Vec<u8>,
    groups: Groups,
    fanout: Fanout,
    /// What the connection counted whose end the program was told of last.
    last_closed: Option<(Id, ConnectionStatistics)>,
    /// What our own Pings begin with; 0 until there was one.
    ping_tag: u64,
    share: Share,
    log: Log,
}

impl Traffic {
    /// A traffic without connections and buffers, which writes to this log.
    pub fn new(log: Log) -> Self {
        Traffic {
            log,
            ..Traffic::default()
        }
    }

    // ---- connections come and go ----

    /// Adds a connection whose upgrade is done. Nothing of it is parsed before [`open`](Self::open).
    pub fn add(&mut self, id: Id, upgraded: Upgraded, reactor: &mut Reactor) {
        let Upgraded { fd, role, .. } = upgraded;
        let mut link = Link::new(id, fd, role, &upgraded.settings);
        link.is_shared = upgraded.is_shared;
        link.guest = upgraded.guest;
        link.tls = upgraded.tls;
        link.counters.read(upgraded.unparsed.len());
        link.unparsed = upgraded.unparsed.into();
        link.group = self.groups.join(upgraded.listener);
        let mut agreed = Agreed {
            protocol: upgraded.protocol.map(String::into_boxed_str),
            extensions: None,
        };
        if let Some(negotiated) = upgraded.deflate {
            link.proto
                .use_deflate(&negotiated.agreement, self.codecs.clone());
            agreed.extensions = Some(negotiated.text.into_boxed_str());
        }
        if agreed.protocol.is_some() || agreed.extensions.is_some() {
            link.agreed = Some(Box::new(agreed));
        }
        let state = link.state;
        self.links.insert(link);
        self.log.write(Topic::State, id, format_args!("{state}"));
        reactor.touch(id);
    }

    /// Adds a connection that was answered without an upgrade: its peer is given a moment to read the
    /// answer before the descriptor closes.
    pub fn add_answered(&mut self, id: Id, fd: OwnedFd, is_shared: bool, reactor: &mut Reactor) {
        let mut link = Link::new(id, fd, Role::Server, &Settings::default());
        link.state = state::LinkState::answered();
        link.is_shared = is_shared;
        let state = link.state;
        self.links.insert(link);
        self.log.write(Topic::State, id, format_args!("{state}"));
        self.start_linger(id, reactor);
        reactor.touch(id);
    }

    /// Seeds the generator of mask keys, before a client connects.
    pub fn prepare_masks(&mut self) {
        self.masks.prepare();
    }

    /// The program is told of a connection: from here on its bytes are parsed. False: its time for
    /// that has passed.
    pub fn open(&mut self, id: Id, reactor: &mut Reactor) -> bool {
        let opened = self.change(id, LinkState::open).unwrap_or(false);
        if opened {
            if let Some(link) = self.links.get(id) {
                self.groups.opened(link.group);
            }
            self.start_clocks(id, reactor);
            self.start_lifetime(id, reactor);
            self.input.resume_parsing(&self.links, id);
            reactor.touch(id);
        }
        opened
    }

    /// Takes out a connection that its program does not know as open: its descriptor, and whether
    /// the program knows it at all.
    pub fn remove_announced(&mut self, id: Id) -> Option<(OwnedFd, bool)> {
        let mut link = self.links.remove(id)?;
        link.shut_down_if_shared();
        link.queue.clear(&mut self.pool);
        self.groups.leave(link.group);
        self.log.write(Topic::State, id, format_args!("dead"));
        let is_known = link.is_known_before_open();
        Some((link.fd, is_known))
    }

    /// Stops delivering, or goes on. Does nothing unless the connection is open.
    pub fn pause(&mut self, id: Id, is_paused: bool, reactor: &mut Reactor) {
        let Some(link) = self.links.open_mut(id) else {
            return;
        };
        change(&self.log, link, |state| state.pause(is_paused));
        link.pulse.hear(reactor.clock());
        self.input.resume_parsing(&self.links, id);
        reactor.touch(id);
    }

    /// Ends all connections at once and without events. What is queued is offered to the kernel,
    /// unless `silent`: then this is a forked child, and the connections are its parent's.
    pub fn shut_down(&mut self, silent: bool) {
        let mut pool = std::mem::take(&mut self.pool);
        let mut wire = std::mem::take(&mut self.wire);
        for mut link in self.links.drain().filter(|_| !silent) {
            if link.state.writing() != state::Writing::Dead {
                // There is no event for a failure, and no time to try again.
                let _ = link.write_queue(&mut pool, &mut wire);
                if link.queue.is_empty() {
                    link.notify_end();
                }
            }
            link.shut_down_if_shared();
        }
    }

    /// Gives the shared memory back after the last connection has ended.
    pub fn release_memory(&mut self) {
        if self.links.count() == 0 && !self.input.is_active() && !self.input.is_free() {
            self.input.release_buffer();
            self.wire = Vec::new();
            self.pool.shrink();
            self.codecs.shrink();
            self.scratch = Vec::new();
        }
    }

    /// Whether there is a buffer that connections share.
    #[cfg(test)]
    pub fn holds_memory(&self) -> bool {
        !self.input.is_free()
    }

    // ---- questions ----

    /// How many connections there are, lingering ones included.
    pub fn count(&self) -> usize {
        self.links.count()
    }

    /// Their ids, in no order.
    pub fn ids(&self) -> Vec<Id> {
        self.links.ids()
    }

    /// Whether there are bytes to parse or to write.
    pub fn is_busy(&self) -> bool {
        self.input.is_active()
            || self.input.waits_for_next_turn()
            || !self.to_write.is_empty()
            || self.fanout.is_busy()
    }

    /// How far the life of a connection has come; `None`: the id is stale, or another source's.
    #[inline]
    pub fn life(&self, id: Id) -> Option<Life> {
        self.links.get(id).map(|link| link.state.life())
    }

    /// Whether the queue of an open connection is short still. If not, it will be told of later.
    pub fn is_drained(&mut self, id: Id) -> bool {
        let Some(link) = self.links.open_mut(id) else {
            return false;
        };
        let is_short = link.limits.send_queue.is_short(link.queue.load());
        link.is_drain_due |= !is_short;
        is_short
    }

    /// Whether the program knows a connection before it is told that it is open.
    pub fn is_known_before_open(&self, id: Id) -> bool {
        self.links.get(id).is_some_and(Link::is_known_before_open)
    }

    /// Which end of a connection we are.
    pub fn role(&self, id: Id) -> Option<Role> {
        self.links.get(id).map(|link| link.role)
    }

    fn known_link(&self, id: Id) -> Option<&Link> {
        self.links.get(id).filter(|link| link.state.is_known())
    }

    /// The negotiated subprotocol.
    pub fn protocol(&self, id: Id) -> Option<&str> {
        self.known_link(id)?.protocol()
    }

    /// The negotiated extension, as the server's response says it.
    pub fn extensions(&self, id: Id) -> Option<&str> {
        self.known_link(id)?.extensions()
    }

    /// Who the peer is: as a proxy says it, or the socket.
    pub fn peer(&self, id: Id) -> Option<Peer> {
        let link = self.known_link(id)?;
        let claimed = link.guest.as_ref().and_then(|guest| guest.claimed);
        Some(claimed.unwrap_or_else(|| sys::peer_address(link.fd.as_fd()).into()))
    }

    /// What the TLS session has agreed on.
    pub fn tls(&self, id: Id) -> Option<TlsInfo<'_>> {
        self.known_link(id)?.tls.as_ref().map(|tls| tls.info())
    }

    /// How long the peer took last to answer a Ping of ours.
    pub fn latency(&self, id: Id) -> Option<Duration> {
        self.known_link(id)?.pulse.latency()
    }

    /// Payload bytes that are queued and not yet given to the kernel; 0 for a closed connection.
    pub fn send_queue_size(&self, id: Id) -> u64 {
        self.known_link(id).map_or(0, |link| link.queue.payload())
    }

    /// Whether a program that goes by the marks of the send queue would send on a connection.
    pub fn is_writable(&self, id: Id) -> bool {
        self.links
            .open(id)
            .is_some_and(|link| link.limits.send_queue.is_writable(link.queue.load()))
    }

    /// What a connection has counted, also the one whose end the program was told of last.
    pub fn statistics(&self, id: Id) -> Option<ConnectionStatistics> {
        match self.known_link(id) {
            Some(link) => Some(ConnectionStatistics::of(link)),
            None => {
                let last = self.last_closed.filter(|&(closed, _)| closed == id);
                last.map(|(_, counted)| counted)
            }
        }
    }

    /// The sums of the connections that came in at some listeners; `None`: of all connections.
    pub fn totals(&self, listeners: Option<&[Id]>) -> Totals {
        let open = self.links.iter().filter(|link| link.state.is_known());
        self.groups.sum(listeners, open)
    }

    /// How many of them were closed with which code.
    pub fn closed_by_code(&self, listeners: Option<&[Id]>) -> Vec<(u16, u64)> {
        self.groups.sum(listeners, std::iter::empty()).closed
    }

    /// A listener is no more.
    pub fn forget_listener(&mut self, listener: Id) {
        self.groups.end(listener);
    }

    /// The descriptor of a connection, and what it is to be watched for.
    pub fn interest(&self, id: Id) -> Option<(RawFd, Interest)> {
        let link = self.links.get(id)?;
        Some((link.fd.as_raw_fd(), link.interest()))
    }

    // ---- the loop ----

    /// The descriptor of a connection is ready.
    #[inline]
    pub fn handle_io(&mut self, id: Id, readable: bool, writable: bool, shared: &mut Shared<'_>) {
        if writable {
            self.handle_writable(id, shared);
        }
        if readable {
            self.handle_readable(id, shared);
        }
    }

    /// The loop enters the engine: frames that are queued from here on wait for the next flush.
    #[inline]
    pub fn begin(&mut self) {
        self.to_write.begin();
    }

    /// A turn of the loop begins: bytes that the last one has left over are parsed and written.
    pub fn begin_turn(&mut self) {
        self.input.begin_turn();
        self.to_write.begin_turn();
        self.share.begin_turn();
    }

    /// A timer of a connection has run out.
    pub fn expire(&mut self, id: Id, timer: Timer, shared: &mut Shared<'_>) -> Expired {
        match timer {
            Timer::Linger => self.release(id, shared.reactor),
            Timer::Closing | Timer::ClosingLimit => {
                if self.end_after_timeout(id, shared) {
                    return Expired::TimedOut;
                }
            }
            Timer::Pongs => self.fail_unread_pongs(id, shared),
            Timer::Rate => self.end_pause(id, shared),
            Timer::Keepalive => self.look_for_life(id, shared),
            Timer::Idle => self.look_for_messages(id, shared),
            Timer::Lifetime => self.end_in_order(id, "lifetime", shared.reactor),
            Timer::Handshake
            | Timer::AttemptDelay
            | Timer::AcceptPause
            | Timer::IdleCodecs
            | Timer::History
            | Timer::Shutdown => {}
        }
        Expired::Other
    }

    /// Connections that were idle for a while give their codecs back.
    pub fn release_idle_codecs(&mut self, reactor: &mut Reactor) {
        self.codec_owners.release_idle(&mut self.links, reactor);
    }

    /// A transition of a connection's state, which the log is told of. `None`: there is no such connection.
    #[inline]
    fn change<T>(&mut self, id: Id, transition: impl FnOnce(&mut LinkState) -> T) -> Option<T> {
        let link = self.links.get_mut(id)?;
        Some(change(&self.log, link, transition))
    }
}

/// A transition of the state of `link`, which the log is told of.
#[inline]
fn change<T>(log: &Log, link: &mut Link, transition: impl FnOnce(&mut LinkState) -> T) -> T {
    let before = link.state;
    let result = transition(&mut link.state);
    if log.is_on() {
        log_change(log, link, before);
    }
    result
}

#[cold]
fn log_change(log: &Log, link: &Link, before: LinkState) {
    for what in link.state.differences(&before).into_iter().flatten() {
        log.write(Topic::State, link.id, format_args!("{what}"));
    }
}

/// What a timer that has run out did to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    /// The connection was ended because its peer did not close in time.
    TimedOut,
    /// Anything else, which a shutdown does not count.
    Other,
}
