//! Requests, and what is answered to them: to those for an upgrade, and to others.

use evws_engine::{usual_response, Context, HttpResponse};

use crate::context::evws_context;
use crate::guard::{ask, call, given, put, unless_stale, Unanswered};
use crate::types::*;

/// # Safety
/// `answer` is null or may be read.
unsafe fn response(answer: *const evws_response) -> Result<HttpResponse, Unanswered> {
    // SAFETY: the caller's promise, for the lists and for each part.
    unsafe {
        let answer = given(answer)?;
        let status = u16::try_from(answer.status).unwrap_or(0);
        let headers = answer.headers.to_vec();
        if answer.body.item.is_null() {
            let mut usual = usual_response(status);
            usual.headers.extend(headers);
            return Ok(usual);
        }
        let parts = slice_or_empty(answer.body.item, answer.body.count);
        let parts: Vec<&[u8]> = parts.iter().map(|part| part.borrow()).collect();
        let body = parts.concat();
        Ok(HttpResponse {
            status,
            headers,
            body,
        })
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
/// `context` is live or null; `headers` and `protocol` may be read, or are none.
#[no_mangle]
pub unsafe extern "C" fn evws_handshake_accept(
    context: *mut evws_context,
    id: u64,
    protocol: evws_bytes,
    headers: evws_headers,
) -> evws_status {
    // SAFETY: as promised above.
    unsafe {
        call(context, None, |engine| {
            let (headers, protocol) = (headers.to_vec(), protocol.to_text());
            unless_stale(engine.accept_handshake(id, headers, protocol)?)
        })
    }
}

/// Whether a subprotocol can be accepted: `EVWS_STATUS_INVALID` if the client waits for the decision and did not ask for it.
///
/// # Safety
/// `context` is live or null; `protocol` may be read.
#[no_mangle]
pub unsafe extern "C" fn evws_handshake_check_protocol(
    context: *mut evws_context,
    id: u64,
    protocol: evws_bytes,
) -> evws_status {
    // SAFETY: as promised above.
    unsafe {
        call(context, None, |engine| {
            let protocol = protocol.to_text().unwrap_or_default();
            Ok(engine.check_protocol(id, &protocol)?)
        })
    }
}

/// Rejects a request for an upgrade with this response; the connection ends behind it.
/// `EVWS_STATUS_INVALID` if the response cannot be sent: nothing is decided then.
/// `EVWS_STATUS_STALE` as for `evws_handshake_accept`. Everything is copied.
///
/// # Safety
/// `context` is live or null; `answer` is null or may be read.
#[no_mangle]
pub unsafe extern "C" fn evws_handshake_reject(
    context: *mut evws_context,
    id: u64,
    answer: *const evws_response,
) -> evws_status {
    // SAFETY: as promised above.
    unsafe {
        call(context, None, |engine| {
            unless_stale(engine.reject_handshake(id, response(answer)?)?)
        })
    }
}

/// Whether the client of a handshake event still waits for the decision.
///
/// # Safety
/// `context` is live or null.
#[no_mangle]
pub unsafe extern "C" fn evws_handshake_is_pending(context: *const evws_context, id: u64) -> bool {
    // SAFETY: as promised above.
    unsafe { ask(context, |engine| Some(engine.awaits_decision(id))) }.unwrap_or(false)
}

/// Subprotocol `index` of those that the client of a handshake event asks for, its preferred one
/// first. Returns false if there is none, or the client does not wait any more. Lent until the next
/// call on the context.
///
/// # Safety
/// `context` is live or null; `out` is null or may be written to.
#[no_mangle]
pub unsafe extern "C" fn evws_handshake_protocol(
    context: *const evws_context,
    id: u64,
    index: usize,
    out: *mut evws_bytes,
) -> bool {
    let work = |engine: &Context| {
        let name = engine.asked_protocols(id).get(index)?;
        Some(evws_bytes::lend(name))
    };
    // SAFETY: as promised above.
    unsafe { put(ask(context, work), out) }
}

/// What the event that was polled last asks for, an `EVWS_EVENT_REQUEST`. Returns false if it is
/// none. Lent until the next call on the context.
///
/// # Safety
/// `context` is live or null; `out` is null or may be written to.
#[no_mangle]
pub unsafe extern "C" fn evws_event_request(
    context: *const evws_context,
    out: *mut evws_request,
) -> bool {
    let work = |engine: &Context| {
        let (request, is_secure) = engine.request()?;
        let version = if request.old { "HTTP/1.0" } else { "HTTP/1.1" };
        Some(evws_request {
            method: evws_bytes::lend(&request.method),
            target: evws_bytes::lend(&request.target),
            version: evws_bytes::lend(version),
            is_secure,
        })
    };
    // SAFETY: as promised above.
    unsafe { put(ask(context, work), out) }
}

/// Answers a request event. `EVWS_STATUS_INVALID` if the response cannot be sent: nothing is
/// answered then. `EVWS_STATUS_STALE` if nobody waits for it. Everything is copied.
///
/// # Safety
/// `context` is live or null; `answer` is null or may be read.
#[no_mangle]
pub unsafe extern "C" fn evws_request_answer(
    context: *mut evws_context,
    id: u64,
    answer: *const evws_response,
) -> evws_status {
    // SAFETY: as promised above.
    unsafe {
        call(context, None, |engine| {
            unless_stale(engine.answer_request(id, response(answer)?)?)
        })
    }
}
