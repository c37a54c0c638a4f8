//! The log: what happens inside, line by line, for whoever looks for a mistake.

use evws_engine::Topic;

use crate::context::{evws_context, lend_text};
use crate::guard::{drive, put};
use crate::types::*;

/// Turns the log on or off; it is off at first. Lines that were made can still be polled.
///
/// # Safety
/// `context` is live or null.
#[no_mangle]
pub unsafe extern "C" fn evws_set_log(context: *mut evws_context, is_on: bool) {
    // SAFETY: as promised above.
    unsafe { drive(context, (), |engine| engine.set_log(is_on)) }
}

/// The oldest line of the log. Returns false when there is none. The text is lent until the next call
/// on the context.
///
/// # Safety
/// `context` is live or null; `out` is null or may be written to.
#[no_mangle]
pub unsafe extern "C" fn evws_poll_log(
    context: *mut evws_context,
    out: *mut evws_log_line,
) -> bool {
    // SAFETY: as promised above; what came out of the engine is kept beside it.
    unsafe {
        let Some(line) = drive(context, None, |engine| engine.poll_log()) else {
            return false;
        };
        let line = evws_log_line {
            topic: match line.topic {
                Topic::State => EVWS_LOG_STATE,
                Topic::Timer => EVWS_LOG_TIMER,
                Topic::Frame => EVWS_LOG_FRAME,
                Topic::Handshake => EVWS_LOG_HANDSHAKE,
                Topic::Error => EVWS_LOG_ERROR,
                Topic::Descriptor => EVWS_LOG_DESCRIPTOR,
            },
            id: line.id,
            text: lend_text(context, Some(line.text)),
        };
        put(Some(line), out)
    }
}
