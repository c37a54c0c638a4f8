//! The one way from C into the engine: [`call`] for what is answered with a status, [`ask`] for questions, [`drive`] for
//! the loop. They look whether the context is there and sound, and stop panics.

use std::cell::Cell;
use std::panic::{catch_unwind, AssertUnwindSafe};

use evws_engine::{CallError, Context, SendError};

use crate::context::evws_context;
use crate::types::*;

/// What a bug is called in the text of the error.
pub(crate) const BUG: &str =
    "internal error: a bug was caught; the context cannot be used any more";

/// Why a call has no result.
pub(crate) enum Unanswered {
    /// The status says all.
    Status(evws_status),
    /// It has a text, which is kept for `evws_error_text`.
    Error(Box<CallError>),
}

impl From<CallError> for Unanswered {
    #[cold]
    fn from(error: CallError) -> Self {
        Unanswered::Error(Box::new(error))
    }
}

impl From<SendError> for Unanswered {
    fn from(error: SendError) -> Self {
        Unanswered::Status(match error {
            SendError::NotOpen => EVWS_STATUS_NOT_OPEN,
            SendError::FragmentInProgress => EVWS_STATUS_FRAGMENT_OPEN,
            SendError::NoMemory => EVWS_STATUS_NO_MEMORY,
            SendError::QueueFull => EVWS_STATUS_QUEUE_FULL,
            SendError::Dropped => EVWS_STATUS_DROPPED,
        })
    }
}

/// Makes a call: its result goes to `out`, which is written to on success alone; `None`: there is none.
///
/// # Safety
/// `context` is live or null (see the crate); a place in `out` is null or can be written to.
#[inline]
pub(crate) unsafe fn call<T>(
    context: *mut evws_context,
    out: Option<*mut T>,
    work: impl FnOnce(&mut Context) -> Result<T, Unanswered>,
) -> evws_status {
    // SAFETY: a live context is the caller's alone.
    let Some(context) = (unsafe { context.as_mut() }) else {
        return EVWS_STATUS_NULL_POINTER;
    };
    if out.is_some_and(<*mut T>::is_null) {
        return EVWS_STATUS_NULL_POINTER;
    }
    if context.poisoned.get() {
        return EVWS_STATUS_PANICKED;
    }
    match catch_unwind(AssertUnwindSafe(|| work(&mut context.engine))) {
        Ok(Ok(value)) => {
            if let Some(out) = out {
                // SAFETY: the caller's promise, and it is not null.
                unsafe { out.write(value) };
            }
            EVWS_STATUS_OK
        }
        Ok(Err(refusal)) => context.refuse(refusal),
        Err(_) => {
            context.poisoned.set(true);
            EVWS_STATUS_PANICKED
        }
    }
}

/// Has the engine work, or take something out; `otherwise`, if it must not any more.
///
/// # Safety
/// `context` is live or null.
#[inline]
pub(crate) unsafe fn drive<T>(
    context: *mut evws_context,
    otherwise: T,
    work: impl FnOnce(&mut Context) -> T,
) -> T {
    // SAFETY: a live context is the caller's alone.
    match unsafe { context.as_mut() } {
        Some(context) if !context.poisoned.get() => {
            let result = catch_unwind(AssertUnwindSafe(|| work(&mut context.engine)));
            settle(&context.poisoned, result, otherwise)
        }
        _ => otherwise,
    }
}

/// Asks a question, which changes nothing. `None` if there is no answer.
///
/// # Safety
/// `context` is live or null.
pub(crate) unsafe fn ask<T>(
    context: *const evws_context,
    work: impl FnOnce(&Context) -> Option<T>,
) -> Option<T> {
    // SAFETY: nobody changes a live context meanwhile.
    let context = unsafe { context.as_ref() }.filter(|context| !context.poisoned.get())?;
    let result = catch_unwind(AssertUnwindSafe(|| work(&context.engine)));
    settle(&context.poisoned, result, None)
}

