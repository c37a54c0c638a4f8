//! Making sockets and connecting them, their addresses and their options, by socket2.

use std::io;
use std::mem;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use super::{check, own};

/// The longest path of a Unix socket, in bytes: a NUL has to follow it.
pub const UNIX_PATH_MAX: usize =
    mem::size_of::<libc::sockaddr_un>() - mem::offset_of!(libc::sockaddr_un, sun_path) - 1;

/// A non-blocking stream socket that is closed on exec.
pub(super) fn stream_socket(domain: Domain) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    Ok(above_standard(socket.into())?.into())
}

/// The same, but not as descriptor 0, 1 or 2, which a program has been started without, or has closed: what others
/// write there, as their standard error, would be in a peer's stream.
///
/// # Errors
/// The errors of fcntl(2).
pub(super) fn above_standard(fd: OwnedFd) -> io::Result<OwnedFd> {
    match fd.as_raw_fd() {
        0..=2 => duplicate(fd.as_raw_fd()),
        _ => Ok(fd),
    }
}

/// Begins to connect. [`take_error`] knows the outcome when the socket is writable.
///
/// # Errors
/// The errors that socket(2) and connect(2) return at once.
pub fn connect(address: &SocketAddr) -> io::Result<OwnedFd> {
    let socket = stream_socket(Domain::for_address(*address))?;
    set_nodelay(socket.as_fd());
    begin_to_connect(socket, &(*address).into())
}

/// Begins to connect to a Unix socket, as [`connect`] does to an address.
///
/// # Errors
/// The errors of socket(2) and connect(2); `WouldBlock` for a listener whose queue is full.
pub fn connect_unix(path: &Path) -> io::Result<OwnedFd> {
    let address = SockAddr::unix(path)?;
    begin_to_connect(stream_socket(Domain::UNIX)?, &address)
}

fn begin_to_connect(socket: Socket, address: &SockAddr) -> io::Result<OwnedFd> {
    match socket.connect(address) {
        Err(error) if is_under_way(&error) => {}
        result => result?,
    }
    Ok(socket.into())
}

/// Whether connecting goes on although connect(2) has failed: a signal does not end it, either.
fn is_under_way(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR))
}

/// Takes the pending error of a socket (`SO_ERROR`), which says how connecting has ended.
///
/// # Errors
/// The pending error, or the one of getsockopt(2).
pub fn take_error(fd: BorrowedFd<'_>) -> io::Result<()> {
    SockRef::from(&fd).take_error()?.map_or(Ok(()), Err)
}

/// The address that a socket is bound to.
///
/// # Errors
/// The errors of getsockname(2), and `Unsupported` for a socket that is not of an Internet family.
pub fn local_address(fd: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    let address = SockRef::from(&fd).local_addr()?;
    address
        .as_socket()
        .ok_or_else(|| io::ErrorKind::Unsupported.into())
}

/// The path that a Unix socket is bound to; an abstract path begins with a NUL. `None`: it is another
/// kind of socket, or has no path.
pub fn local_path(fd: BorrowedFd<'_>) -> Option<Vec<u8>> {
    let address = SockRef::from(&fd).local_addr().ok()?;
    if !address.is_unix() {
        return None;
    }
    // SAFETY: the storage has room for every address, and the kernel wrote a sockaddr_un, as the family says.
    let unix = unsafe { &*address.as_ptr().cast::<libc::sockaddr_un>() };
    let length =
        (address.len() as usize).checked_sub(mem::offset_of!(libc::sockaddr_un, sun_path))?;
    let bytes = unix.sun_path.get(..length.min(unix.sun_path.len()))?;
    let mut path: Vec<u8> = bytes.iter().map(|&byte| byte as u8).collect();
    if path.first().is_some_and(|&first| first != 0) {
        // Some systems count a NUL at the end, and some do not: socket2 takes it for granted.
        while path.last() == Some(&0) {
            path.pop();
        }
    }
    (!path.is_empty()).then_some(path)
}

/// The peer's address, if the socket is connected and the address is an Internet one.
pub fn peer_address(fd: BorrowedFd<'_>) -> Option<SocketAddr> {
    SockRef::from(&fd).peer_addr().ok()?.as_socket()
}

/// A duplicate of a descriptor, closed on exec, and none of the standard ones.
///
/// # Errors
/// The errors of fcntl(2); `EBADF` for a number that is no descriptor.
pub fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl with this command takes integers only; the descriptor it makes is ours.
    Ok(unsafe { own(check(libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3))?) })
}

/// Checks that a descriptor is that of a connected stream socket.
///
/// # Errors
/// A text if it is not, and the errors of getsockopt(2).
pub fn check_connected_stream(fd: BorrowedFd<'_>) -> io::Result<()> {
    let socket = SockRef::from(&fd);
    if socket.r#type()? != Type::STREAM {
        return Err(io::Error::other("the socket is not a stream socket"));
    }
    if is_listening(fd)? {
        return Err(io::Error::other("the socket is a listening one"));
    }
    match socket.peer_addr() {
        Ok(_) => Ok(()),
        Err(_) => Err(io::Error::other("the socket is not connected")),
    }
}

