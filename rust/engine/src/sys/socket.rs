//! Making sockets, connecting them, and their options.

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use super::address::{is_connected, RawAddress};
use super::{check, own};

pub(super) fn set_option(fd: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: the pointer and length describe a live i32, and fd is open while it is borrowed.
    check(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            mem::size_of::<i32>() as libc::socklen_t,
        )
    })?;
    Ok(())
}

/// Turns Nagle's algorithm off: whoever queues a message wants it on its way.
pub fn set_nodelay(fd: BorrowedFd<'_>) {
    // A socket that is not TCP has no such option and needs none.
    let _ = set_option(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
}

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn stream_socket(family: i32) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: socket() takes no pointers; the descriptor is new and ours.
    Ok(unsafe { own(check(libc::socket(family, kind, 0))?) })
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn stream_socket(family: i32) -> io::Result<OwnedFd> {
    // SAFETY: socket() takes no pointers; the descriptor is new and ours.
    let fd = unsafe { own(check(libc::socket(family, libc::SOCK_STREAM, 0))?) };
    prepare(&fd)?;
    Ok(fd)
}

/// Makes calls on a socket return at once, for every descriptor of it. Where sending could raise
/// `SIGPIPE` otherwise, it never will.
///
/// # Errors
/// Whatever fcntl(2) says.
pub fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: fcntl with these commands takes integers only; fd is open while it is borrowed.
    unsafe {
        let flags = check(libc::fcntl(fd.as_raw_fd(), libc::F_GETFL))?;
        check(libc::fcntl(
            fd.as_raw_fd(),
            libc::F_SETFL,
            flags | libc::O_NONBLOCK,
        ))?;
    }
    #[cfg(any(target_os = "macos", target_os = "ios"))]
    set_option(fd, libc::SOL_SOCKET, libc::SO_NOSIGPIPE, 1)?;
    Ok(())
}

/// A descriptor of our own, closed on exec, for whatever `fd` stands for.
///
/// # Errors
/// Whatever fcntl(2) says, `EBADF` for a number that is no descriptor.
pub fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl with this command takes integers only; the descriptor it makes is ours.
    Ok(unsafe { own(check(libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3))?) })
}

/// What keeps a descriptor from being used as one end of a stream.
///
/// # Errors
/// What it is instead, or whatever the system says.
pub fn check_connected_stream(fd: BorrowedFd<'_>) -> io::Result<()> {
    if get_option(fd, libc::SO_TYPE)? != libc::SOCK_STREAM {
        return Err(io::Error::other("the socket is not a stream socket"));
    }
    if get_option(fd, libc::SO_ACCEPTCONN)? != 0 {
        return Err(io::Error::other("the socket is a listening one"));
    }
    if !is_connected(fd) {
        return Err(io::Error::other("the socket is not connected"));
    }
    Ok(())
}

/// What `SOCK_NONBLOCK | SOCK_CLOEXEC` and `MSG_NOSIGNAL` do where the system lacks them.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn prepare(fd: &OwnedFd) -> io::Result<()> {
    // SAFETY: fcntl with this command takes integers only; fd is open.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) })?;
    set_nonblocking(fd.as_fd())
}

/// Begins to connect. The answer is known when the socket is writable: ask [`take_error`].
///
/// # Errors
/// Whatever socket(2) or connect(2) refuse at once.
pub fn connect(address: &SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let fd = stream_socket(family)?;
    set_nodelay(fd.as_fd());
    begin_to_connect(fd, &RawAddress::new(address))
}

/// Begins to connect to a Unix socket, in the same way.
///
/// # Errors
/// Whatever socket(2) or connect(2) refuse, `WouldBlock` for a listener whose queue is full.
pub fn connect_unix(path: &Path) -> io::Result<OwnedFd> {
    let raw = RawAddress::unix(path)?;
    begin_to_connect(stream_socket(libc::AF_UNIX)?, &raw)
}

fn begin_to_connect(fd: OwnedFd, raw: &RawAddress) -> io::Result<OwnedFd> {
    // SAFETY: the pointer and length describe `raw`, which outlives the call.
    match check(unsafe { libc::connect(fd.as_raw_fd(), raw.pointer(), raw.length) }) {
        Ok(_) => Ok(fd),
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(fd),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(fd),
        Err(error) => Err(error),
    }
}

pub(super) fn get_option(fd: BorrowedFd<'_>, name: i32) -> io::Result<i32> {
    let mut value: i32 = 0;
    let mut length = mem::size_of::<i32>() as libc::socklen_t;
    // SAFETY: the pointers describe a live i32 and its length.
    check(unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            (&raw mut value).cast(),
            &raw mut length,
        )
    })?;
    Ok(value)
}

/// Takes the pending error of a socket (`SO_ERROR`): how a connect ended.
///
/// # Errors
/// That error, or the one of asking for it.
pub fn take_error(fd: BorrowedFd<'_>) -> io::Result<()> {
    match get_option(fd, libc::SO_ERROR)? {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Ends a connection for all of its descriptors.
pub fn shutdown(fd: BorrowedFd<'_>) {
    // SAFETY: shutdown takes integers only. Its failure means that the stream has ended anyway.
    unsafe { libc::shutdown(fd.as_raw_fd(), libc::SHUT_RDWR) };
}

/// Tells the peer that nothing more will be sent.
pub fn shutdown_write(fd: BorrowedFd<'_>) {
    // SAFETY: shutdown takes integers only. Its failure means that the stream has ended anyway.
    unsafe { libc::shutdown(fd.as_raw_fd(), libc::SHUT_WR) };
}

/// When this socket is closed, its connection is reset, and what the kernel still holds for the
/// peer is thrown away (`SO_LINGER` with no time; RFC 9293 section 3.10.5).
pub fn reset_on_close(fd: BorrowedFd<'_>) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: the pointer and length describe a live linger, and fd is open while it is borrowed.
    // Where the option is not known, closing does what it always does.
    unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            mem::size_of::<libc::linger>() as libc::socklen_t,
        )
    };
}