/// What a caught panic leaves may be half done: nobody works on it again.
#[inline]
fn settle<T>(poisoned: &Cell<bool>, result: std::thread::Result<T>, otherwise: T) -> T {
    result.unwrap_or_else(|_| {
        poisoned.set(true);
        otherwise
    })
}

/// Writes an answer. Returns whether there was one.
///
/// # Safety
/// `out` is null or can be written to.
pub(crate) unsafe fn put<T>(answer: Option<T>, out: *mut T) -> bool {
    match answer {
        Some(answer) if !out.is_null() => {
            // SAFETY: not null, and the caller's promise.
            unsafe { out.write(answer) };
            true
        }
        _ => false,
    }
}

/// An argument that must be there.
///
/// # Safety
/// `pointer` is null, or what it points to stays as it is while the result is used.
pub(crate) unsafe fn given<'a, T>(pointer: *const T) -> Result<&'a T, Unanswered> {
    // SAFETY: the caller's promise.
    unsafe { pointer.as_ref() }.ok_or(Unanswered::Status(EVWS_STATUS_NULL_POINTER))
}

/// `Ok` if somebody, or something, was there for it.
pub(crate) fn unless_stale(was_there: bool) -> Result<(), Unanswered> {
    match was_there {
        true => Ok(()),
        false => Err(Unanswered::Status(EVWS_STATUS_STALE)),
    }
}

impl evws_context {
    /// Keeps an error.
    #[cold]
    fn refuse(&mut self, refusal: Unanswered) -> evws_status {
        let error = match refusal {
            Unanswered::Status(status) => return status,
            Unanswered::Error(error) => self.error.insert(error),
        };
        match **error {
            CallError::Bind { .. } | CallError::Socket(_) => EVWS_STATUS_SYSTEM,
            _ => EVWS_STATUS_INVALID,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::evws_close;
    use crate::context::*;
    use crate::drive::{evws_handle_prepare, evws_poll_deadline};

    /// A bug inside is caught at the boundary, whichever way it was met; from then on every call
    /// says so or does nothing, and the context can still be freed.
    #[test]
    fn a_panic_ends_the_context_and_not_the_program() {
        for way in 0..3 {
            let mut context = std::ptr::null_mut();
            // SAFETY: the context is made here, used by this thread alone, and freed once.
            unsafe {
                assert_eq!(evws_context_new(&raw mut context), EVWS_STATUS_OK);
                assert!(!evws_is_poisoned(context));
                let close = || evws_close(context, 1, 1000, evws_bytes::NONE);
                assert_eq!(close(), EVWS_STATUS_OK);
                match way {
                    0 => assert_eq!(
                        ask(context, |_| -> Option<()> { panic!("a bug, on purpose") }),
                        None
                    ),
                    1 => assert_eq!(drive(context, 7, |_| panic!("a bug, on purpose")), 7),
                    _ => assert_eq!(
                        call::<()>(context, None, |_| panic!("a bug, on purpose")),
                        EVWS_STATUS_PANICKED
                    ),
                }
                assert!(evws_is_poisoned(context));
                assert_eq!(close(), EVWS_STATUS_PANICKED);
                evws_handle_prepare(context);
                assert!(evws_poll_deadline(context) < 0.0);
                assert_eq!(
                    evws_error_text(context, std::ptr::null()).borrow(),
                    BUG.as_bytes()
                );
                evws_context_free(context, false);
            }
        }
    }

    #[test]
    fn no_context_is_an_answer_too() {
        let none = std::ptr::null_mut();
        // SAFETY: null is allowed everywhere.
        unsafe {
            assert!(!evws_is_poisoned(none));
            let closed = evws_close(none, 1, 1000, evws_bytes::NONE);
            assert_eq!(closed, EVWS_STATUS_NULL_POINTER);
            evws_handle_prepare(none);
            evws_context_free(none, false);
        }
    }
}
