//! Listening sockets: making them, taking them over, and accepting connections.

use std::ffi::CString;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use socket2::{Domain, SockAddr, SockRef, Type};

use super::socket::{above_standard, duplicate, is_listening, set_nonblocking, stream_socket};
use super::{check, own};

/// What a listening socket is bound with.
#[derive(Clone, Copy, Debug, Default)]
pub struct BindOptions {
    /// An IPv6 socket takes IPv4 connections as well.
    pub dual_stack: bool,
    /// Further sockets may be bound to the same port (`SO_REUSEPORT`).
    pub reuse_port: bool,
}

/// A socket with `SO_REUSEADDR` that is bound to `address`, and does not listen yet.
///
/// # Errors
/// The errors of socket(2), setsockopt(2) and bind(2).
pub fn bind(address: &SocketAddr, options: BindOptions) -> io::Result<OwnedFd> {
    let socket = stream_socket(Domain::for_address(*address))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!options.dual_stack)?;
    }
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&(*address).into())?;
    Ok(socket.into())
}

/// A Unix socket with a file at `path`, which does not listen yet.
///
/// # Errors
/// The errors of socket(2) and bind(2), or that the path is too long.
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

/// Makes a bound socket listen. `backlog`: how many connections may wait, as far as the system allows;
/// `None`: as many as the system allows.
///
/// # Errors
/// The errors of listen(2).
pub fn start_listening(fd: BorrowedFd<'_>, backlog: Option<i32>) -> io::Result<()> {
    SockRef::from(&fd).listen(backlog.unwrap_or(libc::SOMAXCONN))
}

/// Takes the next waiting connection, non-blocking and closed on exec.
///
/// # Errors
/// `WouldBlock` if no connection waits, an error for which [`is_lasting`] holds, or one of that single
/// connection.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn accept(fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
    // In one call, which socket2 would follow by two for the flag.
    const FLAGS: libc::c_int = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: accept4 writes an address into the storage and its length behind it; the descriptor is new and ours.
    let (accepted, peer) = unsafe {
        SockAddr::try_init(|storage, length| {
            let accepted = libc::accept4(fd.as_raw_fd(), storage.cast(), length, FLAGS);
            check(accepted).map(|accepted| own(accepted))
        })?
    };
    Ok((above_standard(accepted)?, peer.as_socket()))
}

/// Takes the next waiting connection, non-blocking and closed on exec.
///
/// # Errors
/// `WouldBlock` if no connection waits, an error for which [`is_lasting`] holds, or one of that single
/// connection.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn accept(fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
    let (socket, peer) = SockRef::from(&fd).accept()?;
    socket.set_nonblocking(true)?;
    Ok((above_standard(socket.into())?, peer.as_socket()))
}

/// Whether accepting would fail again at once: descriptors or memory have run out, or the program has
/// closed our descriptor, as some programs do when they go into the background.
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

/// A duplicate of the descriptor of a socket that listens already: non-blocking, which the socket then
/// is for its other owners too, and closed on exec.
///
/// # Errors
/// A text if it is no listening stream socket, and the errors of fcntl(2).
pub fn take_listening(fd: RawFd) -> io::Result<OwnedFd> {
    let own = duplicate(fd)?;
    match SockRef::from(&own).r#type() {
        Ok(Type::STREAM) => {}
        Ok(_) => return Err(io::Error::other("it is no stream socket")),
        Err(_) => return Err(io::Error::other("it is no socket")),
    }
    if !is_listening(own.as_fd())? {
        return Err(io::Error::other("the socket does not listen"));
    }
    set_nonblocking(own.as_fd())?;
    Ok(own)
}

/// The number of a network interface; `None`: no interface has that name.
pub fn interface_index(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: the pointer is that of a live string with a NUL at its end.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After an error that stays the loop must not be called again at once; one that is a single client's must not keep the
    /// others waiting.
    #[test]
    fn what_ends_accepting_for_a_while_is_no_error_of_one_client() {
        for (number, lasts) in [
            (libc::EMFILE, true),
            (libc::ENFILE, true),
            (libc::ENOMEM, true),
            (libc::EBADF, true),
            (libc::ECONNABORTED, false),
            (libc::EPROTO, false),
            (libc::EPERM, false),
        ] {
            let error = io::Error::from_raw_os_error(number);
            assert_eq!(is_lasting(&error), lasts, "{error}");
        }
    }

    #[test]
    fn what_is_taken_over_listens_already() {
        let (client, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        for (fd, expected) in [
            (client.as_raw_fd(), "the socket does not listen"),
            (datagrams.as_raw_fd(), "it is no stream socket"),
            (file.as_raw_fd(), "it is no socket"),
        ] {
            assert_eq!(take_listening(fd).unwrap_err().to_string(), expected);
        }
        let ours = take_listening(listener.as_raw_fd()).unwrap();
        let waits = accept(ours.as_fd()).unwrap_err();
        assert_eq!(waits.kind(), io::ErrorKind::WouldBlock);
    }
}
