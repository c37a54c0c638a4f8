//! Questions about listeners, and the end of one or of everything.

use std::time::Duration;

use evws_engine::Context;

use crate::connection::close_code;
use crate::context::evws_context;
use crate::guard::{ask, call, put, unless_stale};
use crate::types::*;

/// Stops a listener: its sockets are closed, the file of a Unix socket is removed. Connections that
/// stand stay, and handshakes under way go on, also of clients that the system has accepted.
/// `EVWS_EVENT_LISTENER_ENDED` comes behind the last event that names it. `EVWS_STATUS_STALE` if it
/// was not listening.
///
/// # Safety
/// `context` is live or null.
#[no_mangle]
pub unsafe extern "C" fn evws_stop_listening(
    context: *mut evws_context,
    listener: u64,
) -> evws_status {
    // SAFETY: as promised above.
    unsafe {
        call(context, None, |engine| {
            unless_stale(engine.stop_listening(listener))
        })
    }
}

/// Writes what is known of a listener. Returns false if it is not listening (any more).
///
/// # Safety
/// `context` is live or null; `out` is null or may be written to.
#[no_mangle]
pub unsafe extern "C" fn evws_listener_describe(
    context: *const evws_context,
    listener: u64,
    out: *mut evws_listener_info,
) -> bool {
    let work = |engine: &Context| {
        let address = engine.listener_address(listener)?;
        let path = address.path.as_deref();
        Some(evws_listener_info {
            port: address.port,
            is_secure: engine.listener_is_secure(listener),
            path: path.map_or(evws_bytes::NONE, evws_bytes::lend),
            host_count: address.hosts.len(),
        })
    };
    // SAFETY: as promised above.
    unsafe { put(ask(context, work), out) }
}

/// Address `index` of a listener's port as text, lent until the next call on the context; `data` is
/// NULL if there is none.
///
/// # Safety
/// `context` is live or null.
#[no_mangle]
pub unsafe extern "C" fn evws_listener_host(
    context: *const evws_context,
    listener: u64,
    index: usize,
) -> evws_bytes {
    let work = |engine: &Context| {
        let address = engine.listener_address(listener)?;
        Some(evws_bytes::lend(address.hosts.get(index)?))
    };
    // SAFETY: as promised above.
    unsafe { ask(context, work) }.unwrap_or(evws_bytes::NONE)
}

/// Whether a listener is at `place`: a port in digits, or the path of a Unix socket, which may be relative.
///
/// # Safety
/// `context` is live or null; `place` may be read.
#[no_mangle]
pub unsafe extern "C" fn evws_listener_is_at(
    context: *const evws_context,
    listener: u64,
    place: evws_bytes,
) -> bool {
    // SAFETY: as promised above.
    unsafe {
        ask(context, |engine| {
            Some(engine.listener_is_at(listener, place.borrow()))
        })
    }
    .unwrap_or(false)
}

/// Ends everything in order. Listeners are stopped, handshakes under way are answered with 503,
/// clients that are connecting fail, and a Close frame with `code` and `reason` goes to every peer.
/// After `timeout` seconds (negative or beyond all time: never) what is left is cut, which its
/// `EVWS_EVENT_CLOSE` says with 1006. When there are no connections any more
/// `EVWS_EVENT_SHUT_DOWN` comes, one for each call; a further call can only make the time shorter.
/// Nothing can be connected or listened at from the first call on. `EVWS_STATUS_INVALID` if the code
/// may not be sent. The reason is copied, and cut to 123 bytes.
///
/// # Safety
/// `context` is live or null; `reason` may be read.
#[no_mangle]
pub unsafe extern "C" fn evws_shutdown(
    context: *mut evws_context,
    timeout: f64,
    code: i64,
    reason: evws_bytes,
) -> evws_status {
    // SAFETY: as promised above.
    unsafe {
        call(context, None, |engine| {
            let timeout = Duration::try_from_secs_f64(timeout).ok();
            engine.begin_shutdown(timeout, close_code(code)?, reason.borrow());
            Ok(())
        })
    }
}
