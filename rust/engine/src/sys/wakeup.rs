//! A descriptor by which another thread wakes the loop.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::{check, own};

/// A pair of connected descriptors: a byte written to the second makes the first readable.
///
/// # Errors
/// Whatever eventfd(2) or pipe(2) refuse.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn wakeup_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    // SAFETY: eventfd takes integers only; the descriptor is new and ours.
    let fd = unsafe {
        own(check(libc::eventfd(
            0,
            libc::EFD_NONBLOCK | libc::EFD_CLOEXEC,
        ))?)
    };
    let writer = fd.try_clone()?;
    Ok((fd, writer))
}

/// A pair of connected descriptors: a byte written to the second makes the first readable.
///
/// # Errors
/// Whatever pipe(2) refuses.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn wakeup_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: the pointer is that of two live integers.
    check(unsafe { libc::pipe(ends.as_mut_ptr()) })?;
    // SAFETY: both descriptors are new and ours.
    let (reader, writer) = unsafe { (own(ends[0]), own(ends[1])) };
    for fd in [&reader, &writer] {
        // SAFETY: fcntl with these commands takes integers only; fd is open.
        unsafe {
            check(libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC))?;
            check(libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK))?;
        }
    }
    Ok((reader, writer))
}

/// Makes the reading end of a [`wakeup_pair`] readable.
pub fn wake(fd: BorrowedFd<'_>) {
    let one = 1u64.to_ne_bytes();
    // SAFETY: the pointer and length are those of a live array. A full pipe wakes just as well.
    unsafe { libc::write(fd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
}

/// Empties the reading end of a [`wakeup_pair`].
pub fn drain_wakeup(fd: BorrowedFd<'_>) {
    let mut sink = [0u8; 64];
    // SAFETY: the pointer and length are those of a live array.
    unsafe { libc::read(fd.as_raw_fd(), sink.as_mut_ptr().cast(), sink.len()) };
}
