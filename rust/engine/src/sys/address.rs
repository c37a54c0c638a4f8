//! Socket addresses in the form that the system calls take.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::check;

/// The longest path of a Unix socket, in bytes: a NUL has to follow.
pub const UNIX_PATH_MAX: usize =
    mem::size_of::<libc::sockaddr_un>() - mem::offset_of!(libc::sockaddr_un, sun_path) - 1;

/// A socket address in the form that the system calls take.
pub(super) struct RawAddress {
    storage: libc::sockaddr_storage,
    pub length: libc::socklen_t,
}

impl RawAddress {
    fn empty() -> Self {
        RawAddress {
            // SAFETY: sockaddr_storage is plain data for which all zeros are a value.
            storage: unsafe { mem::zeroed() },
            length: mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t,
        }
    }

    pub fn new(address: &SocketAddr) -> Self {
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

    pub fn unix(path: &Path) -> io::Result<Self> {
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

    pub fn pointer(&self) -> *const libc::sockaddr {
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

fn local(fd: BorrowedFd<'_>) -> io::Result<RawAddress> {
    let mut raw = RawAddress::empty();
    // SAFETY: both pointers describe `raw`, which has room for every address.
    check(unsafe {
        libc::getsockname(
            fd.as_raw_fd(),
            (&raw mut raw.storage).cast(),
            &raw mut raw.length,
        )
    })?;
    Ok(raw)
}

/// The address that a socket is bound to.
///
/// # Errors
/// Whatever getsockname(2) says, or that the family is not an Internet one.
pub fn local_address(fd: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    local(fd)?
        .decode()
        .ok_or_else(|| io::ErrorKind::Unsupported.into())
}

/// The path that a Unix socket is bound to; an abstract one begins with a NUL. `None`: it is another
/// kind of socket, or has none.
pub fn local_path(fd: BorrowedFd<'_>) -> Option<Vec<u8>> {
    let raw = local(fd).ok()?;
    if i32::from(raw.storage.ss_family) != libc::AF_UNIX {
        return None;
    }
    // SAFETY: the kernel wrote a sockaddr_un, as the family says.
    let from = unsafe { &*(&raw const raw.storage).cast::<libc::sockaddr_un>() };
    let length = (raw.length as usize).checked_sub(mem::offset_of!(libc::sockaddr_un, sun_path))?;
    let bytes = from.sun_path.get(..length.min(from.sun_path.len()))?;
    let mut path: Vec<u8> = bytes.iter().map(|&byte| byte as u8).collect();
    if path.first().is_some_and(|&first| first != 0) {
        // Some systems count a NUL at the end, and some do not.
        while path.last() == Some(&0) {
            path.pop();
        }
    }
    (!path.is_empty()).then_some(path)
}

/// The address of the other end, if there is one and it is an Internet address.
pub fn peer_address(fd: BorrowedFd<'_>) -> Option<SocketAddr> {
    raw_peer(fd).ok()?.decode()
}

/// Whether there is another end.
pub(super) fn is_connected(fd: BorrowedFd<'_>) -> bool {
    raw_peer(fd).is_ok()
}

fn raw_peer(fd: BorrowedFd<'_>) -> io::Result<RawAddress> {
    let mut raw = RawAddress::empty();
    // SAFETY: both pointers describe `raw`, which has room for every address.
    check(unsafe {
        libc::getpeername(
            fd.as_raw_fd(),
            (&raw mut raw.storage).cast(),
            &raw mut raw.length,
        )
    })?;
    Ok(raw)
}
