//! The system calls the standard library has no safe name for: epoll, the descriptor limit.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// An epoll instance; every watched descriptor carries a number of the caller's.
pub struct Epoll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

/// One ready descriptor: the caller's number, and what it is ready for.
pub struct Ready {
    pub token: usize,
    pub writable: bool,
}

impl Epoll {
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers are passed; the result is checked before it is used.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just created and nothing else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self {
            fd,
            events: vec![libc::epoll_event { events: 0, u64: 0 }; 256],
        })
    }

    fn control(&self, op: i32, fd: RawFd, token: usize, write: bool) -> io::Result<()> {
        let events = if write {
            libc::EPOLLIN | libc::EPOLLOUT
        } else {
            libc::EPOLLIN
        } as u32;
        let mut event = libc::epoll_event {
            events,
            u64: token as u64,
        };
        // SAFETY: `event` lives for the call, and the kernel copies it.
        match unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), op, fd, &mut event) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Watches `fd` for input. It is forgotten when it is closed.
    pub fn add(&self, fd: RawFd, token: usize) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, token, false)
    }

    /// Watches `fd` for input, and for room to write if `write`.
    pub fn change(&self, fd: RawFd, token: usize, write: bool) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, token, write)
    }

    /// Watches `fd` no more.
    pub fn remove(&self, fd: RawFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, 0, false)
    }

    /// Waits for at most `milliseconds` and puts what is ready into `ready`.
    pub fn wait(&mut self, milliseconds: i32, ready: &mut Vec<Ready>) -> io::Result<()> {
        ready.clear();
        // SAFETY: the pointer and the length are those of one live, initialised vector.
        let n = unsafe {
            libc::epoll_wait(
                self.fd.as_raw_fd(),
                self.events.as_mut_ptr(),
                self.events.len() as i32,
                milliseconds,
            )
        };
        if n < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted {
                Ok(())
            } else {
                Err(error)
            };
        }
        for event in &self.events[..n as usize] {
            let writable = event.events & libc::EPOLLOUT as u32 != 0;
            ready.push(Ready {
                token: event.u64 as usize,
                writable,
            });
        }
        Ok(())
    }
}

/// Raises the soft limit of open descriptors to the hard one; says what it is then.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a live rlimit for the kernel to fill.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is live and the kernel only reads it.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit.rlim_cur)
}
