//! Sockets that listen: made, taken over, and asked for connections.

use std::ffi::CString;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use super::address::RawAddress;
use super::socket::{duplicate, get_option, set_nonblocking, set_option, stream_socket};
use super::{check, own};

/// How a port is listened on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sharing {
    /// An IPv6 socket takes IPv4 as well.
    pub dual: bool,
    /// Further sockets may be bound to the same port (`SO_REUSEPORT`).
    pub reuse_port: bool,
}

/// A socket with `SO_REUSEADDR` that is bound to `address`, and takes no connections yet.
///
/// # Errors
/// Whatever socket(2), setsockopt(2) or bind(2) refuse.
pub fn bind(address: &SocketAddr, sharing: Sharing) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let fd = stream_socket(family)?;
    set_option(fd.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    if family == libc::AF_INET6 {
        set_option(
            fd.as_fd(),
            libc::IPPROTO_IPV6,
            libc::IPV6_V6ONLY,
            i32::from(!sharing.dual),
        )?;
    }
    if sharing.reuse_port {
        set_option(fd.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    }
    bind_raw(&fd, &RawAddress::new(address))?;
    Ok(fd)
}

/// A Unix socket with a file at `path`, which takes no connections yet.
///
/// # Errors
/// Whatever socket(2) or bind(2) refuse.
pub fn bind_unix(path: &Path) -> io::Result<OwnedFd> {
    let raw = RawAddress::unix(path)?;
    let fd = stream_socket(libc::AF_UNIX)?;
    bind_raw(&fd, &raw)?;
    Ok(fd)
}

fn bind_raw(fd: &OwnedFd, raw: &RawAddress) -> io::Result<()> {
    // SAFETY: the pointer and length describe `raw`, which outlives the call; fd is open.
    check(unsafe { libc::bind(fd.as_raw_fd(), raw.pointer(), raw.length) })?;
    Ok(())
}

/// Lets a bound socket take connections. `backlog`: how many may wait, as far as the system allows;
/// `None`: as many as it does.
///
/// # Errors
/// Whatever listen(2) refuses.
pub fn start_listening(fd: BorrowedFd<'_>, backlog: Option<i32>) -> io::Result<()> {
    let backlog = backlog.unwrap_or(libc::SOMAXCONN);
    // SAFETY: listen takes integers only; fd is open.
    check(unsafe { libc::listen(fd.as_raw_fd(), backlog) })?;
    Ok(())
}

/// Takes the next waiting connection, non-blocking and closed on exec.
///
/// # Errors
/// `WouldBlock` if none waits, `EMFILE` and its kin, or an error of that one connection.
pub fn accept(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    // SAFETY: accept4 may be given null for the address; the descriptor it makes is ours.
    let accepted = unsafe {
        own(check(libc::accept4(
            fd.as_raw_fd(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
        ))?)
    };
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let accepted = {
        // SAFETY: accept may be given null for the address; the descriptor it makes is ours.
        let new = unsafe {
            own(check(libc::accept(
                fd.as_raw_fd(),
                std::ptr::null_mut(),
                std::ptr::null_mut(),
            ))?)
        };
        super::socket::prepare(&new)?;
        new
    };
    Ok(accepted)
}

/// A descriptor of our own for a socket that somebody else has made to listen: non-blocking, which
/// it then is for its other owners too, and closed on exec.
///
/// # Errors
/// What is wrong with it, in words, or whatever fcntl(2) and getsockopt(2) refuse.
pub fn take_listening(fd: RawFd) -> io::Result<OwnedFd> {
    let other = |text: &str| io::Error::other(text.to_owned());
    let own = duplicate(fd)?;
    match get_option(own.as_fd(), libc::SO_TYPE) {
        Ok(libc::SOCK_STREAM) => {}
        Ok(_) => return Err(other("it is no stream socket")),
        Err(error) if error.raw_os_error() == Some(libc::ENOTSOCK) => {
            return Err(other("it is no socket"))
        }
        Err(error) => return Err(error),
    }
    if get_option(own.as_fd(), libc::SO_ACCEPTCONN)? == 0 {
        return Err(other("the socket does not listen"));
    }
    set_nonblocking(own.as_fd())?;
    Ok(own)
}

/// The number of a network interface; `None`: there is none of that name.
pub fn interface_index(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: the pointer is that of a live string with a NUL at its end.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}
