//! Sockets that listen: made, taken over, and asked for connections.

use std::ffi::CString;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use socket2::{Domain, SockAddr, SockRef, Type};

use super::socket::{duplicate, is_listening, set_nonblocking, stream_socket};

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
    let socket = stream_socket(Domain::for_address(*address))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!sharing.dual)?;
    }
    if sharing.reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&(*address).into())?;
    Ok(socket.into())
}

/// A Unix socket with a file at `path`, which takes no connections yet.
///
/// # Errors
/// Whatever socket(2) or bind(2) refuse, or that the path is too long.
pub fn bind_unix(path: &Path) -> io::Result<OwnedFd> {
    let socket = stream_socket(Domain::UNIX)?;
    socket.bind(&SockAddr::unix(path)?)?;
    Ok(socket.into())
}

/// Whether the machine has no such address to bind to.
pub fn is_address_absent(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL | libc::EPROTONOSUPPORT)
    )
}

/// Lets a bound socket take connections. `backlog`: how many may wait, as far as the system allows;
/// `None`: as many as it does.
///
/// # Errors
/// Whatever listen(2) refuses.
pub fn start_listening(fd: BorrowedFd<'_>, backlog: Option<i32>) -> io::Result<()> {
    SockRef::from(&fd).listen(backlog.unwrap_or(libc::SOMAXCONN))
}

/// Takes the next waiting connection, non-blocking and closed on exec.
///
/// # Errors
/// `WouldBlock` if none waits, `EMFILE` and its kin, or an error of that one connection.
pub fn accept(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let (socket, _) = SockRef::from(&fd).accept()?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Whether accepting would fail again at once: something has run out, or the program has closed
/// the descriptor behind our back, as some do when they go into the background.
pub fn is_lasting(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::EMFILE
                | libc::ENFILE
                | libc::ENOBUFS
                | libc::ENOMEM
                | libc::EBADF
                | libc::ENOTSOCK
                | libc::EINVAL
        )
    )
}

/// A descriptor of our own for a socket that somebody else has made to listen: non-blocking, which
/// it then is for its other owners too, and closed on exec.
///
/// # Errors
/// What is wrong with it, in words, or whatever fcntl(2) and getsockopt(2) refuse.
pub fn take_listening(fd: RawFd) -> io::Result<OwnedFd> {
    let own = duplicate(fd)?;
    match SockRef::from(&own).r#type() {
        Ok(Type::STREAM) => {}
        Ok(_) => return Err(io::Error::other("it is no stream socket")),
        Err(error) if error.raw_os_error() == Some(libc::ENOTSOCK) => {
            return Err(io::Error::other("it is no socket"))
        }
        Err(error) => return Err(error),
    }
    if !is_listening(own.as_fd())? {
        return Err(io::Error::other("the socket does not listen"));
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
