//! One connection: sending, closing, and what can be asked of it.

use std::ffi::c_char;
use std::io::Write as _;
use std::ptr;

use evws_engine::{CallError, ConnectionState, FrameKind, SendError};

use crate::context::evws_context;
use crate::guard::{guard, guard_read};
use crate::types::*;

/// # Safety
/// As for [`guard`], and `data` points to `length` bytes that stay as they are, or is null.
#[inline]
unsafe fn send(
    context: *mut evws_context,
    id: u64,
    kind: FrameKind,
    data: *const u8,
    length: usize,
) -> evws_status {
    if context.is_null() || (data.is_null() && length > 0) {
        return EVWS_STATUS_NULL_POINTER;
    }
    // SAFETY: the caller's promise.
    let payload = unsafe { slice_or_empty(data, length) };
    let work = |context: &mut evws_context| match context.engine.send(id, kind, payload) {
        Ok(()) => EVWS_STATUS_OK,
        Err(SendError::NotOpen) => EVWS_STATUS_NOT_OPEN,
        Err(SendError::FragmentInProgress) => EVWS_STATUS_FRAGMENT_OPEN,
        Err(SendError::NoMemory) => EVWS_STATUS_NO_MEMORY,
    };
    // SAFETY: the caller's promise.
    unsafe { guard(context, EVWS_STATUS_PANICKED, work) }
}

/// Queues a message or a control frame, whose bytes are copied. `EVWS_STATUS_NOT_OPEN` if the
/// connection is not connected, `EVWS_STATUS_FRAGMENT_OPEN` for a message while a fragmented one
/// is in progress, `EVWS_STATUS_NO_MEMORY` if it does not fit, `EVWS_STATUS_INVALID` for an unknown
/// kind.
///
/// # Safety
/// `context` is null, or was made by `evws_context_new` and not freed; `data` is null or points to
/// `length` bytes.
#[no_mangle]
pub unsafe extern "C" fn evws_send(
    context: *mut evws_context,
    id: u64,
    kind: evws_send_kind,
    data: *const u8,
    length: usize,
) -> evws_status {
    let kind = match kind {
        EVWS_SEND_TEXT => FrameKind::Text,
        EVWS_SEND_BINARY => FrameKind::Binary,
        EVWS_SEND_PING => FrameKind::Ping,
        EVWS_SEND_PONG => FrameKind::Pong,
        _ => return EVWS_STATUS_INVALID,
    };
    // SAFETY: the caller's promise.
    unsafe { send(context, id, kind, data, length) }
}

/// Whether `length` bytes are UTF-8 as a whole, as a text message has to be.
///
/// # Safety
/// `data` is null or points to `length` bytes.
#[no_mangle]
pub unsafe extern "C" fn evws_is_utf8(data: *const u8, length: usize) -> bool {
    // SAFETY: the caller's promise.
    evws_engine::is_utf8(unsafe { slice_or_empty(data, length) })
}

/// Queues a part of a message, whose bytes are copied. `EVWS_STATUS_NOT_OPEN` if the connection is
/// not connected, `EVWS_STATUS_NO_MEMORY` if it does not fit. `is_binary` counts for the first part
/// alone.
///
/// # Safety
/// `context` is null, or was made by `evws_context_new` and not freed; `data` is null or points to
/// `length` bytes.
#[no_mangle]
pub unsafe extern "C" fn evws_send_fragment(
    context: *mut evws_context,
    id: u64,
    is_binary: bool,
    is_final: bool,
    data: *const u8,
    length: usize,
) -> evws_status {
    let kind = FrameKind::Fragment {
        binary: is_binary,
        last: is_final,
    };
    // SAFETY: the caller's promise.
    unsafe { send(context, id, kind, data, length) }
}

/// Begins the closing handshake; no effect unless the connection is connected.
/// `EVWS_STATUS_INVALID` for a code that must not be sent. The reason is copied, and cut to 123
/// bytes at a character boundary.
///
/// # Safety
/// `context` is null, or was made by `evws_context_new` and not freed; `reason` is null or points
/// to `length` bytes.
#[no_mangle]
pub unsafe extern "C" fn evws_close(
    context: *mut evws_context,
    id: u64,
    code: u16,
    reason: *const u8,
    length: usize,
) -> evws_status {
    if context.is_null() || (reason.is_null() && length > 0) {
        return EVWS_STATUS_NULL_POINTER;
    }
    // SAFETY: the caller's promise.
    let reason = unsafe { slice_or_empty(reason, length) };
    let work = |context: &mut evws_context| match evws_engine::check_code(i64::from(code)) {
        Ok(code) => {
            context.engine.close(id, code, reason);
            EVWS_STATUS_OK
        }
        Err(error) => context.refuse(CallError::Invalid(error.to_string())),
    };
    // SAFETY: the caller's promise.
    unsafe { guard(context, EVWS_STATUS_PANICKED, work) }
}

