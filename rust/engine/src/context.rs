//! A context: all sources of one event loop, and the calls that drive them.
//!
//! The caller reports readiness (`handle_io`, `handle_timeout`, `handle_prepare`), then asks for
//! events until there are none, then for watches until there are none, then for the deadline.
//! Nothing here calls back, so between two events the caller may do anything.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

use evws_proto::deflate::Codecs;
use evws_proto::handshake::Headers;
use evws_proto::http::Request;
use evws_proto::proxy::rules::Rules;

use crate::establish::race::Progress;
use crate::event::{Id, Queued};
use crate::holders::Holders;
use crate::queue::ChunkPool;
use crate::receive::Batch;
use crate::resolver::Resolver;
use crate::shutdown::Shutdown;
use crate::slots::{Slots, Source};
use crate::sys;
use crate::tls::client::Clients;
use crate::watch::Leaving;

/// What the event that was polled last carries.
#[derive(Default)]
pub(crate) struct Current {
    pub headers: Headers,
    pub owned: Vec<u8>,
    pub request: Option<Box<Request>>,
    /// Whether that came by TLS.
    pub secure: bool,
    /// Where the payload lies in the receive buffer, unless it is owned.
    pub range: Option<(usize, usize)>,
}

/// See the module.
pub struct Context {
    pub(crate) slots: Slots,
    pub(crate) events: VecDeque<Queued>,
    pub(crate) current: Current,
    pub(crate) batch: Batch,
    /// The one receive buffer; empty while there is neither a connection nor a listener.
    pub(crate) buffer: Vec<u8>,
    /// Records of TLS, as they were read or are written; empty without TLS.
    pub(crate) wire: Vec<u8>,
    /// What clients connect to `wss://` with.
    pub(crate) clients: Clients,
    /// Connections with bytes to parse in this turn of the loop, and in the next.
    pub(crate) ready_now: VecDeque<Id>,
    pub(crate) ready_next: VecDeque<Id>,
    /// Connections with something new to write.
    pub(crate) dirty: Vec<Id>,
    /// Those that the next turn of the loop writes: a program that sends from `on_drain` would
    /// otherwise keep the loop to itself, and pile up in the kernel what no cache holds.
    pub(crate) dirty_next: Vec<Id>,
    /// Whether this turn has written.
    pub(crate) flushed: bool,
    /// Sources whose interest may have changed.
    pub(crate) changed: Vec<Id>,
    /// Descriptors on their way out, with the source they leave, and whether they are watched.
    pub(crate) leaving: VecDeque<(Id, Leaving, bool)>,
    /// The descriptor that the caller has just been told to let go of.
    pub(crate) let_go: Option<(Id, Leaving)>,
    pub(crate) pool: ChunkPool,
    pub(crate) masks: Masks,
    /// What connections need of codecs for a message at a time.
    pub(crate) codecs: Codecs,
    /// What the payload of the frame being sent is compressed to.
    pub(crate) scratch: Vec<u8>,
    pub(crate) holders: Holders,
    pub(crate) resolver: Option<(Id, Resolver)>,
    /// Shared by the TLS handshakes that are under way.
    pub(crate) handshaking: Rc<()>,
    /// Which proxy a client goes through.
    pub(crate) proxies: Rules,
    /// How many [`Link`](crate::link::Link)s there are.
    pub(crate) links: usize,
    /// How many listeners are not stopped.
    pub(crate) listeners: usize,
    /// Nothing new is begun any more.
    pub(crate) refuses: bool,
    /// What waits for the connections to end.
    pub(crate) shutdown: Option<Shutdown>,
}

/// Mask keys, from a strong generator seeded by the system (RFC 6455 section 10.3).
pub(crate) struct Masks {
    generator: Option<(u32, StdRng)>,
}

impl Masks {
    /// Before a client connects: a forked child must not repeat its parent's keys.
    pub fn prepare(&mut self) {
        let process = sys::process_id();
        if self.generator.as_ref().map(|seeded| seeded.0) != Some(process) {
            self.generator = Some((process, StdRng::from_os_rng()));
        }
    }

    /// The next key.
    #[inline]
    pub fn next(&mut self) -> [u8; 4] {
        // A server sends unmasked: it never prepares, and this is not used.
        self.generator
            .as_mut()
            .map_or([0; 4], |(_, generator)| generator.next_u32().to_ne_bytes())
    }
}

impl Default for Context {
    fn default() -> Self {
        Self::new()
    }
}

impl Context {
    /// A context without sources. It holds no descriptor, no buffer and no thread.
    pub fn new() -> Self {
        Context {
            slots: Slots::default(),
            events: VecDeque::new(),
            current: Current::default(),
            batch: Batch::default(),
            buffer: Vec::new(),
            wire: Vec::new(),
            clients: Clients::default(),
            ready_now: VecDeque::new(),
            ready_next: VecDeque::new(),
            dirty: Vec::new(),
            dirty_next: Vec::new(),
            flushed: false,
            changed: Vec::new(),
            leaving: VecDeque::new(),
            let_go: None,
            pool: ChunkPool::default(),
            masks: Masks { generator: None },
            codecs: Codecs::default(),
            scratch: Vec::new(),
            holders: Holders::default(),
            resolver: None,
            handshaking: Rc::default(),
            proxies: Rules::default(),
            links: 0,
            listeners: 0,
            refuses: false,
            shutdown: None,
        }
    }

