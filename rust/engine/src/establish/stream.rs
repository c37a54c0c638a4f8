//! The stream that the futures of the cold path read and write: a non-blocking socket that notes
//! what it waits for. No executor stands behind it; the engine polls again when that has come.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::race::Attempt;
use crate::event::Interest;
use crate::sys;

/// The socket of a connection that is being established, shared by its future and the engine.
#[derive(Default)]
pub struct Socket {
    fd: RefCell<Option<OwnedFd>>,
    /// Sockets that the future has given up. Only the engine may close them: they are watched.
    retired: RefCell<Vec<OwnedFd>>,
    /// Attempts to connect that the engine has not taken up yet.
    announced: RefCell<Vec<Rc<Attempt>>>,
    wants: Cell<Interest>,
    /// Set by the engine when the descriptor is ready, taken by whoever waits for that.
    ready: Cell<bool>,
}

impl Socket {
    /// Around an accepted socket, whose request is waited for before the first poll.
    pub fn new(fd: OwnedFd) -> Self {
        Socket {
            fd: RefCell::new(Some(fd)),
            wants: Cell::new(Interest::READ),
            ..Socket::default()
        }
    }

    /// The current descriptor, if there is one.
    pub fn raw_fd(&self) -> Option<RawFd> {
        self.fd.borrow().as_ref().map(AsRawFd::as_raw_fd)
    }

    /// What the future waits for.
    pub fn wants(&self) -> Interest {
        self.wants.get()
    }

    /// Before a poll: what was wanted is here, or will be wanted again.
    pub fn begin_poll(&self, ready: bool) {
        self.wants.set(Interest::NONE);
        self.ready.set(ready);
    }

    /// Takes the descriptor for the hot path, or for being closed.
    pub fn take(&self) -> Option<OwnedFd> {
        self.fd.borrow_mut().take()
    }

    /// Takes the descriptors that the future gave up.
    pub fn take_retired(&self) -> Vec<OwnedFd> {
        self.retired.take()
    }

    /// Hands an attempt to connect to the engine, which is to watch it.
    pub fn announce(&self, attempt: Rc<Attempt>) {
        self.announced.borrow_mut().push(attempt);
    }

    /// Takes the attempts that were handed over.
    pub fn take_announced(&self) -> Vec<Rc<Attempt>> {
        self.announced.take()
    }

    /// Makes a connected descriptor the current one.
    pub fn accept(&self, fd: OwnedFd) {
        self.replace(Some(fd));
    }

    /// Gives up the current descriptor, if there is one.
    pub fn disconnect(&self) {
        self.replace(None);
    }

    fn replace(&self, new: Option<OwnedFd>) {
        if let Some(old) = self.fd.replace(new) {
            self.retired.borrow_mut().push(old);
        }
    }

    fn want(&self, interest: Interest) {
        self.wants.set(self.wants.get() | interest);
    }

    /// Does it now, or notes what has to come first.
    fn poll_with<T>(
        &self,
        interest: Interest,
        act: impl FnOnce(&OwnedFd) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        match self.with(act) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.want(interest);
                Poll::Pending
            }
            result => Poll::Ready(result),
        }
    }

    fn with<T>(&self, act: impl FnOnce(&OwnedFd) -> io::Result<T>) -> io::Result<T> {
        match self.fd.borrow().as_ref() {
            Some(fd) => act(fd),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// The future's end of a [`Socket`].
#[derive(Clone)]
pub struct Stream(pub Rc<Socket>);

impl Stream {
    /// Connects in place of what this stream was connected to before; `begin` makes the socket.
    ///
    /// # Errors
    /// Whatever the system says.
    pub async fn connect(&self, begin: impl FnOnce() -> io::Result<OwnedFd>) -> io::Result<()> {
        let socket = &self.0;
        socket.replace(None);
        socket.replace(Some(begin()?));
        socket.ready.set(false);
        poll_fn(|_| {
            if socket.ready.replace(false) {
                return Poll::Ready(());
            }
            socket.want(Interest::WRITE);
            Poll::Pending
        })
        .await;
        let result = socket.with(|fd| sys::take_error(fd.as_fd()));
        if result.is_err() {
            socket.replace(None);
        }
        result
    }
}

impl Stream {
    /// Does something with the socket now, or notes what has to come first.
    pub fn poll_with<T>(
        &self,
        interest: Interest,
        act: impl FnOnce(&OwnedFd) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        self.0.poll_with(interest, act)
    }

    /// Sends the end of our side.
    pub fn shut_down(&self) {
        // A socket that is not there has no side.
        let _ = self.0.with(|fd| {
            sys::shutdown_write(fd.as_fd());
            Ok(())
        });
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let received = self.0.poll_with(Interest::READ, |fd| {
            sys::receive(fd.as_fd(), buffer.initialize_unfilled())
        });
        received.map_ok(|count| buffer.advance(count))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_with(Interest::WRITE, |fd| {
            sys::send_gathered(fd.as_fd(), &[io::IoSlice::new(bytes)])
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shut_down();
        Poll::Ready(Ok(()))
    }
}
