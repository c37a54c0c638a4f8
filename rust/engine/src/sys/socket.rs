//! Making sockets, connecting them, their addresses and their options: socket2, with what every
//! socket here has in common.

use std::io;
use std::mem;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use super::{check, own};

/// The longest path of a Unix socket, in bytes: a NUL has to follow.
pub const UNIX_PATH_MAX: usize =
    mem::size_of::<libc::sockaddr_un>() - mem::offset_of!(libc::sockaddr_un, sun_path) - 1;

/// A non-blocking stream socket that is closed on exec.
pub(super) fn stream_socket(domain: Domain) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Begins to connect. The answer is known when the socket is writable: ask [`take_error`].
///
/// # Errors
/// Whatever socket(2) or connect(2) refuse at once.
pub fn connect(address: &SocketAddr) -> io::Result<OwnedFd> {
    let socket = stream_socket(Domain::for_address(*address))?;
    set_nodelay(socket.as_fd());
    begin_to_connect(socket, &(*address).into())
}

/// Begins to connect to a Unix socket, in the same way.
///
/// # Errors
/// Whatever socket(2) or connect(2) refuse, `WouldBlock` for a listener whose queue is full.
pub fn connect_unix(path: &Path) -> io::Result<OwnedFd> {
    let address = SockAddr::unix(path)?;
    begin_to_connect(stream_socket(Domain::UNIX)?, &address)
}

fn begin_to_connect(socket: Socket, address: &SockAddr) -> io::Result<OwnedFd> {
    match socket.connect(address) {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
        result => result?,
    }
    Ok(socket.into())
}

/// Takes the pending error of a socket (`SO_ERROR`): how a connect ended.
///
/// # Errors
/// That error, or the one of asking for it.
pub fn take_error(fd: BorrowedFd<'_>) -> io::Result<()> {
    SockRef::from(&fd).take_error()?.map_or(Ok(()), Err)
}

/// The address that a socket is bound to.
///
/// # Errors
/// Whatever getsockname(2) says, or that the family is not an Internet one.
pub fn local_address(fd: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    let address = SockRef::from(&fd).local_addr()?;
    address
        .as_socket()
        .ok_or_else(|| io::ErrorKind::Unsupported.into())
}

/// The path that a Unix socket is bound to; an abstract one begins with a NUL. `None`: it is another
/// kind of socket, or has none.
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

/// The address of the other end, if there is one and it is an Internet address.
pub fn peer_address(fd: BorrowedFd<'_>) -> Option<SocketAddr> {
    SockRef::from(&fd).peer_addr().ok()?.as_socket()
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

/// Makes calls on a socket return at once, for every descriptor of it. Where sending could raise
/// `SIGPIPE` otherwise, it never will.
///
/// # Errors
/// Whatever fcntl(2) says.
pub fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    let socket = SockRef::from(&fd);
    #[cfg(any(target_os = "macos", target_os = "ios"))]
    socket.set_nosigpipe(true)?;
    socket.set_nonblocking(true)
}

/// Turns Nagle's algorithm off: whoever queues a message wants it on its way.
pub fn set_nodelay(fd: BorrowedFd<'_>) {
    // A socket that is not TCP has no such option and needs none.
    let _ = SockRef::from(&fd).set_tcp_nodelay(true);
}

/// Ends a connection for all of its descriptors.
pub fn shutdown(fd: BorrowedFd<'_>) {
    // A failure means that the stream has ended anyway.
    let _ = SockRef::from(&fd).shutdown(Shutdown::Both);
}

/// Tells the peer that nothing more will be sent.
pub fn shutdown_write(fd: BorrowedFd<'_>) {
    // A failure means that the stream has ended anyway.
    let _ = SockRef::from(&fd).shutdown(Shutdown::Write);
}

/// When this socket is closed, its connection is reset, and what the kernel still holds for the
/// peer is thrown away (`SO_LINGER` with no time; RFC 9293 section 3.10.5).
pub fn reset_on_close(fd: BorrowedFd<'_>) {
    // Where the option is not known, closing does what it always does.
    let _ = SockRef::from(&fd).set_linger(Some(Duration::ZERO));
}
