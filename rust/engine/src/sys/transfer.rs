//! Receiving and sending bytes. No call waits, even if another owner of the socket has made it blocking:
//! Feersum does that when it gives up a connection that was adopted.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};

use tokio::io::ReadBuf;

/// The most buffers that one gathered write takes.
pub const MAX_GATHERED: usize = 64;

/// Makes a system call that returns a count of bytes, again if a signal interrupts it.
#[inline]
fn retry(mut call: impl FnMut() -> libc::ssize_t) -> io::Result<usize> {
    loop {
        if let Ok(count) = usize::try_from(call()) {
            return Ok(count);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Reads the bytes that are there into `buffer`. 0 is the end of the stream.
///
/// # Errors
/// The errors of recv(2).
pub fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let (start, length) = (buffer.as_mut_ptr().cast(), buffer.len());
    // SAFETY: the pointer and length are those of a live, writable slice.
    retry(|| unsafe { libc::recv(fd.as_raw_fd(), start, length, libc::MSG_DONTWAIT) })
}

/// Reads at most `most` bytes into the free part of a buffer, which need not be filled with zeros for that. Returns how many
/// there were.
///
/// # Errors
/// The errors of recv(2).
pub fn receive_into(
    fd: BorrowedFd<'_>,
    buffer: &mut ReadBuf<'_>,
    most: usize,
) -> io::Result<usize> {
    // SAFETY: nothing but recv writes there, and it takes nothing out of what was filled before.
    let free = unsafe { buffer.unfilled_mut() };
    let (start, length) = (free.as_mut_ptr().cast(), free.len().min(most));
    // SAFETY: the pointer and length are those of a live, writable slice.
    let count = retry(|| unsafe { libc::recv(fd.as_raw_fd(), start, length, libc::MSG_DONTWAIT) })?;
    // SAFETY: recv has written so many bytes.
    unsafe { buffer.assume_init(count) };
    buffer.advance(count);
    Ok(count)
}

/// Reads first into at most `wanted` bytes of the spare capacity of `first`, which grows by what
/// was read, and further bytes into `second`. Returns how many bytes went into each.
///
/// # Errors
/// The errors of recvmsg(2).
pub fn receive_two(
    fd: BorrowedFd<'_>,
    first: &mut Vec<u8>,
    wanted: usize,
    second: &mut [u8],
) -> io::Result<(usize, usize)> {
    let spare = first.spare_capacity_mut();
    let room = spare.len().min(wanted);
    let mut parts = [
        libc::iovec {
            iov_base: spare.as_mut_ptr().cast(),
            iov_len: room,
        },
        libc::iovec {
            iov_base: second.as_mut_ptr().cast(),
            iov_len: second.len(),
        },
    ];
    // SAFETY: msghdr is plain data for which all zeros are a value.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = parts.as_mut_ptr();
    message.msg_iovlen = parts.len() as _;
    // SAFETY: each part describes writable memory of its length: spare capacity, and a slice. A call
    // that was interrupted has changed none of them.
    let count =
        retry(|| unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) })?;
    let direct = count.min(room);
    // SAFETY: the kernel has written `direct` bytes behind the old length.
    unsafe { first.set_len(first.len() + direct) };
    Ok((direct, count - direct))
}

/// Writes the parts in one call, as far as the kernel takes them, and never raises `SIGPIPE`.
///
/// # Errors
/// The errors of send(2) and sendmsg(2).
pub fn send_gathered(fd: BorrowedFd<'_>, parts: &[io::IoSlice<'_>]) -> io::Result<usize> {
    #[cfg(any(target_os = "macos", target_os = "ios"))]
    const FLAGS: i32 = libc::MSG_DONTWAIT;
    #[cfg(not(any(target_os = "macos", target_os = "ios")))]
    const FLAGS: i32 = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    if let [only] = parts {
        let (start, length) = (only.as_ptr().cast(), only.len());
        // SAFETY: the pointer and length are those of a live slice.
        return retry(|| unsafe { libc::send(fd.as_raw_fd(), start, length, FLAGS) });
    }
    // SAFETY: msghdr is plain data for which all zeros are a value.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    // IoSlice is documented to have the layout of iovec.
    message.msg_iov = parts.as_ptr().cast_mut().cast();
    message.msg_iovlen = parts.len().min(MAX_GATHERED) as _;
    // SAFETY: the message points to live slices, which sendmsg only reads.
    retry(|| unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const message, FLAGS) })
}
