//! Every call into the operating system, and all of this crate's `unsafe`.
//!
//! Descriptors are owned (`OwnedFd`) or borrowed (`BorrowedFd`) everywhere, so that no function
//! here can touch one that someone else has closed.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The most buffers one gathered write takes.
pub const MAX_GATHERED: usize = 64;

/// The longest path of a Unix socket, in bytes: a NUL has to follow.
pub const UNIX_PATH_MAX: usize =
    mem::size_of::<libc::sockaddr_un>() - mem::offset_of!(libc::sockaddr_un, sun_path) - 1;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn check_size(result: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// # Safety
/// `fd` must be a descriptor that was just made and that nothing else owns.
unsafe fn own(fd: libc::c_int) -> OwnedFd {
    // SAFETY: the caller hands over the only ownership of an open descriptor.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn set_option(fd: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
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
fn stream_socket(family: i32) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: socket() takes no pointers; the descriptor is new and ours.
    Ok(unsafe { own(check(libc::socket(family, kind, 0))?) })
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn stream_socket(family: i32) -> io::Result<OwnedFd> {
    // SAFETY: socket() takes no pointers; the descriptor is new and ours.
    let fd = unsafe { own(check(libc::socket(family, libc::SOCK_STREAM, 0))?) };
    prepare(&fd)?;
    Ok(fd)
}

/// What `SOCK_NONBLOCK | SOCK_CLOEXEC` and `MSG_NOSIGNAL` do where the system lacks them.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn prepare(fd: &OwnedFd) -> io::Result<()> {
    use std::os::fd::AsFd;
    // SAFETY: fcntl with these commands takes integers only; fd is open.
    unsafe {
        check(libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC))?;
        let flags = check(libc::fcntl(fd.as_raw_fd(), libc::F_GETFL))?;
        check(libc::fcntl(
            fd.as_raw_fd(),
            libc::F_SETFL,
            flags | libc::O_NONBLOCK,
        ))?;
    }
    #[cfg(any(target_os = "macos", target_os = "ios"))]
    set_option(fd.as_fd(), libc::SOL_SOCKET, libc::SO_NOSIGPIPE, 1)?;
    let _ = fd.as_fd();
    Ok(())
}

/// A socket address in the form that the system calls take.
struct RawAddress {
    storage: libc::sockaddr_storage,
    length: libc::socklen_t,
}

impl RawAddress {
    fn empty() -> Self {
        RawAddress {
            // SAFETY: sockaddr_storage is plain data for which all zeros are a value.
            storage: unsafe { mem::zeroed() },
            length: mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t,
        }
    }

    fn new(address: &SocketAddr) -> Self {
        let mut raw = RawAddress::empty();
        match address {
            SocketAddr::V4(v4) => {
                // SAFETY: sockaddr_storage is large enough and aligned for every address family.
                let to = unsafe { &mut *(&raw mut raw.storage).cast::<libc::sockaddr_in>() };
                to.sin_family = libc::AF_INET as libc::sa_family_t;
                to.sin_port = v4.port().to_be();
                to.sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
                raw.length = mem::size_of::<libc::sockaddr_in>() as libc::socklen_t;
            }
            SocketAddr::V6(v6) => {
                // SAFETY: sockaddr_storage is large enough and aligned for every address family.
                let to = unsafe { &mut *(&raw mut raw.storage).cast::<libc::sockaddr_in6>() };
                to.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                to.sin6_port = v6.port().to_be();
                to.sin6_addr.s6_addr = v6.ip().octets();
                to.sin6_flowinfo = v6.flowinfo();
                to.sin6_scope_id = v6.scope_id();
                raw.length = mem::size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            }
        }
        raw
    }