    /// The payload of the event polled last: a message, a reason, or a text in UTF-8.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        match self.current.range {
            Some((start, end)) => &self.buffer[start..end],
            None => &self.current.owned,
        }
    }

    /// Gives that payload away if it is a large message with memory of its own. For a small one a
    /// copy is cheaper than what its memory would cost the new owner.
    pub fn take_payload(&mut self) -> Option<Vec<u8>> {
        const WORTH_IT: usize = 16 * 1024;
        let owned = &mut self.current.owned;
        (self.current.range.is_none() && owned.len() >= WORTH_IT).then(|| std::mem::take(owned))
    }

    /// The headers of the event polled last.
    pub fn headers(&self) -> &Headers {
        match &self.current.request {
            Some(request) => &request.headers,
            None => &self.current.headers,
        }
    }

    /// The request that the event polled last is about, unless that asks for an upgrade, and
    /// whether it came by TLS.
    pub fn request(&self) -> Option<(&Request, bool)> {
        let request = self.current.request.as_deref()?;
        Some((request, self.current.secure))
    }

    /// A descriptor is ready. Readiness of a source that is gone is ignored.
    pub fn handle_io(&mut self, token: Id, readable: bool, writable: bool) {
        self.flushed = false;
        match self.slots.get_mut(token).map(|slot| &slot.source) {
            Some(Source::Link(_)) => self.handle_link(token, readable, writable),
            Some(Source::Pending(_)) => self.advance(token, true),
            Some(Source::Attempt(_)) => self.advance_attempt(token, Progress::Ready),
            Some(Source::Acceptor(_)) => {
                self.accept(token);
            }
            Some(Source::Resolver) => self.take_answers(),
            Some(
                Source::Listener(_) | Source::GivenUp { .. } | Source::Vacant | Source::Leaving,
            )
            | None => {}
        }
    }

    /// A deadline has passed, or work was left over from an earlier turn of the loop.
    pub fn handle_timeout(&mut self) {
        self.handle_prepare();
        let now = Instant::now();
        self.rest_codecs(now);
        self.expire_shutdown(now);
        while let Some(id) = self.slots.pop_due(now) {
            match self.slots.get_mut(id).map(|slot| &mut slot.source) {
                Some(Source::Link(_)) => self.expire_link(id),
                Some(Source::Pending(_)) => self.expire_pending(id),
                Some(Source::Attempt(_)) => self.advance_attempt(id, Progress::Late),
                Some(Source::Acceptor(acceptor)) => {
                    acceptor.exhausted = false;
                    self.mark_changed(id);
                }
                _ => {}
            }
        }
    }

    /// The loop is about to block: what was called outside of its callbacks is carried out.
    pub fn handle_prepare(&mut self) {
        self.flushed = false;
        self.ripen_shutdown();
        self.ready_now.append(&mut self.ready_next);
        self.dirty.append(&mut self.dirty_next);
    }

    /// Time until [`handle_timeout`](Self::handle_timeout) must be called: zero if there is work
    /// that waits for the next turn of the loop, `None` if there is nothing to wait for.
    pub fn poll_deadline(&self) -> Option<Duration> {
        let busy = !self.events.is_empty()
            || self.batch.is_active()
            || !self.ready_now.is_empty()
            || !self.ready_next.is_empty()
            || !self.dirty.is_empty()
            || !self.dirty_next.is_empty()
            || self.shutdown_is_over();
        if busy {
            return Some(Duration::ZERO);
        }
        let rest = self.holders.until_due();
        self.slots
            .until_next_deadline()
            .into_iter()
            .chain(rest)
            .chain(self.until_shutdown())
            .min()
    }

    /// Ends everything at once and without events. Queued bytes are offered to the kernel, unless
    /// `silent`: then this is a forked child, and the connections are its parent's.
    pub fn shut_down(&mut self, silent: bool) {
        let mut pool = std::mem::take(&mut self.pool);
        let mut wire = std::mem::take(&mut self.wire);
        let sources = self.slots.drain().filter(|_| !silent);
        for source in sources {
            match source {
                Source::Link(mut link) => {
                    if !link.write_dead {
                        // There is nobody to tell, and no time to try again.
                        let _ = link.write_queue(&mut pool, &mut wire);
                        if link.queue.is_empty() {
                            link.notify_end();
                        }
                    }
                    link.end_shared();
                }
                Source::Pending(pending) => pending.end_shared(),
                _ => {}
            }
        }
        *self = Context::new();
    }

    /// Notes that what a source is watched for may have changed.
    pub(crate) fn mark_changed(&mut self, id: Id) {
        if let Some(slot) = self.slots.get_mut(id) {
            if !slot.changed {
                slot.changed = true;
                self.changed.push(id);
            }
        }
    }

    /// An established connection is gone.
    pub(crate) fn forget_link(&mut self) {
        self.links -= 1;
        self.forget_idle_memory();
    }

    /// The last connection or listener takes the shared memory with it.
    pub(crate) fn forget_idle_memory(&mut self) {
        if self.links == 0 && self.listeners == 0 && !self.batch.is_active() {
            self.buffer = Vec::new();
            self.wire = Vec::new();
            self.pool.shrink();
            self.codecs.shrink();
            self.scratch = Vec::new();
        }
    }
}
