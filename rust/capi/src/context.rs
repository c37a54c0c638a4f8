//! The context as C sees it.

use std::cell::Cell;
use std::panic::{catch_unwind, AssertUnwindSafe};

use evws_engine::deflate::RangedOption;
use evws_engine::{CallError, Context, Names, UrlError};

use crate::guard::{drive, BUG};
use crate::options::evws_names;
use crate::statistics::evws_closed;
use crate::types::*;

/// All connections and listeners of one event loop. Opaque to C.
pub struct evws_context {
    pub(crate) engine: Context,
    /// Why the last call that has failed did.
    pub(crate) error: Option<Box<CallError>>,
    /// The text that was lent last, if the engine does not keep it.
    pub(crate) text: String,
    /// The topics that were listed last.
    pub(crate) topics: Vec<Vec<u8>>,
    /// The same for C.
    pub(crate) topic_names: Vec<evws_bytes>,
    /// The close codes that were counted last.
    pub(crate) closed: Vec<evws_closed>,
    /// A panic was caught; what the engine holds may be half done.
    pub(crate) poisoned: Cell<bool>,
}

/// Makes a context, which the caller owns. It holds no descriptor and no thread.
///
/// # Safety
/// `out` is null or may be written to.
#[no_mangle]
pub unsafe extern "C" fn evws_context_new(out: *mut *mut evws_context) -> evws_status {
    if out.is_null() {
        return EVWS_STATUS_NULL_POINTER;
    }
    let made = catch_unwind(|| {
        Box::new(evws_context {
            engine: Context::new(),
            error: None,
            text: String::new(),
            topics: Vec::new(),
            topic_names: Vec::new(),
            closed: Vec::new(),
            poisoned: Cell::new(false),
        })
    });
    let Ok(context) = made else {
        return EVWS_STATUS_PANICKED;
    };
    // SAFETY: not null, and the caller vouches for the rest.
    unsafe { out.write(Box::into_raw(context)) };
    EVWS_STATUS_OK
}

/// Frees a context and closes every descriptor of it; all watching must have been stopped before.
/// Queued bytes are offered to the kernel once, without blocking, unless `silent`: that is for a
/// forked child, and nothing goes on the wire. NULL is ignored.
///
/// # Safety
/// `context` is live or null; it is not live any more afterwards.
#[no_mangle]
pub unsafe extern "C" fn evws_context_free(context: *mut evws_context, silent: bool) {
    if context.is_null() {
        return;
    }
    // SAFETY: it came from Box::into_raw and is freed once, says the caller.
    let mut context = unsafe { Box::from_raw(context) };
    // A bug on the way out is no reason to take the program down.
    let _ = catch_unwind(AssertUnwindSafe(move || {
        context.engine.shut_down(silent || context.poisoned.get());
    }));
}

/// Removes the files of Unix sockets that this process listens on, and touches nothing else: for a
/// process that ends without freeing its contexts.
///
/// # Safety
/// `context` is live or null.
#[no_mangle]
pub unsafe extern "C" fn evws_context_remove_socket_files(context: *mut evws_context) {
    // SAFETY: as promised above.
    unsafe { drive(context, (), |engine| engine.remove_socket_files()) }
}

/// Whether a bug was caught (`EVWS_STATUS_PANICKED`): nothing but `evws_context_free` may follow.
///
/// # Safety
/// `context` is live or null.
#[no_mangle]
pub unsafe extern "C" fn evws_is_poisoned(context: *const evws_context) -> bool {
    // SAFETY: as promised above.
    unsafe { context.as_ref() }.is_some_and(|context| context.poisoned.get())
}

/// What was wrong about the last call that ended with `EVWS_STATUS_INVALID`, `EVWS_STATUS_SYSTEM` or
/// `EVWS_STATUS_PANICKED`.
///
/// # Safety
/// `context` is live or null.
#[no_mangle]
pub unsafe extern "C" fn evws_last_error_kind(context: *const evws_context) -> evws_error_kind {
    // SAFETY: as promised above.
    let Some(context) = (unsafe { context.as_ref() }) else {
        return EVWS_ERROR_OTHER;
    };
    match context.error.as_deref() {
        _ if context.poisoned.get() => EVWS_ERROR_BUG,
        Some(CallError::Url(UrlError::Scheme)) => EVWS_ERROR_URL_SCHEME,
        Some(CallError::Certificate(_)) => EVWS_ERROR_CERTIFICATE,
        Some(CallError::Adopted(_) | CallError::Socket(_)) => EVWS_ERROR_ADOPTED,
        Some(CallError::Origins(_)) => EVWS_ERROR_ORIGINS,
        Some(CallError::Hosts(_)) => EVWS_ERROR_HOSTS,
        Some(CallError::TrustedProxies(_)) => EVWS_ERROR_TRUSTED_PROXIES,
        Some(CallError::Deflate(error)) => match error.option {
            RangedOption::ServerMaxWindowBits => EVWS_ERROR_SERVER_MAX_WINDOW_BITS,
            RangedOption::ClientMaxWindowBits => EVWS_ERROR_CLIENT_MAX_WINDOW_BITS,
            RangedOption::Level => EVWS_ERROR_LEVEL,
        },
        _ => EVWS_ERROR_OTHER,
    }
}

/// Why the last call on the context ended with `EVWS_STATUS_INVALID`, `EVWS_STATUS_SYSTEM` or
/// `EVWS_STATUS_PANICKED`, in UTF-8, with what you say of the options; NULL: nothing. Lent until the
/// next call.
///
/// # Safety
/// `context` is live or null; `names` is null or may be read.
#[no_mangle]
pub unsafe extern "C" fn evws_error_text(
    context: *mut evws_context,
    names: *const evws_names,
) -> evws_bytes {
    // SAFETY: a live context is the caller's alone.
    let Some(context) = (unsafe { context.as_mut() }) else {
        return evws_bytes::NONE;
    };
    if context.poisoned.get() {
        return evws_bytes::lend(BUG);
    }
    if let Some(error) = &context.error {
        // SAFETY: as promised above.
        let names = unsafe { names.as_ref().map(|names| names_of(names)) };
        context.text = error.text(&names.unwrap_or_default());
    }
    evws_bytes::lend(&context.text)
}

/// Lends a text until the next one.
///
/// # Safety
/// `context` is live or null.
pub(crate) unsafe fn lend_text(context: *mut evws_context, text: Option<String>) -> evws_bytes {
    // SAFETY: a live context is the caller's alone.
    match (text, unsafe { context.as_mut() }) {
        (Some(text), Some(context)) => {
            context.text = text;
            evws_bytes::lend(&context.text)
        }
        _ => evws_bytes::NONE,
    }
}

/// # Safety
/// `names` may be read, and stay as they are while the result is used.
unsafe fn names_of(names: &evws_names) -> Names<'_> {
    let text = |name: evws_bytes| {
        // SAFETY: the caller's promise.
        let text = std::str::from_utf8(unsafe { name.borrow() }).unwrap_or_default();
        (!name.data.is_null()).then_some(text)
    };
    Names {
        tls_prefix: text(names.tls_prefix),
        given: text(names.given),
    }
}
