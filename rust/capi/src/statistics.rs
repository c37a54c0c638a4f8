//! What connections have counted. Counts begin at zero with each connection and each context, and only grow, but for
//! those that say "now".

use evws_engine::{Context, Flow, Framed};

use crate::context::evws_context;
use crate::guard::{ask, drive, put};
use crate::types::slice_or_empty;

/// One direction. All octets are those of the WebSocket stream: neither the upgrade nor the records of TLS.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct evws_flow {
    /// Whole messages.
    pub messages: u64,
    /// Frames, with fragments, control frames and Close frames.
    pub frames: u64,
    /// Octets of messages as the program sees them.
    pub payload: u64,
    /// Octets of frames on the wire, headers included, compressed if they were.
    pub wire: u64,
}

/// What became of the payload that was sent.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct evws_framed {
    /// Octets of messages that were made into frames.
    pub payload: u64,
    /// Octets of all frames that were made, headers included, compressed if they were, whether they have gone out or not.
    pub wire: u64,
}

/// What one connection has counted, or many together.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct evws_traffic {
    /// What has come.
    pub received: evws_flow,
    /// What was queued; of `wire` what the kernel has taken.
    pub sent: evws_flow,
    /// What was made of it.
    pub framed: evws_framed,
    /// Octets of payload that wait to be written now.
    pub queue: u64,
    /// The most that have waited at a time, on one connection.
    pub queue_peak: u64,
    /// Messages that were dropped because the queue was full.
    pub dropped: u64,
    /// Messages that wait now and may still be dropped. They are not among those that were sent.
    pub droppable: u64,
}

/// How many causes there are for a client to be rejected.
pub const EVWS_REJECT_CAUSES: usize = 10;

/// The sums of many connections, past and present.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct evws_totals {
    /// What they have counted together.
    pub traffic: evws_traffic,
    /// Connections that had `EVWS_EVENT_CONNECT`.
    pub opened: u64,
    /// Of those, how many are now without `EVWS_EVENT_CLOSE`.
    pub open: u64,
    /// Clients that did not become a connection, by cause: at index 0 because of TLS, then of the request, the host, the
    /// origin, the program, a timeout, gone, a limit, a proxy, a shutdown.
    pub rejected: [u64; EVWS_REJECT_CAUSES],
    /// Upgrades under way now; of a context also clients that connect.
    pub handshakes: u64,
    /// Events that were polled; of the context, whichever the listener.
    pub events: u64,
}

/// How many connections were closed with one code.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct evws_closed {
    /// The code, 1005 and 1006 included.
    pub code: u16,
    /// How many.
    pub connections: u64,
}

fn flow(flow: Flow) -> evws_flow {
    evws_flow {
        messages: flow.messages,
        frames: flow.frames,
        payload: flow.payload,
        wire: flow.wire,
    }
}

fn framed(framed: Framed) -> evws_framed {
    evws_framed {
        payload: framed.payload,
        wire: framed.wire,
    }
}

/// Writes what a connection has counted. Returns false unless it is connected or closing, or the one that the last
/// `EVWS_EVENT_CLOSE` was about.
///
/// # Safety
/// `context` is live or null; `out` is null or may be written to.
#[no_mangle]
pub unsafe extern "C" fn evws_statistics(
    context: *mut evws_context,
    id: u64,
    out: *mut evws_traffic,
) -> bool {
    let work = |engine: &mut Context| {
        let counted = engine.statistics(id)?;
        Some(evws_traffic {
            received: flow(counted.received),
            sent: flow(counted.sent),
            framed: framed(counted.framed),
            queue: counted.queue,
            queue_peak: counted.queue_peak,
            dropped: counted.dropped,
            droppable: counted.droppable,
        })
    };
    // SAFETY: as promised above.
    unsafe { put(drive(context, None, work), out) }
}

/// Writes the sums of the connections that came in at `count` listeners, or with 0 of all connections of the context:
/// clients, adopted ones, and those of listeners that are no more among them. Takes longer the more connections are
/// open. Returns false without a context.
///
/// # Safety
/// `context` is live or null; `listeners` is null or has `count` ids that may be read; `out` is null or may be written
/// to.
#[no_mangle]
pub unsafe extern "C" fn evws_sum_statistics(
    context: *mut evws_context,
    listeners: *const u64,
    count: usize,
    out: *mut evws_totals,
) -> bool {
    // SAFETY: as promised above.
    let listeners = unsafe { some_listeners(listeners, count) };
    let work = |engine: &mut Context| {
        let totals = engine.totals(listeners);
        Some(evws_totals {
            traffic: evws_traffic {
                received: flow(totals.received),
                sent: flow(totals.sent),
                framed: framed(totals.framed),
                queue: totals.queue,
                queue_peak: totals.queue_peak,
                dropped: totals.dropped,
                droppable: totals.droppable,
            },
            opened: totals.opened,
            open: totals.open,
            rejected: engine.rejected(listeners),
            handshakes: engine.handshakes(listeners) as u64,
            events: engine.events(),
        })
    };
    // SAFETY: as promised above.
    unsafe { put(drive(context, None, work), out) }
}

/// How many connections were closed with which code, by the order of the codes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct evws_closed_list {
    /// The first one, if `count` is not 0.
    pub item: *const evws_closed,
    /// How many there are.
    pub count: usize,
}

/// How many of these connections were closed with which code. `listeners` and `count` are those of `evws_sum_statistics`.
/// Lent until the next call on the context.
///
/// # Safety
/// `context` is live or null; `listeners` is null or has `count` ids that may be read.
#[no_mangle]
pub unsafe extern "C" fn evws_closed_by_code(
    context: *mut evws_context,
    listeners: *const u64,
    count: usize,
) -> evws_closed_list {
    // SAFETY: as promised above; what came out of the engine is kept beside it.
    unsafe {
        let listeners = some_listeners(listeners, count);
        let counts = ask(context, |engine| Some(engine.closed_by_code(listeners)));
        let closed = |(code, connections)| evws_closed { code, connections };
        let list: Vec<_> = counts.into_iter().flatten().map(closed).collect();
        let (item, count) = (list.as_ptr(), list.len());
        if let Some(context) = context.as_mut() {
            context.closed = list;
        }
        evws_closed_list { item, count }
    }
}

/// Listeners; none: all connections are meant.
///
/// # Safety
/// `listeners` is null or has `count` ids that stay as they are while the result is used.
unsafe fn some_listeners<'a>(listeners: *const u64, count: usize) -> Option<&'a [u64]> {
    // SAFETY: the caller's promise.
    let listeners = unsafe { slice_or_empty(listeners, count) };
    (!listeners.is_empty()).then_some(listeners)
}
