//! The process and the signals of its threads.

use std::mem;

/// The signals that a thread had blocked, which dropping this restores.
struct SignalMask(libc::sigset_t);

impl Drop for SignalMask {
    fn drop(&mut self) {
        // SAFETY: the set was filled by pthread_sigmask.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut())
        };
    }
}

/// Runs `work` with every signal blocked, so that threads that it starts never take a signal from Perl.
/// The signals are restored after a panic, too.
pub fn with_signals_blocked<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: both sets are plain data which the calls fill before they are read.
    let before = unsafe {
        let mut all: libc::sigset_t = mem::zeroed();
        let mut before: libc::sigset_t = mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        SignalMask(before)
    };
    let result = work();
    drop(before);
    result
}

/// The id of this process, which tells a forked child from its parent.
pub fn process_id() -> u32 {
    std::process::id()
}