/// Whether a socket takes connections (`SO_ACCEPTCONN`, which socket2 has for some systems only).
pub(super) fn is_listening(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut value: libc::c_int = 0;
    let mut length = mem::size_of_val(&value) as libc::socklen_t;
    // SAFETY: the pointers describe a live integer and its length.
    check(unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ACCEPTCONN,
            (&raw mut value).cast(),
            &raw mut length,
        )
    })?;
    Ok(value != 0)
}

/// Makes a socket non-blocking, for every descriptor of it. On systems whose send(2) has no
/// `MSG_NOSIGNAL`, the socket stops raising `SIGPIPE` as well.
///
/// # Errors
/// The errors of fcntl(2) and setsockopt(2).
pub fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    let socket = SockRef::from(&fd);
    #[cfg(any(target_os = "macos", target_os = "ios"))]
    socket.set_nosigpipe(true)?;
    socket.set_nonblocking(true)
}

/// Turns Nagle's algorithm off: a message that was queued is to be sent at once.
pub fn set_nodelay(fd: BorrowedFd<'_>) {
    // A socket that is not TCP does not have this option and does not need it.
    let _ = SockRef::from(&fd).set_tcp_nodelay(true);
}

/// Bytes that were sent and that the peer has yet to acknowledge, or on a Unix socket to read; 0 where the system does not
/// tell.
#[cfg(target_os = "linux")]
pub fn unacknowledged(fd: BorrowedFd<'_>) -> u32 {
    let mut count: libc::c_int = 0;
    // SAFETY: the place is that of the integer which this request (SIOCOUTQ) writes.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    match result {
        0 => count.unsigned_abs(),
        _ => 0,
    }
}

/// Bytes that the peer has yet to acknowledge: this system does not tell.
#[cfg(not(target_os = "linux"))]
pub fn unacknowledged(_fd: BorrowedFd<'_>) -> u32 {
    0
}

/// Ends both directions of a stream, for all descriptors of the socket.
pub fn shutdown(fd: BorrowedFd<'_>) {
    // A failure means that the stream has ended anyway.
    let _ = SockRef::from(&fd).shutdown(Shutdown::Both);
}

/// Ends our direction of a stream.
pub fn shutdown_write(fd: BorrowedFd<'_>) {
    // A failure means that the stream has ended anyway.
    let _ = SockRef::from(&fd).shutdown(Shutdown::Write);
}

/// Ends a stream that could not be written to, for the peer and for those who read it here, who still get what has come
/// before. After a reset it has ended anyway; when the system has run out of memory it has not.
pub fn shutdown_unwritable(fd: BorrowedFd<'_>) {
    // Other systems drop what was received and not read yet: there the peer ends its direction.
    let how = if cfg!(any(target_os = "linux", target_os = "android")) {
        Shutdown::Both
    } else {
        Shutdown::Write
    };
    // A failure means that the stream has ended anyway.
    let _ = SockRef::from(&fd).shutdown(how);
}

/// Has the connection reset when its socket is closed; bytes that the kernel still holds for the peer
/// are thrown away (`SO_LINGER` with no time; RFC 9293 section 3.10.5).
pub fn reset_on_close(fd: BorrowedFd<'_>) {
    // Where the option is not known, closing ends the connection without a reset.
    let _ = SockRef::from(&fd).set_linger(Some(Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection was given up because a signal came at the wrong moment, and its error was that of no server.
    #[test]
    fn a_signal_does_not_end_an_attempt_to_connect() {
        for (number, expected) in [
            (libc::EINPROGRESS, true),
            (libc::EINTR, true),
            (libc::ECONNREFUSED, false),
            (libc::ENETUNREACH, false),
        ] {
            let error = io::Error::from_raw_os_error(number);
            assert_eq!(is_under_way(&error), expected, "{error}");
        }
    }

    #[test]
    fn the_longest_path_is_the_longest_that_an_address_takes() {
        for (length, fits) in [(UNIX_PATH_MAX, true), (UNIX_PATH_MAX + 1, false)] {
            assert_eq!(SockAddr::unix("x".repeat(length)).is_ok(), fits, "{length}");
        }
    }

    /// A short message behind another one waited for the acknowledgement of that.
    #[test]
    fn what_connects_sends_short_messages_at_once() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = connect(&listener.local_addr().unwrap()).unwrap();
        assert!(SockRef::from(&ours).tcp_nodelay().unwrap());
    }

    /// Its last words, a Close as a rule, are worth more than the answer that it cannot get.
    #[test]
    fn who_cannot_be_written_to_sees_the_end_and_is_read_to_it() {
        use std::io::{Read, Write};
        let (mut ours, mut peer) = std::os::unix::net::UnixStream::pair().unwrap();
        peer.write_all(b"bye").unwrap();
        peer.set_nonblocking(true).unwrap();
        ours.set_nonblocking(true).unwrap();
        shutdown_unwritable(ours.as_fd());
        assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
        let mut last = [0; 8];
        assert_eq!(ours.read(&mut last).unwrap(), 3);
    }
}
