//! The one way from C into the engine: checks the pointer, and stops panics.

use std::panic::{catch_unwind, AssertUnwindSafe};

use crate::context::evws_context;
use evws_engine::CallError;

use crate::types::{evws_status, EVWS_STATUS_INVALID, EVWS_STATUS_SYSTEM};

/// What a bug is called in the text of the error.
const BUG: &str =
    "internal error: a bug in EV::Websockets was caught; the context cannot be used any more";

/// Runs `work` on a context that is there and has not panicked before; anything else is `otherwise`.
///
/// # Safety
/// `context` is null, or was made by `evws_context_new`, is not freed, and not in use elsewhere.
#[inline]
pub(crate) unsafe fn guard<T>(
    context: *mut evws_context,
    otherwise: T,
    work: impl FnOnce(&mut evws_context) -> T,
) -> T {
    // SAFETY: the caller's promise is the one that a reference needs.
    let Some(context) = (unsafe { context.as_mut() }) else {
        return otherwise;
    };
    if context.poisoned {
        return otherwise;
    }
    match catch_unwind(AssertUnwindSafe(|| work(context))) {
        Ok(result) => result,
        Err(_) => {
            context.poisoned = true;
            context.error = BUG.into();
            otherwise
        }
    }
}

/// Like [`guard`], for questions that change nothing.
///
/// # Safety
/// As for [`guard`].
pub(crate) unsafe fn guard_read<T>(
    context: *const evws_context,
    otherwise: T,
    work: impl FnOnce(&evws_context) -> T,
) -> T {
    // SAFETY: the caller's promise is the one that a reference needs.
    let Some(context) = (unsafe { context.as_ref() }) else {
        return otherwise;
    };
    if context.poisoned {
        return otherwise;
    }
    catch_unwind(AssertUnwindSafe(|| work(context))).unwrap_or(otherwise)
}

impl evws_context {
    /// Keeps the words of an error for `evws_error_text`.
    pub(crate) fn refuse(&mut self, error: CallError) -> evws_status {
        let status = match error {
            CallError::Invalid(_) => EVWS_STATUS_INVALID,
            CallError::System(_) => EVWS_STATUS_SYSTEM,
        };
        self.error = error.to_string();
        status
    }
}
