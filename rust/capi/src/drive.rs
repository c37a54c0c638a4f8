//! The calls that an event loop makes: readiness in, events and watches out.

use evws_engine::{Context, Event, RateLimit};

use crate::context::evws_context;
use crate::guard::{ask, drive, put};
use crate::types::*;

/// Reports that what a token is watched for is there. A stale token is ignored.
///
/// # Safety
/// `context` is live or null.
#[no_mangle]
pub unsafe extern "C" fn evws_handle_io(
    context: *mut evws_context,
    token: u64,
    readable: bool,
    writable: bool,
) {
    // SAFETY: as promised above.
    unsafe {
        drive(context, (), |engine| {
            engine.handle_io(token, readable, writable)
        })
    }
}

/// Reports that the deadline has come.
///
/// # Safety
/// `context` is live or null.
#[no_mangle]
pub unsafe extern "C" fn evws_handle_timeout(context: *mut evws_context) {
    // SAFETY: as promised above.
    unsafe { drive(context, (), |engine| engine.handle_timeout()) }
}

/// Reports that the loop is about to block: what was called outside of its callbacks is taken up. Poll
/// for events and flush then, as after readiness.
///
/// # Safety
/// `context` is live or null.
#[no_mangle]
pub unsafe extern "C" fn evws_handle_prepare(context: *mut evws_context) {
    // SAFETY: as promised above.
    unsafe { drive(context, (), |engine| engine.handle_prepare()) }
}

/// Delivers the next event, and returns its kind, which is `EVWS_EVENT_NONE` when there are no
/// more. What the event lends is valid until the next call on the context.
///
/// # Safety
/// `context` is live or null; `event` is null or may be written to.
#[no_mangle]
pub unsafe extern "C" fn evws_poll_event(
    context: *mut evws_context,
    event: *mut evws_event,
) -> evws_event_kind {
    if event.is_null() {
        return EVWS_EVENT_NONE;
    }
    // SAFETY: not null, and as promised above.
    let event = unsafe { &mut *event };
    event.kind = EVWS_EVENT_NONE;
    // SAFETY: as promised above.
    unsafe { drive(context, None, |engine| next_event(engine, event)) };
    event.kind
}

#[inline]
fn next_event(engine: &mut Context, event: &mut evws_event) -> Option<()> {
    let found = engine.poll_event()?;
    event.listener = 0;
    (event.kind, event.id) = match found {
        // Nearly all are messages, which need no table of jumps.
        Event::Message { id, binary } => {
            event.is_binary = binary;
            (EVWS_EVENT_MESSAGE, id)
        }
        other => describe(other, event),
    };
    event.payload = evws_bytes::lend(engine.payload());
    event.header_count = engine.headers().len();
    Some(())
}

/// Writes what an event has of its own. Returns its kind, and what it is about.
#[inline(never)]
fn describe(found: Event, event: &mut evws_event) -> (evws_event_kind, u64) {
    match found {
        Event::Message { id, binary } => {
            event.is_binary = binary;
            (EVWS_EVENT_MESSAGE, id)
        }
        Event::Handshake {
            id,
            listener,
            foreign,
        } => {
            event.listener = listener.unwrap_or(0);
            event.is_foreign = foreign;
            (EVWS_EVENT_HANDSHAKE, id)
        }
        Event::Request { id, listener } => {
            event.listener = listener;
            (EVWS_EVENT_REQUEST, id)
        }
        Event::Connect { id, listener } => {
            event.listener = listener.unwrap_or(0);
            (EVWS_EVENT_CONNECT, id)
        }
        Event::Pong { id } => (EVWS_EVENT_PONG, id),
        Event::Drain { id } => (EVWS_EVENT_DRAIN, id),
        Event::RateLimited { id, limit } => {
            event.code = match limit {
                RateLimit::Messages => EVWS_RATE_MESSAGES,
                RateLimit::Bytes => EVWS_RATE_BYTES,
            };
            (EVWS_EVENT_RATE_LIMITED, id)
        }
        Event::Dropped { id, messages } => {
            event.cut = usize::try_from(messages).unwrap_or(usize::MAX);
            (EVWS_EVENT_DROPPED, id)
        }
        Event::TopicUsed { is_used } => {
            event.code = u16::from(is_used);
            (EVWS_EVENT_TOPIC_USED, 0)
        }
        Event::Error { id } => (EVWS_EVENT_ERROR, id),
        Event::ConnectFailed { id } => (EVWS_EVENT_CONNECT_FAILED, id),
        Event::Close { id, code } => {
            event.code = code;
            (EVWS_EVENT_CLOSE, id)
        }
        Event::HandshakeEnded { id } => (EVWS_EVENT_HANDSHAKE_ENDED, id),
        Event::Rejected { id, listener, .. } => {
            event.listener = listener;
            (EVWS_EVENT_REJECTED, id)
        }
        Event::ListenerEnded { listener } => {
            event.listener = listener;
            (EVWS_EVENT_LISTENER_ENDED, 0)
        }
        Event::ShutDown { timed_out } => {
            event.cut = timed_out;
            (EVWS_EVENT_SHUT_DOWN, 0)
        }
    }
}

