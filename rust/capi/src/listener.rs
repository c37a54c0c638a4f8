//! Questions about listeners, and the end of one or of everything.

use std::time::Duration;

use evws_engine::CallError;

use crate::context::evws_context;
use crate::guard::{guard, guard_read};
use crate::types::*;

/// Stops a listener: its sockets are closed, the file of a Unix socket is removed. Connections that
/// stand stay, and handshakes under way go on, also of clients that the system has accepted.
/// `EVWS_EVENT_LISTENER_ENDED` comes behind the last event that names it. `EVWS_STATUS_STALE` if it
/// was not listening.
///
/// # Safety
/// `context` is null, or was made by `evws_context_new` and not freed.
#[no_mangle]
pub unsafe extern "C" fn evws_stop_listening(
    context: *mut evws_context,
    listener: u64,
) -> evws_status {
    if context.is_null() {
        return EVWS_STATUS_NULL_POINTER;
    }
    let work = |context: &mut evws_context| match context.engine.stop_listening(listener) {
        true => EVWS_STATUS_OK,
        false => EVWS_STATUS_STALE,
    };
    // SAFETY: the caller's promise.
    unsafe { guard(context, EVWS_STATUS_PANICKED, work) }
}

/// Writes what is known of a listener. Returns false if it is not listening (any more).
///
/// # Safety
/// `context` is null, or was made by `evws_context_new` and not freed; `out` is null or points to
/// a place for the result.
#[no_mangle]
pub unsafe extern "C" fn evws_listener_describe(
    context: *const evws_context,
    listener: u64,
    out: *mut evws_listener_info,
) -> bool {
    if out.is_null() {
        return false;
    }
    let work = |context: &evws_context| {
        let address = context.engine.listener_address(listener)?;
        let path = address.path.as_deref();
        Some(evws_listener_info {
            port: address.port,
            is_secure: context.engine.listener_is_secure(listener),
            path: path.map_or(evws_bytes::NONE, evws_bytes::lend),
            host_count: address.hosts.len(),
        })
    };
    // SAFETY: the caller's promise.
    let Some(info) = (unsafe { guard_read(context, None, work) }) else {
        return false;
    };
    // SAFETY: not null, and the caller vouches for the rest.
    unsafe { out.write(info) };
    true
}

/// Address `index` of a listener's port as text, lent until the next call on the context; `data` is
/// NULL if there is none.
///
/// # Safety
/// `context` is null, or was made by `evws_context_new` and not freed.
#[no_mangle]
pub unsafe extern "C" fn evws_listener_host(
    context: *const evws_context,
    listener: u64,
    index: usize,
) -> evws_bytes {
    let work = |context: &evws_context| {
        let host = context
            .engine
            .listener_address(listener)?
            .hosts
            .get(index)?;
        Some(evws_bytes::lend(host.as_bytes()))
    };
    // SAFETY: the caller's promise.
    unsafe { guard_read(context, None, work) }.unwrap_or(evws_bytes::NONE)
}

/// Whether a listener is the one of a Unix socket at `path`, which may be relative.
///
/// # Safety
/// `context` is null, or was made by `evws_context_new` and not freed; `path` is valid for the
/// call.
#[no_mangle]
pub unsafe extern "C" fn evws_listener_is_at(
    context: *const evws_context,
    listener: u64,
    path: evws_bytes,
) -> bool {
    // SAFETY: the caller's promise.
    let wanted = unsafe { path.borrow() };
    let work = |context: &evws_context| context.engine.listener_is_at(listener, wanted);
    // SAFETY: the caller's promise.
    unsafe { guard_read(context, false, work) }
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
/// `context` is null, or was made by `evws_context_new` and not freed; `reason` is valid for the
/// call.
#[no_mangle]
pub unsafe extern "C" fn evws_shutdown(
    context: *mut evws_context,
    timeout: f64,
    code: i64,
    reason: evws_bytes,
) -> evws_status {
    if context.is_null() {
        return EVWS_STATUS_NULL_POINTER;
    }
    // SAFETY: the caller's promise.
    let reason = unsafe { reason.borrow() };
    let work = |context: &mut evws_context| match evws_engine::check_code(code) {
        Ok(code) => {
            let timeout = Duration::try_from_secs_f64(timeout).ok();
            context.engine.begin_shutdown(timeout, code, reason);
            EVWS_STATUS_OK
        }
        Err(error) => {
            let text = error.to_string().replacen("close:", "shutdown:", 1);
            context.refuse(CallError::Invalid(text))
        }
    };
    // SAFETY: the caller's promise.
    unsafe { guard(context, EVWS_STATUS_PANICKED, work) }
}
