//! A descriptor by which another thread wakes the loop.

use std::fs::File;
use std::io::{self, Read, Write};

use super::socket::above_standard;

/// A pair of connected descriptors: a byte written to the second makes the first readable.
///
/// # Errors
/// The errors of eventfd(2).
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn wakeup_pair() -> io::Result<(File, File)> {
    let flags = libc::EFD_NONBLOCK | libc::EFD_CLOEXEC;
    // SAFETY: eventfd takes integers only; the descriptor is new and ours.
    let made = unsafe { super::own(super::check(libc::eventfd(0, flags))?) };
    let reader = File::from(above_standard(made)?);
    let writer = reader.try_clone()?;
    Ok((reader, writer))
}

/// A pair of connected descriptors: a byte written to the second makes the first readable.
///
/// # Errors
/// The errors of socketpair(2).
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn wakeup_pair() -> io::Result<(File, File)> {
    let (reader, writer) = std::os::unix::net::UnixStream::pair()?;
    for end in [&reader, &writer] {
        end.set_nonblocking(true)?;
    }
    let file = |end| above_standard(std::os::fd::OwnedFd::from(end)).map(File::from);
    Ok((file(reader)?, file(writer)?))
}

/// Makes the reading end of a [`wakeup_pair`] readable.
pub fn wake(mut writer: &File) {
    // A descriptor that has no room for another byte is readable already. After a signal nothing was written, and
    // whoever waits would wait for ever.
    while let Err(error) = writer.write(&1u64.to_ne_bytes()) {
        if error.kind() != io::ErrorKind::Interrupted {
            break;
        }
    }
}

/// Empties the reading end of a [`wakeup_pair`].
pub fn drain_wakeup(mut reader: &File) {
    let _ = reader.read(&mut [0; 64]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A descriptor that stays readable has the loop called again and again for nothing.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn a_loop_is_woken_once_for_all_that_has_come() {
        use std::os::fd::AsRawFd;
        let (mut reader, writer) = wakeup_pair().unwrap();
        for fd in [reader.as_raw_fd(), writer.as_raw_fd()] {
            // SAFETY: fcntl with these commands takes integers only.
            let (status, own) = unsafe {
                (
                    libc::fcntl(fd, libc::F_GETFL),
                    libc::fcntl(fd, libc::F_GETFD),
                )
            };
            assert!(status & libc::O_NONBLOCK != 0 && own & libc::FD_CLOEXEC != 0);
        }
        for _ in 0..3 {
            wake(&writer);
        }
        drain_wakeup(&reader);
        let waits = reader.read(&mut [0; 8]).unwrap_err();
        assert_eq!(waits.kind(), io::ErrorKind::WouldBlock);
        wake(&writer);
        assert_eq!(reader.read(&mut [0; 8]).unwrap(), 8);
    }
}