/// Header `index` of the event that was polled last. Returns false if there is none. Lent until
/// the next call on the context.
///
/// # Safety
/// `context` is null, or was made by `evws_context_new` and not freed; `out` is null or points to
/// a place for the result.
#[no_mangle]
pub unsafe extern "C" fn evws_event_header(
    context: *const evws_context,
    index: usize,
    out: *mut evws_header,
) -> bool {
    let work = |engine: &Context| {
        let (name, value) = engine.headers().get(index)?;
        Some(evws_header {
            name: evws_bytes::lend(name.as_bytes()),
            value: evws_bytes::lend(value),
        })
    };
    // SAFETY: as promised above.
    unsafe { put(ask(context, work), out) }
}

/// The response that has refused the upgrade, of an event `EVWS_EVENT_CONNECT_FAILED` that was polled last. Returns false
/// if there was none. Lent until the next call on the context.
///
/// # Safety
/// `context` is null, or was made by `evws_context_new` and not freed; `out` is null or points to
/// a place for the result.
#[no_mangle]
pub unsafe extern "C" fn evws_event_refusal(
    context: *const evws_context,
    out: *mut evws_refusal,
) -> bool {
    let work = |engine: &Context| {
        let (status, body) = engine.refusal()?;
        Some(evws_refusal {
            status: status.into(),
            body: evws_bytes::lend(body),
        })
    };
    // SAFETY: as promised above.
    unsafe { put(ask(context, work), out) }
}

/// Writes what was queued, as far as the kernel takes it; what that leads to are further events. To
/// be called once after the events of a turn.
///
/// # Safety
/// `context` is live or null.
#[no_mangle]
pub unsafe extern "C" fn evws_flush(context: *mut evws_context) {
    // SAFETY: as promised above.
    unsafe { drive(context, (), |engine| engine.flush()) }
}

/// The next change of what is to be watched. Returns false when there are no more. A descriptor
/// that is to be let go is closed by the call that follows.
///
/// # Safety
/// `context` is null, or was made by `evws_context_new` and not freed; `out` is null or points to
/// a place for the result.
#[no_mangle]
pub unsafe extern "C" fn evws_poll_watch(context: *mut evws_context, out: *mut evws_watch) -> bool {
    let work = |engine: &mut Context| {
        let watch = engine.poll_watch()?;
        let events = match watch.interest {
            None => 0,
            Some(interest) if interest.is_none() => EVWS_WATCH_KEEP,
            Some(interest) => u32::from(interest.bits()),
        };
        Some(evws_watch {
            token: watch.token,
            fd: watch.fd,
            events,
        })
    };
    // SAFETY: as promised above.
    unsafe { put(drive(context, None, work), out) }
}

/// Seconds until `evws_handle_timeout` is to be called: 0 if the loop must not block, negative if
/// there is nothing to wait for.
///
/// # Safety
/// `context` is live or null.
#[no_mangle]
pub unsafe extern "C" fn evws_poll_deadline(context: *mut evws_context) -> f64 {
    // SAFETY: as promised above.
    let until = unsafe { drive(context, None, |engine| engine.poll_deadline()) };
    until.map_or(-1.0, |until| until.as_secs_f64())
}
