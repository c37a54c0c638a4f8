//! Bytes from and to sockets. No call waits, also if another owner of the socket has made it a
//! blocking one: Feersum does, when it gives up a connection that was adopted.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::check_size;

/// The most buffers one gathered write takes.
pub const MAX_GATHERED: usize = 64;

/// Reads what is there into `buffer`. 0 is the end of the stream.
///
/// # Errors
/// Whatever recv(2) says; an interrupted call is made again.
pub fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        // SAFETY: the pointer and length are those of a live, writable slice.
        let result = check_size(unsafe {
            libc::recv(
                fd.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                libc::MSG_DONTWAIT,
            )
        });
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Reads first into at most `wanted` bytes of the spare capacity of `first`, which grows by what
/// was read, and what is beyond into `second`. Returns how many bytes went into each.
///
/// # Errors
/// Whatever recvmsg(2) says; an interrupted call is made again.
pub fn receive_two(
    fd: BorrowedFd<'_>,
    first: &mut Vec<u8>,
    wanted: usize,
    second: &mut [u8],
) -> io::Result<(usize, usize)> {
    loop {
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
        // SAFETY: each part describes writable memory of its length: spare capacity, and a slice.
        let result = check_size(unsafe {
            libc::recvmsg(fd.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT)
        });
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(count) => {
                let direct = count.min(room);
                // SAFETY: the kernel has written `direct` bytes behind the old length.
                unsafe { first.set_len(first.len() + direct) };
                return Ok((direct, count - direct));
            }
        }
    }
}

/// Writes the parts as one, as far as the kernel takes them, and never raises `SIGPIPE`.
///
/// # Errors
/// Whatever sendmsg(2) says; an interrupted call is made again.
pub fn send_gathered(fd: BorrowedFd<'_>, parts: &[io::IoSlice<'_>]) -> io::Result<usize> {
    #[cfg(any(target_os = "macos", target_os = "ios"))]
    const FLAGS: i32 = libc::MSG_DONTWAIT;
    #[cfg(not(any(target_os = "macos", target_os = "ios")))]
    const FLAGS: i32 = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    loop {
        let result = if let [only] = parts {
            // SAFETY: the pointer and length are those of a live slice.
            unsafe { libc::send(fd.as_raw_fd(), only.as_ptr().cast(), only.len(), FLAGS) }
        } else {
            // SAFETY: msghdr is plain data for which all zeros are a value.
            let mut message: libc::msghdr = unsafe { mem::zeroed() };
            // IoSlice is documented to have the layout of iovec.
            message.msg_iov = parts.as_ptr().cast_mut().cast();
            message.msg_iovlen = parts.len().min(MAX_GATHERED) as _;
            // SAFETY: the message points to live slices, which sendmsg only reads.
            unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const message, FLAGS) }
        };
        match check_size(result) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
