//! The one way from C into the engine: checks the pointer, and stops panics.

use std::cell::Cell;
use std::panic::{catch_unwind, AssertUnwindSafe};

use crate::context::evws_context;
use evws_engine::CallError;

use crate::types::{evws_status, EVWS_STATUS_INVALID, EVWS_STATUS_SYSTEM};

/// What a bug is called in the text of the error.
pub(crate) const BUG: &str =
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
    match unsafe { context.as_mut() } {
        Some(context) if !context.poisoned.get() => {
            let result = catch_unwind(AssertUnwindSafe(|| work(context)));
            settle(&context.poisoned, result, otherwise)
        }
        _ => otherwise,
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
    match unsafe { context.as_ref() } {
        Some(context) if !context.poisoned.get() => {
            let result = catch_unwind(AssertUnwindSafe(|| work(context)));
            settle(&context.poisoned, result, otherwise)
        }
        _ => otherwise,
    }
}

/// What a caught panic leaves may be half done: nobody works on it again.
#[inline]
fn settle<T>(poisoned: &Cell<bool>, result: std::thread::Result<T>, otherwise: T) -> T {
    result.unwrap_or_else(|_| {
        poisoned.set(true);
        otherwise
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::{evws_context_free, evws_context_new, evws_error_text};
    use crate::drive::{evws_handle_prepare, evws_poll_deadline};
    use crate::open::evws_close_code_check;
    use crate::types::{EVWS_STATUS_NULL_POINTER, EVWS_STATUS_OK, EVWS_STATUS_PANICKED};

    /// A bug inside is caught at the boundary, whichever way it was met; from then on every call
    /// says so or does nothing, and the context can still be freed.
    #[test]
    fn a_panic_ends_the_context_and_not_the_program() {
        for reading in [false, true] {
            let mut context = std::ptr::null_mut();
            // SAFETY: the context is made here, used by this thread alone, and freed once.
            unsafe {
                assert_eq!(evws_context_new(&raw mut context), EVWS_STATUS_OK);
                assert_eq!(evws_close_code_check(context, 1000), EVWS_STATUS_OK);
                let answer = if reading {
                    guard_read(context, 7, |_| panic!("a bug, on purpose"))
                } else {
                    guard(context, 7, |_| panic!("a bug, on purpose"))
                };
                assert_eq!(answer, 7);
                assert_eq!(evws_close_code_check(context, 1000), EVWS_STATUS_PANICKED);
                evws_handle_prepare(context);
                assert!(evws_poll_deadline(context) < 0.0);
                assert_eq!(evws_error_text(context).borrow(), BUG.as_bytes());
                evws_context_free(context, false);
            }
        }
    }

    #[test]
    fn no_context_is_an_answer_too() {
        // SAFETY: null is allowed everywhere.
        unsafe {
            let none = std::ptr::null_mut();
            assert_eq!(evws_close_code_check(none, 1000), EVWS_STATUS_NULL_POINTER);
            assert_eq!(
                crate::connection::evws_pause(none, 1),
                EVWS_STATUS_NULL_POINTER
            );
            evws_handle_prepare(none);
            evws_context_free(none, false);
        }
    }
}
