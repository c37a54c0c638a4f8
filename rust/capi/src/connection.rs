//! One connection: sending, closing, and what can be asked of it.

use evws_engine::{CallError, ConnectionState, FrameKind};

use crate::context::{evws_context, lend_text};
use crate::guard::{ask, call, drive};
use crate::types::*;

/// # Safety
/// What `evws_send` asks for.
#[inline]
unsafe fn send(
    context: *mut evws_context,
    id: u64,
    kind: FrameKind,
    data: evws_bytes,
) -> evws_status {
    // SAFETY: as promised above.
    unsafe {
        call(context, None, move |engine| {
            Ok(engine.send(id, kind, data.borrow())?)
        })
    }
}

/// Queues a message or a control frame, whose bytes are copied. `EVWS_STATUS_NOT_OPEN` if the
/// connection is not connected, `EVWS_STATUS_FRAGMENT_OPEN` for a message while a fragmented one
/// is in progress, `EVWS_STATUS_QUEUE_FULL` and `EVWS_STATUS_DROPPED` as `send_queue_policy` says,
/// `EVWS_STATUS_NO_MEMORY` if it does not fit, `EVWS_STATUS_INVALID` for an unknown kind.
///
/// # Safety
/// `context` is live or null; `data` may be read.
#[no_mangle]
pub unsafe extern "C" fn evws_send(
    context: *mut evws_context,
    id: u64,
    kind: evws_send_kind,
    data: evws_bytes,
) -> evws_status {
    let kind = match kind {
        EVWS_SEND_TEXT => FrameKind::Text,
        EVWS_SEND_BINARY => FrameKind::Binary,
        EVWS_SEND_PING => FrameKind::Ping,
        EVWS_SEND_PONG => FrameKind::Pong,
        _ => return EVWS_STATUS_INVALID,
    };
    // SAFETY: as promised above.
    unsafe { send(context, id, kind, data) }
}

/// Whether bytes are UTF-8 as a whole, as a text message has to be.
///
/// # Safety
/// `data` may be read.
#[no_mangle]
pub unsafe extern "C" fn evws_is_utf8(data: evws_bytes) -> bool {
    // SAFETY: as promised above.
    evws_engine::is_utf8(unsafe { data.borrow() })
}

/// Queues a part of a message, whose bytes are copied. `EVWS_STATUS_NOT_OPEN` if the connection is
/// not connected, `EVWS_STATUS_QUEUE_FULL` and `EVWS_STATUS_DROPPED` as `send_queue_policy` says,
/// `EVWS_STATUS_NO_MEMORY` if it does not fit. `is_binary` counts for the first part
/// alone.
///
/// # Safety
/// `context` is live or null; `data` may be read.
#[no_mangle]
pub unsafe extern "C" fn evws_send_fragment(
    context: *mut evws_context,
    id: u64,
    is_binary: bool,
    is_final: bool,
    data: evws_bytes,
) -> evws_status {
    let kind = FrameKind::Fragment {
        binary: is_binary,
        last: is_final,
    };
    // SAFETY: as promised above.
    unsafe { send(context, id, kind, data) }
}

/// Begins the closing handshake; no effect unless the connection is connected. `EVWS_STATUS_INVALID`, in any state and for
/// a stale id too, if RFC 6455 section 7.4 does not let an endpoint send the code. The reason is copied, and cut to 123
/// bytes at a character boundary.
///
/// # Safety
/// `context` is live or null; `reason` may be read.
#[no_mangle]
pub unsafe extern "C" fn evws_close(
    context: *mut evws_context,
    id: u64,
    code: i64,
    reason: evws_bytes,
) -> evws_status {
    // SAFETY: as promised above.
    unsafe {
        call(context, None, |engine| {
            engine.close(id, close_code(code)?, reason.borrow());
            Ok(())
        })
    }
}

/// A code that may be sent.
pub(crate) fn close_code(code: i64) -> Result<u16, CallError> {
    Ok(evws_engine::check_code(code)?)
}

/// Ends a connection at once, in whatever state: what is queued is thrown away, and the TCP
/// connection is reset. `EVWS_EVENT_CONNECT_FAILED` with the text `aborted` comes for one that was
/// connecting, `EVWS_EVENT_CLOSE` with 1006 for one that was open. No effect on a stale id.
///
/// # Safety
/// `context` is live or null.
#[no_mangle]
pub unsafe extern "C" fn evws_abort(context: *mut evws_context, id: u64) {
    // SAFETY: as promised above.
    unsafe { drive(context, (), |engine| engine.abort(id)) }
}

