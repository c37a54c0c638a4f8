//! Requests, and what is answered to them: to those for an upgrade, and to others.

use evws_engine::{usual_response, CallError, HttpResponse};

use crate::context::evws_context;
use crate::guard::{guard, guard_read};
use crate::open::headers;
use crate::types::*;

/// # Safety
/// `response` and all that it points to is valid for the call, or null.
unsafe fn response(response: &evws_response) -> HttpResponse {
    let status = u16::try_from(response.status).unwrap_or(0);
    // SAFETY: the caller's promise, for the lists and for each part.
    unsafe {
        if response.body.is_null() {
            let mut usual = usual_response(status);
            usual
                .headers
                .extend(headers(response.headers, response.header_count));
            return usual;
        }
        let parts = slice_or_empty(response.body, response.body_count);
        let mut body = Vec::with_capacity(parts.iter().map(|part| part.length).sum());
        for part in parts {
            body.extend_from_slice(part.borrow());
        }
        HttpResponse {
            status,
            headers: headers(response.headers, response.header_count),
            body,
        }
    }
}

/// `Ok(false)`: whoever asked does not wait any more.
fn status_of(context: &mut evws_context, result: Result<bool, CallError>) -> evws_status {
    match result {
        Ok(true) => EVWS_STATUS_OK,
        Ok(false) => EVWS_STATUS_STALE,
        Err(error) => context.refuse(error),
    }
}

/// Accepts a request for an upgrade: it goes on with further headers in its response.
/// `protocol` is the subprotocol, one of those that the client asked for; if its data is NULL, the
/// listener chooses. `EVWS_STATUS_INVALID` if a header cannot be sent or the client did not ask for
/// the subprotocol: nothing is decided then. `EVWS_STATUS_STALE` if the client does not wait any
/// more: it has gone away, or was told after the listener's `handshake_timeout` that nobody decides.
/// Everything is copied.
///
/// # Safety
/// `context` is null, or was made by `evws_context_new` and not freed; `list` is null or points to
/// `count` valid headers; the data of `protocol` is null or valid.
#[no_mangle]
pub unsafe extern "C" fn evws_handshake_accept(
    context: *mut evws_context,
    id: u64,
    protocol: evws_bytes,
    list: *const evws_header,
    count: usize,
) -> evws_status {
    if context.is_null() {
        return EVWS_STATUS_NULL_POINTER;
    }
    let work = |context: &mut evws_context| {
        // SAFETY: the caller's promise.
        let (headers, name) = unsafe { (headers(list, count), protocol.borrow()) };
        let protocol =
            (!protocol.data.is_null()).then(|| String::from_utf8_lossy(name).into_owned());
        let result = context.engine.accept_handshake(id, headers, protocol);
        status_of(context, result)
    };
    // SAFETY: the caller's promise.
    unsafe { guard(context, EVWS_STATUS_PANICKED, work) }
}

/// Rejects a request for an upgrade with this response; the connection ends behind it.
/// `EVWS_STATUS_INVALID` if the response cannot be sent: nothing is decided then.
/// `EVWS_STATUS_STALE` as for `evws_handshake_accept`. Everything is copied.
///
/// # Safety
/// `context` is null, or was made by `evws_context_new` and not freed; `answer` is null or valid
/// with all that it points to.
#[no_mangle]
pub unsafe extern "C" fn evws_handshake_reject(
    context: *mut evws_context,
    id: u64,
    answer: *const evws_response,
) -> evws_status {
    // SAFETY: the caller's promise.
    let Some(answer) = (unsafe { answer.as_ref() }) else {
        return EVWS_STATUS_NULL_POINTER;
    };
    if context.is_null() {
        return EVWS_STATUS_NULL_POINTER;
    }
    let work = |context: &mut evws_context| {
        // SAFETY: the caller's promise.
        let response = unsafe { response(answer) };
        let result = context.engine.reject_handshake(id, response);
        status_of(context, result)
    };
    // SAFETY: the caller's promise.
    unsafe { guard(context, EVWS_STATUS_PANICKED, work) }
}

/// Whether the client of a handshake event still waits for the decision.
///
/// # Safety
/// `context` is null, or was made by `evws_context_new` and not freed.
#[no_mangle]
pub unsafe extern "C" fn evws_handshake_is_pending(context: *const evws_context, id: u64) -> bool {
    // SAFETY: the caller's promise.
    unsafe { guard_read(context, false, |context| context.engine.awaits_decision(id)) }
}

/// Subprotocol `index` of those that the client of a handshake event asks for, its preferred one
/// first. Returns false if there is none, or the client does not wait any more. Lent until the next
/// call on the context.
///
/// # Safety
/// `context` is null, or was made by `evws_context_new` and not freed; `out` is null or points to a
/// place for the result.
#[no_mangle]
pub unsafe extern "C" fn evws_handshake_protocol(
    context: *const evws_context,
    id: u64,
    index: usize,
    out: *mut evws_bytes,
) -> bool {
    if out.is_null() {
        return false;
    }
    let work = |context: &evws_context| {
        let name = context.engine.asked_protocols(id).get(index)?;
        Some(evws_bytes::lend(name.as_bytes()))
    };
    // SAFETY: the caller's promise.
    match unsafe { guard_read(context, None, work) } {
        Some(name) => {
            // SAFETY: not null, and the caller vouches for the rest.
            unsafe { out.write(name) };
            true
        }
        None => false,
    }
}

/// What the event that was polled last asks for, an `EVWS_EVENT_REQUEST`. Returns false if it is
/// none. Lent until the next call on the context.
///
/// # Safety
/// `context` is null, or was made by `evws_context_new` and not freed; `out` is null or points to a
/// place for the result.
#[no_mangle]
pub unsafe extern "C" fn evws_event_request(
    context: *const evws_context,
    out: *mut evws_request,
) -> bool {
    if out.is_null() {
        return false;
    }
    let work = |context: &evws_context| {
        let (request, is_secure) = context.engine.request()?;
        let version = if request.old { "HTTP/1.0" } else { "HTTP/1.1" };
        Some(evws_request {
            method: evws_bytes::lend(request.method.as_bytes()),
            target: evws_bytes::lend(request.target.as_bytes()),
            version: evws_bytes::lend(version.as_bytes()),
            is_secure,
        })
    };
    // SAFETY: the caller's promise.
    match unsafe { guard_read(context, None, work) } {
        Some(request) => {
            // SAFETY: not null, and the caller vouches for the rest.
            unsafe { out.write(request) };
            true
        }
        None => false,
    }
}

/// Answers a request event. `EVWS_STATUS_INVALID` if the response cannot be sent: nothing is
/// answered then. `EVWS_STATUS_STALE` if nobody waits for it. Everything is copied.
///
/// # Safety
/// `context` is null, or was made by `evws_context_new` and not freed; `answer` is null or valid
/// with all that it points to.
#[no_mangle]
pub unsafe extern "C" fn evws_request_answer(
    context: *mut evws_context,
    id: u64,
    answer: *const evws_response,
) -> evws_status {
    // SAFETY: the caller's promise.
    let Some(answer) = (unsafe { answer.as_ref() }) else {
        return EVWS_STATUS_NULL_POINTER;
    };
    if context.is_null() {
        return EVWS_STATUS_NULL_POINTER;
    }
    let work = |context: &mut evws_context| {
        // SAFETY: the caller's promise.
        let response = unsafe { response(answer) };
        let result = context.engine.answer_request(id, response);
        status_of(context, result)
    };
    // SAFETY: the caller's promise.
    unsafe { guard(context, EVWS_STATUS_PANICKED, work) }
}