    fn unix(path: &Path) -> io::Result<Self> {
        let bytes = path.as_os_str().as_bytes();
        if bytes.is_empty() || bytes.len() > UNIX_PATH_MAX || bytes.contains(&0) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut raw = RawAddress::empty();
        // SAFETY: sockaddr_storage is large enough and aligned for every address family.
        let to = unsafe { &mut *(&raw mut raw.storage).cast::<libc::sockaddr_un>() };
        to.sun_family = libc::AF_UNIX as libc::sa_family_t;
        for (to, from) in to.sun_path.iter_mut().zip(bytes) {
            *to = *from as libc::c_char;
        }
        raw.length = mem::size_of::<libc::sockaddr_un>() as libc::socklen_t;
        Ok(raw)
    }

    fn pointer(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }

    fn decode(&self) -> Option<SocketAddr> {
        match i32::from(self.storage.ss_family) {
            libc::AF_INET => {
                // SAFETY: the kernel wrote a sockaddr_in, as the family says.
                let from = unsafe { &*(&raw const self.storage).cast::<libc::sockaddr_in>() };
                let ip = Ipv4Addr::from(from.sin_addr.s_addr.to_ne_bytes());
                Some(SocketAddrV4::new(ip, u16::from_be(from.sin_port)).into())
            }
            libc::AF_INET6 => {
                // SAFETY: the kernel wrote a sockaddr_in6, as the family says.
                let from = unsafe { &*(&raw const self.storage).cast::<libc::sockaddr_in6>() };
                let ip = Ipv6Addr::from(from.sin6_addr.s6_addr);
                let port = u16::from_be(from.sin6_port);
                Some(SocketAddrV6::new(ip, port, from.sin6_flowinfo, from.sin6_scope_id).into())
            }
            _ => None,
        }
    }
}

/// Begins to connect. The answer is known when the socket is writable: ask [`take_error`].
///
/// # Errors
/// Whatever socket(2) or connect(2) refuse at once.
pub fn connect(address: &SocketAddr) -> io::Result<OwnedFd> {
    use std::os::fd::AsFd;
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

/// Takes the pending error of a socket (`SO_ERROR`): how a connect ended.
///
/// # Errors
/// That error, or the one of asking for it.
pub fn take_error(fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut error: i32 = 0;
    let mut length = mem::size_of::<i32>() as libc::socklen_t;
    // SAFETY: the pointers describe a live i32 and its length.
    check(unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ERROR,
            (&raw mut error).cast(),
            &raw mut length,
        )
    })?;
    if error == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(error))
    }
}

/// A listening socket on `address` with `SO_REUSEADDR`; an IPv6 one takes IPv4 too if `dual`.
///
/// # Errors
/// Whatever socket(2), bind(2) or listen(2) refuse.
pub fn listen(address: &SocketAddr, dual: bool) -> io::Result<OwnedFd> {
    use std::os::fd::AsFd;
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
            i32::from(!dual),
        )?;
    }
    let raw = RawAddress::new(address);
    // SAFETY: the pointer and length describe `raw`, which outlives the call; fd is open.
    check(unsafe { libc::bind(fd.as_raw_fd(), raw.pointer(), raw.length) })?;
    start_listening(fd.as_fd())?;
    Ok(fd)
}

/// A Unix socket with a file at `path`, which takes no connections yet.
///
/// # Errors
/// Whatever socket(2) or bind(2) refuse.
pub fn bind_unix(path: &Path) -> io::Result<OwnedFd> {
    let raw = RawAddress::unix(path)?;
    let fd = stream_socket(libc::AF_UNIX)?;
    // SAFETY: the pointer and length describe `raw`, which outlives the call; fd is open.
    check(unsafe { libc::bind(fd.as_raw_fd(), raw.pointer(), raw.length) })?;
    Ok(fd)
}

/// Lets a bound socket take connections.
///
/// # Errors
/// Whatever listen(2) refuses.
pub fn start_listening(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: listen takes integers only; fd is open.
    check(unsafe { libc::listen(fd.as_raw_fd(), libc::SOMAXCONN) })?;
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
        prepare(&new)?;
        new
    };
    Ok(accepted)
}