/// Stops reading and delivering; no effect unless the connection is connected.
///
/// # Safety
/// `context` is live or null.
#[no_mangle]
pub unsafe extern "C" fn evws_pause(context: *mut evws_context, id: u64) {
    // SAFETY: as promised above.
    unsafe { drive(context, (), |engine| engine.pause(id)) }
}

/// Goes on reading and delivering; no effect unless the connection is connected.
///
/// # Safety
/// `context` is live or null.
#[no_mangle]
pub unsafe extern "C" fn evws_resume(context: *mut evws_context, id: u64) {
    // SAFETY: as promised above.
    unsafe { drive(context, (), |engine| engine.resume(id)) }
}

/// Payload bytes that are queued and not yet given to the kernel; 0 for a stale id.
///
/// # Safety
/// `context` is live or null.
#[no_mangle]
pub unsafe extern "C" fn evws_send_queue_size(context: *mut evws_context, id: u64) -> u64 {
    // SAFETY: as promised above.
    unsafe { drive(context, 0, |engine| engine.send_queue_size(id)) }
}

/// Whether the send queue is below `send_high_water`, or below `max_send_queue` if that is not given;
/// false unless the connection is connected.
///
/// # Safety
/// `context` is live or null.
#[no_mangle]
pub unsafe extern "C" fn evws_is_writable(context: *mut evws_context, id: u64) -> bool {
    // SAFETY: as promised above.
    unsafe { drive(context, false, |engine| engine.is_writable(id)) }
}

/// Seconds from the library's last Ping that was answered to its Pong; negative if there was none, and for a
/// connection that is not connected.
///
/// # Safety
/// `context` is live or null.
#[no_mangle]
pub unsafe extern "C" fn evws_latency(context: *const evws_context, id: u64) -> f64 {
    // SAFETY: as promised above.
    let latency = unsafe { ask(context, |engine| engine.latency(id)) };
    latency.map_or(-1.0, |latency| latency.as_secs_f64())
}

/// Where a connection stands.
///
/// # Safety
/// `context` is live or null.
#[no_mangle]
pub unsafe extern "C" fn evws_state(context: *const evws_context, id: u64) -> evws_state_kind {
    // SAFETY: as promised above.
    match unsafe { ask(context, |engine| Some(engine.state(id))) } {
        Some(ConnectionState::Connecting) => EVWS_STATE_CONNECTING,
        Some(ConnectionState::Connected) => EVWS_STATE_CONNECTED,
        Some(ConnectionState::Closing) => EVWS_STATE_CLOSING,
        Some(ConnectionState::Closed) | None => EVWS_STATE_CLOSED,
    }
}

/// The negotiated subprotocol, lent until the next call on the context; `data` is NULL if there is
/// none.
///
/// # Safety
/// `context` is live or null.
#[no_mangle]
pub unsafe extern "C" fn evws_protocol(context: *const evws_context, id: u64) -> evws_bytes {
    // SAFETY: as promised above.
    unsafe { ask(context, |engine| engine.protocol(id).map(evws_bytes::lend)) }
        .unwrap_or(evws_bytes::NONE)
}

/// The negotiated extension, as the server's response says it, lent until the next call on the
/// context; `data` is NULL if there is none.
///
/// # Safety
/// `context` is live or null.
#[no_mangle]
pub unsafe extern "C" fn evws_extensions(context: *const evws_context, id: u64) -> evws_bytes {
    // SAFETY: as promised above.
    unsafe {
        ask(context, |engine| {
            engine.extensions(id).map(evws_bytes::lend)
        })
    }
    .unwrap_or(evws_bytes::NONE)
}

/// The peer's port, whenever `evws_peer_address` knows its address; 0: it is not known.
///
/// # Safety
/// `context` is live or null.
#[no_mangle]
pub unsafe extern "C" fn evws_peer_port(context: *const evws_context, id: u64) -> u16 {
    // SAFETY: as promised above.
    unsafe { ask(context, |engine| engine.peer(id)?.port()) }.unwrap_or(0)
}

/// The peer's address as text, lent until the next call on the context; `data` is NULL unless the connection is connected,
/// waits for an answer, or is the one that the event polled last has rejected. Behind a proxy that is trusted it is the
/// client's, as the proxy says it, and there is none if the proxy does not.
///
/// # Safety
/// `context` is live or null.
#[no_mangle]
pub unsafe extern "C" fn evws_peer_address(context: *mut evws_context, id: u64) -> evws_bytes {
    // SAFETY: as promised above; the text is kept beside the engine.
    unsafe {
        let address = ask(context, |engine| Some(engine.peer(id)?.ip()?.to_string()));
        lend_text(context, address)
    }
}