/// Ends a connection at once, in whatever state: what is queued is thrown away, and the TCP
/// connection is reset. `EVWS_EVENT_CONNECT_FAILED` with the text `aborted` comes for one that was
/// connecting, `EVWS_EVENT_CLOSE` with 1006 for one that was open. No effect on a stale id.
///
/// # Safety
/// `context` is null, or was made by `evws_context_new` and not freed.
#[no_mangle]
pub unsafe extern "C" fn evws_abort(context: *mut evws_context, id: u64) -> evws_status {
    if context.is_null() {
        return EVWS_STATUS_NULL_POINTER;
    }
    let work = |context: &mut evws_context| {
        context.engine.abort(id);
        EVWS_STATUS_OK
    };
    // SAFETY: the caller's promise.
    unsafe { guard(context, EVWS_STATUS_PANICKED, work) }
}

/// Stops reading and delivering; no effect unless the connection is connected.
///
/// # Safety
/// `context` is null, or was made by `evws_context_new` and not freed.
#[no_mangle]
pub unsafe extern "C" fn evws_pause(context: *mut evws_context, id: u64) -> evws_status {
    if context.is_null() {
        return EVWS_STATUS_NULL_POINTER;
    }
    let work = |context: &mut evws_context| {
        context.engine.pause(id);
        EVWS_STATUS_OK
    };
    // SAFETY: the caller's promise.
    unsafe { guard(context, EVWS_STATUS_PANICKED, work) }
}

/// Goes on reading and delivering; no effect unless the connection is connected.
///
/// # Safety
/// `context` is null, or was made by `evws_context_new` and not freed.
#[no_mangle]
pub unsafe extern "C" fn evws_resume(context: *mut evws_context, id: u64) -> evws_status {
    if context.is_null() {
        return EVWS_STATUS_NULL_POINTER;
    }
    let work = |context: &mut evws_context| {
        context.engine.resume(id);
        EVWS_STATUS_OK
    };
    // SAFETY: the caller's promise.
    unsafe { guard(context, EVWS_STATUS_PANICKED, work) }
}

/// Payload bytes that are queued and not yet given to the kernel; 0 for a stale id.
///
/// # Safety
/// `context` is null, or was made by `evws_context_new` and not freed.
#[no_mangle]
pub unsafe extern "C" fn evws_send_queue_size(context: *const evws_context, id: u64) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { guard_read(context, 0, |context| context.engine.send_queue_size(id)) }
}

/// Where a connection stands.
///
/// # Safety
/// `context` is null, or was made by `evws_context_new` and not freed.
#[no_mangle]
pub unsafe extern "C" fn evws_state(context: *const evws_context, id: u64) -> evws_state_kind {
    let work = |context: &evws_context| match context.engine.state(id) {
        ConnectionState::Connecting => EVWS_STATE_CONNECTING,
        ConnectionState::Connected => EVWS_STATE_CONNECTED,
        ConnectionState::Closing => EVWS_STATE_CLOSING,
        ConnectionState::Closed => EVWS_STATE_CLOSED,
    };
    // SAFETY: the caller's promise.
    unsafe { guard_read(context, EVWS_STATE_CLOSED, work) }
}

/// The negotiated subprotocol, lent until the next call on the context; `data` is NULL if there is
/// none.
///
/// # Safety
/// `context` is null, or was made by `evws_context_new` and not freed.
#[no_mangle]
pub unsafe extern "C" fn evws_protocol(context: *const evws_context, id: u64) -> evws_bytes {
    let work = |context: &evws_context| match context.engine.protocol(id) {
        Some(protocol) => evws_bytes::lend(protocol.as_bytes()),
        None => evws_bytes::NONE,
    };
    // SAFETY: the caller's promise.
    unsafe { guard_read(context, evws_bytes::NONE, work) }
}

/// The negotiated extension, as the server's response says it, lent until the next call on the
/// context; `data` is NULL if there is none.
///
/// # Safety
/// `context` is null, or was made by `evws_context_new` and not freed.
#[no_mangle]
pub unsafe extern "C" fn evws_extensions(context: *const evws_context, id: u64) -> evws_bytes {
    let work = |context: &evws_context| match context.engine.extensions(id) {
        Some(extensions) => evws_bytes::lend(extensions.as_bytes()),
        None => evws_bytes::NONE,
    };
    // SAFETY: the caller's promise.
    unsafe { guard_read(context, evws_bytes::NONE, work) }
}

/// Writes the peer's address as text, without a terminating NUL, and returns its length; 0 if the
/// connection is not connected or the buffer is too small (64 bytes are enough).
///
/// # Safety
/// `context` is null, or was made by `evws_context_new` and not freed; `buffer` is null or points
/// to `capacity` writable bytes.
#[no_mangle]
pub unsafe extern "C" fn evws_peer_address(
    context: *const evws_context,
    id: u64,
    buffer: *mut c_char,
    capacity: usize,
) -> usize {
    if buffer.is_null() {
        return 0;
    }
    // SAFETY: the caller's promise.
    let address = unsafe { guard_read(context, None, |context| context.engine.peer_address(id)) };
    let Some(address) = address else { return 0 };
    let mut text = Vec::new();
    if write!(text, "{address}").is_err() || text.len() > capacity {
        return 0;
    }
    // SAFETY: the text fits into the buffer, and the two are different memory.
    unsafe { ptr::copy_nonoverlapping(text.as_ptr().cast(), buffer, text.len()) };
    text.len()
}