/// The address that a socket is bound to.
///
/// # Errors
/// Whatever getsockname(2) says, or that the family is not an Internet one.
pub fn local_address(fd: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    let mut raw = RawAddress::empty();
    // SAFETY: both pointers describe `raw`, which has room for every address.
    check(unsafe {
        libc::getsockname(
            fd.as_raw_fd(),
            (&raw mut raw.storage).cast(),
            &raw mut raw.length,
        )
    })?;
    raw.decode()
        .ok_or_else(|| io::ErrorKind::Unsupported.into())
}

/// The address of the other end, if there is one and it is an Internet address.
pub fn peer_address(fd: BorrowedFd<'_>) -> Option<SocketAddr> {
    let mut raw = RawAddress::empty();
    // SAFETY: both pointers describe `raw`, which has room for every address.
    check(unsafe {
        libc::getpeername(
            fd.as_raw_fd(),
            (&raw mut raw.storage).cast(),
            &raw mut raw.length,
        )
    })
    .ok()?;
    raw.decode()
}

/// Reads what is there into `buffer`. 0 is the end of the stream.
///
/// # Errors
/// Whatever recv(2) says; an interrupted call is made again.
pub fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        // SAFETY: the pointer and length are those of a live, writable slice.
        let result = check_size(unsafe {
            libc::recv(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0)
        });
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// The first byte that waits to be read, which stays there; `None` is the end of the stream.
///
/// # Errors
/// Whatever recv(2) says; an interrupted call is made again.
pub fn peek(fd: BorrowedFd<'_>) -> io::Result<Option<u8>> {
    let mut first = 0u8;
    loop {
        // SAFETY: the pointer is that of one live byte.
        let result = check_size(unsafe {
            libc::recv(fd.as_raw_fd(), (&raw mut first).cast(), 1, libc::MSG_PEEK)
        });
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result.map(|count| (count > 0).then_some(first)),
        }
    }
}

/// Reads first into at most `wanted` bytes of the spare capacity of `first`, which grows by what
/// was read, and what is beyond into `second`. Returns how many bytes went into each.
///
/// # Errors
/// Whatever readv(2) says; an interrupted call is made again.
pub fn receive_two(
    fd: BorrowedFd<'_>,
    first: &mut Vec<u8>,
    wanted: usize,
    second: &mut [u8],
) -> io::Result<(usize, usize)> {
    loop {
        let spare = first.spare_capacity_mut();
        let room = spare.len().min(wanted);
        let parts = [
            libc::iovec {
                iov_base: spare.as_mut_ptr().cast(),
                iov_len: room,
            },
            libc::iovec {
                iov_base: second.as_mut_ptr().cast(),
                iov_len: second.len(),
            },
        ];
        // SAFETY: each part describes writable memory of its length: spare capacity, and a slice.
        let result =
            check_size(unsafe { libc::readv(fd.as_raw_fd(), parts.as_ptr(), parts.len() as i32) });
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
    const FLAGS: i32 = 0;
    #[cfg(not(any(target_os = "macos", target_os = "ios")))]
    const FLAGS: i32 = libc::MSG_NOSIGNAL;
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

/// Tells the peer that nothing more will be sent.
pub fn shutdown_write(fd: BorrowedFd<'_>) {
    // SAFETY: shutdown takes integers only. Its failure means that the stream has ended anyway.
    unsafe { libc::shutdown(fd.as_raw_fd(), libc::SHUT_WR) };
}

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

/// The signals that were blocked before; they are again when this goes.
struct SignalMask(libc::sigset_t);

impl Drop for SignalMask {
    fn drop(&mut self) {
        // SAFETY: the set was filled when it was made.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut())
        };
    }
}

/// Runs `work` with every signal blocked, so that threads it starts never take one from Perl.
/// A panic in it leaves the thread with its signals, too.
pub fn with_signals_blocked<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: both sets are plain data which the calls fill before they are read.
    let before = unsafe {
        let mut all: libc::sigset_t = mem::zeroed();
        let mut before: libc::sigset_t = mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        SignalMask(before)
    };
    let result = work();
    drop(before);
    result
}

/// The id of this process, which tells a forked child from its parent.
pub fn process_id() -> u32 {
    std::process::id()
}
