//! The log: what happens inside, line by line, for whoever looks for a mistake.

use evws_engine::Topic;

use crate::context::evws_context;
use crate::guard::guard;
use crate::types::*;

/// Turns the log on or off; it is off at first. Lines that were made can still be polled.
///
/// # Safety
/// `context` is null, or was made by `evws_context_new` and not freed.
#[no_mangle]
pub unsafe extern "C" fn evws_set_log(context: *mut evws_context, is_on: bool) {
    // SAFETY: the caller's promise.
    unsafe { guard(context, (), |context| context.engine.set_log(is_on)) }
}

/// The oldest line of the log. Returns false when there is none. The text is lent until the next call
/// on the context.
///
/// # Safety
/// `context` is null, or was made by `evws_context_new` and not freed; `out` is null or points to
/// a place for the result.
#[no_mangle]
pub unsafe extern "C" fn evws_poll_log(
    context: *mut evws_context,
    out: *mut evws_log_line,
) -> bool {
    if out.is_null() {
        return false;
    }
    // SAFETY: the caller's promise.
    let line = unsafe {
        guard(context, None, |context| {
            let line = context.engine.poll_log()?;
            context.logged = line.text;
            Some(evws_log_line {
                topic: match line.topic {
                    Topic::State => EVWS_LOG_STATE,
                    Topic::Timer => EVWS_LOG_TIMER,
                    Topic::Frame => EVWS_LOG_FRAME,
                    Topic::Handshake => EVWS_LOG_HANDSHAKE,
                    Topic::Error => EVWS_LOG_ERROR,
                    Topic::Descriptor => EVWS_LOG_DESCRIPTOR,
                },
                id: line.id,
                text: evws_bytes::lend(context.logged.as_bytes()),
            })
        })
    };
    match line {
        Some(line) => {
            // SAFETY: not null, and the caller vouches for the rest.
            unsafe { out.write(line) };
            true
        }
        None => false,
    }
}
