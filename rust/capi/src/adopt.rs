//! Taking over sockets that the program had before.

use evws_engine::{AdoptOptions, AdoptedAs, CallError, RequestParts, Role};

use crate::context::evws_context;
use crate::guard::guard;
use crate::open::{headers, upgrade};
use crate::options::*;
use crate::types::*;

/// # Safety
/// All that `request` points to is valid for the call, or null.
unsafe fn requested(request: &evws_upgrade_request) -> RequestParts {
    // SAFETY: the caller's promise.
    unsafe {
        RequestParts {
            method: text(request.method),
            target: text(request.target),
            version: text(request.version),
            headers: headers(request.headers, request.header_count),
        }
    }
}

/// # Safety
/// `bytes` is valid for the call.
unsafe fn text(bytes: evws_bytes) -> String {
    // SAFETY: the caller's promise.
    String::from_utf8_lossy(unsafe { bytes.borrow() }).into_owned()
}

/// # Safety
/// All that `options` points to is valid for the call, or null.
unsafe fn convert(options: &evws_adopt_options) -> Result<AdoptOptions, CallError> {
    let kind = match options.kind {
        EVWS_ADOPT_CLIENT => AdoptedAs::Client,
        // SAFETY: the caller's promise.
        EVWS_ADOPT_REQUESTED => unsafe { AdoptedAs::Requested(requested(&options.request)) },
        EVWS_ADOPT_AS_SERVER => AdoptedAs::Upgraded(Role::Server),
        EVWS_ADOPT_AS_CLIENT => AdoptedAs::Upgraded(Role::Client),
        other => {
            let text = format!("adopt: there is no kind {other}");
            return Err(CallError::Invalid(text));
        }
    };
    // SAFETY: the caller's promise.
    let (initial_data, upgrade) = unsafe {
        (
            options.initial_data.borrow().to_vec(),
            upgrade(&options.upgrade),
        )
    };
    Ok(AdoptOptions {
        fd: options.fd,
        kind,
        initial_data,
        upgrade,
    })
}

/// Whether `evws_adopt` would refuse these options, whatever the descriptor: `EVWS_STATUS_INVALID`
/// for a subprotocol or a header that cannot be used, or a request that is no acceptable upgrade. For
/// callers that cannot give back the descriptor once they have it.
///
/// # Safety
/// `context` is null, or was made by `evws_context_new` and not freed; `options` is null or
/// valid with all that it points to.
#[no_mangle]
pub unsafe extern "C" fn evws_adopt_check(
    context: *mut evws_context,
    options: *const evws_adopt_options,
) -> evws_status {
    // SAFETY: the caller's promise.
    let Some(options) = (unsafe { options.as_ref() }) else {
        return EVWS_STATUS_NULL_POINTER;
    };
    if context.is_null() {
        return EVWS_STATUS_NULL_POINTER;
    }
    let work = |context: &mut evws_context| {
        // SAFETY: the caller's promise.
        match unsafe { convert(options) }.and_then(|options| options.check()) {
            Ok(()) => EVWS_STATUS_OK,
            Err(error) => context.refuse(error),
        }
    };
    // SAFETY: the caller's promise.
    unsafe { guard(context, EVWS_STATUS_PANICKED, work) }
}

/// Takes over a connected stream socket. The id, under which events will tell what came of it, is
/// written to `id`. The descriptor stays yours: the library works with a duplicate, and when the
/// connection ends it shuts the socket down for both. From a call that succeeds on the socket is
/// non-blocking, for both too; nobody else must read or write it. `EVWS_STATUS_INVALID` if a
/// subprotocol or a header cannot be used, or the request is no acceptable upgrade,
/// `EVWS_STATUS_SYSTEM` if the descriptor is no connected stream socket: nothing was read, written
/// or changed then. The options are copied.
///
/// # Safety
/// `context` is null, or was made by `evws_context_new` and not freed; `options` is null or
/// valid with all that it points to; `id` is null or points to a place for the result.
#[no_mangle]
pub unsafe extern "C" fn evws_adopt(
    context: *mut evws_context,
    options: *const evws_adopt_options,
    id: *mut u64,
) -> evws_status {
    // SAFETY: the caller's promise.
    let Some(options) = (unsafe { options.as_ref() }) else {
        return EVWS_STATUS_NULL_POINTER;
    };
    if context.is_null() || id.is_null() {
        return EVWS_STATUS_NULL_POINTER;
    }
    let work = |context: &mut evws_context| {
        // SAFETY: the caller's promise.
        let converted = unsafe { convert(options) };
        match converted.and_then(|options| context.engine.adopt(options)) {
            Ok(new) => {
                // SAFETY: not null, and the caller vouches for the rest.
                unsafe { id.write(new) };
                EVWS_STATUS_OK
            }
            Err(error) => context.refuse(error),
        }
    };
    // SAFETY: the caller's promise.
    unsafe { guard(context, EVWS_STATUS_PANICKED, work) }
}
