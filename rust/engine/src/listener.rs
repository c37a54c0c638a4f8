//! A listening socket and what its connections have in common.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use crate::establish::server::Policy;
use crate::event::Interest;
use crate::pending::Settings;
use crate::socket_file::SocketFile;
use crate::sys;
use crate::tls::server::ServerTls;

/// How long accepting pauses when descriptors have run out.
pub const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);
/// Connections taken in one turn of the loop.
const BATCH: usize = 32;

/// See above.
pub struct Listener {
    /// The listening socket.
    pub fd: OwnedFd,
    /// Its port; 0: it has none.
    pub port: u16,
    /// What TLS is made of, to be read again.
    pub tls_files: Option<ServerTls>,
    /// For every connection.
    pub settings: Settings,
    /// For every request.
    pub policy: Rc<Policy>,
    /// Descriptors ran out, or the like: nothing is accepted until a deadline has passed.
    pub exhausted: bool,
    /// The file of a Unix socket, removed with the listener.
    pub file: Option<SocketFile>,
}

impl Listener {
    /// What its descriptor is to be watched for.
    pub fn interest(&self) -> Interest {
        if self.exhausted {
            Interest::NONE
        } else {
            Interest::READ
        }
    }

    /// Takes waiting connections. Notes when there is no descriptor left for them.
    pub fn accept(&mut self) -> Vec<OwnedFd> {
        let mut accepted = Vec::new();
        // Errors count as well: one that does not go away must not hold up the loop.
        for _ in 0..BATCH {
            match sys::accept(self.fd.as_fd()) {
                Ok(fd) => accepted.push(fd),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if is_lasting(&error) => {
                    self.exhausted = true;
                    break;
                }
                // One connection that ended before it was taken says nothing about the next.
                Err(_) => {}
            }
        }
        accepted
    }
}

/// Whether the next attempt would fail as well: something has run out, or the program has closed
/// the descriptor behind our back, as some do when they go into the background.
fn is_lasting(error: &io::Error) -> bool {
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

/// Binds all addresses of both families, or of IPv4 alone where there is no IPv6.
///
/// # Errors
/// Whatever the system says to the last attempt.
pub fn bind(port: u16) -> io::Result<(OwnedFd, u16)> {
    let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let fd = match sys::listen(&v6, true) {
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL | libc::EPROTONOSUPPORT)
            ) =>
        {
            sys::listen(&v4, false)?
        }
        result => result?,
    };
    let port = sys::local_address(fd.as_fd())?.port();
    Ok((fd, port))
}
