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

#[cfg(test)]
mod tests {
    use super::*;

    /// A child that took itself for its parent would remove the parent's socket files, and wait for threads that it does
    /// not have.
    #[test]
    fn a_forked_child_has_an_id_of_its_own() {
        let ours = process_id();
        // SAFETY: the child does nothing but ask for its id and end.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: _exit takes an integer only.
            unsafe { libc::_exit(libc::c_int::from(process_id() == ours)) };
        }
        let mut status = -1;
        // SAFETY: the place is that of a live integer.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0);
    }

    /// Perl's own signals would not come any more after the first name that was looked up.
    #[test]
    fn signals_are_blocked_for_the_work_alone() {
        let blocked = || {
            // SAFETY: the set is plain data which the call fills before it is read.
            unsafe {
                let mut now: libc::sigset_t = mem::zeroed();
                libc::pthread_sigmask(libc::SIG_SETMASK, std::ptr::null(), &raw mut now);
                libc::sigismember(&raw const now, libc::SIGUSR1) == 1
            }
        };
        assert!(!blocked());
        assert!(with_signals_blocked(blocked));
        assert!(!blocked());
    }
}
