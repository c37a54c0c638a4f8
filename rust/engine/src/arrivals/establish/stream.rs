//! The stream that the futures of the cold path read and write: a non-blocking socket that notes
//! what it waits for. No executor stands behind it; the engine polls again when that has come.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::race::Attempt;
use crate::event::Interest;
use crate::sys;

/// Bytes that are read in one poll; what a peer sends beyond them waits for the next turn of the loop.
const SHARE: usize = 256 * 1024;

/// The socket of a connection that is being established, shared by its future and the engine.
#[derive(Default)]
pub struct Socket {
    fd: RefCell<Option<OwnedFd>>,
    /// The peer's address, as it was accepted with: of a connection that was reset the system does not know it any more.
    peer: Option<SocketAddr>,
    /// Sockets that the future has given up. Only the engine may close them: they are watched.
    retired: RefCell<Vec<OwnedFd>>,
    /// Attempts to connect that the engine has not taken up yet.
    announced: RefCell<Vec<Rc<Attempt>>>,
    wants: Cell<Interest>,
    /// Set by the engine when the descriptor is ready, taken by the future that waits for that.
    ready: Cell<bool>,
    /// Bytes that may still be read in this poll.
    share: Cell<usize>,
    /// The number of the error that a write has ended with.
    unwritable: Cell<Option<i32>>,
}

impl Socket {
    /// For a connected socket, whose request is waited for before the first poll. `peer`: its address, if that is known
    /// already.
    pub fn new(fd: OwnedFd, peer: Option<SocketAddr>) -> Self {
        Socket {
            fd: RefCell::new(Some(fd)),
            peer,
            wants: Cell::new(Interest::READ),
            ..Socket::default()
        }
    }

    /// The current descriptor, if there is one.
    pub fn raw_fd(&self) -> Option<RawFd> {
        self.fd.borrow().as_ref().map(AsRawFd::as_raw_fd)
    }

    /// The peer's address.
    pub fn peer_address(&self) -> Option<SocketAddr> {
        self.peer
            .or_else(|| sys::peer_address(self.fd.borrow().as_ref()?.as_fd()))
    }

    /// What the future waits for.
    pub fn wants(&self) -> Interest {
        self.wants.get()
    }

    /// Before a poll: what was wanted is here, or will be wanted again.
    pub fn begin_poll(&self, ready: bool) {
        self.wants.set(Interest::NONE);
        self.ready.set(ready);
        self.share.set(SHARE);
    }

    /// Takes the descriptor for the hot path, or for being closed.
    pub fn take(&self) -> Option<OwnedFd> {
        self.fd.borrow_mut().take()
    }

    /// Ends the stream for every descriptor of it.
    pub fn shut_down(&self) {
        if let Some(fd) = self.fd.borrow().as_ref() {
            sys::shutdown(fd.as_fd());
        }
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

    /// Has another descriptor as the current one, or none.
    pub fn replace(&self, new: Option<OwnedFd>) {
        self.unwritable.set(None);
        if let Some(old) = self.fd.replace(new) {
            self.retired.borrow_mut().push(old);
        }
    }

    /// Reads as recv(2) does, within the share of this poll: a peer can send TLS records without end that add
    /// nothing to a head.
    ///
    /// # Errors
    /// The errors of recv(2); `WouldBlock` also when the share is used up. If the stream could not be written to, the error
    /// of that, once nothing is there to be read: what the peer has not got it will not answer.
    pub fn receive(&self, buffer: &mut ReadBuf<'_>) -> io::Result<usize> {
        let share = self.share.get();
        if share == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let received = self.with(|fd| sys::receive_into(fd.as_fd(), buffer, share));
        let count = match (received, self.unwritable.get()) {
            (Err(error), Some(number)) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::Error::from_raw_os_error(number));
            }
            (received, _) => received?,
        };
        self.share.set(share - count);
        Ok(count)
    }

    /// Notes what is waited for.
    pub fn want(&self, interest: Interest) {
        self.wants.set(self.wants.get() | interest);
    }

    /// The result of a system call as a poll: it is pending if the socket was not ready.
    pub fn wait_for<T>(&self, interest: Interest, result: io::Result<T>) -> Poll<io::Result<T>> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.want(interest);
                Poll::Pending
            }
            result => {
                if let (Err(error), Interest::WRITE) = (&result, interest) {
                    self.unwritable.set(error.raw_os_error());
                }
                Poll::Ready(result)
            }
        }
    }

    /// Does something with the descriptor.
    ///
    /// # Errors
    /// The errors of `act`; `NotConnected`: there is no descriptor.
    pub fn with<T>(&self, act: impl FnOnce(&OwnedFd) -> io::Result<T>) -> io::Result<T> {
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
    /// The errors of `begin`, and of connecting.
    pub async fn connect(&self, begin: impl FnOnce() -> io::Result<OwnedFd>) -> io::Result<()> {
        let socket = &self.0;
        socket.replace(None);
        socket.replace(Some(begin()?));
        self.ready(Interest::WRITE).await;
        let result = socket.with(|fd| sys::take_error(fd.as_fd()));
        if result.is_err() {
            socket.replace(None);
        }
        result
    }
}

impl Stream {
    /// Waits until the socket is ready, not before the next turn of the loop.
    pub async fn ready(&self, interest: Interest) {
        self.0.ready.set(false);
        poll_fn(|_| {
            if self.0.ready.replace(false) {
                return Poll::Ready(());
            }
            self.0.want(interest);
            Poll::Pending
        })
        .await;
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let result = self.0.receive(buffer);
        self.0.wait_for(Interest::READ, result).map_ok(drop)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let sent = self
            .0
            .with(|fd| sys::send_gathered(fd.as_fd(), &[io::IoSlice::new(bytes)]));
        self.0.wait_for(Interest::WRITE, sent)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The engine ends the stream, whose future ends with this.
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;
    use std::task::Waker;
    use std::thread;

    /// A server that sent session tickets without end was read in one go for as long as it sent them: whatever is no
    /// part of the head did not count, and the loop stood still.
    #[test]
    fn one_poll_reads_its_share_and_no_more() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        ours.set_nonblocking(true).unwrap();
        // Ends with an error when nobody reads any more.
        let flood = thread::spawn(move || while peer.write(&[0; 4096]).is_ok() {});
        let mut stream = Stream(Rc::new(Socket::new(ours.into(), None)));
        let mut context = Context::from_waker(Waker::noop());
        let mut memory = [0; 4096];
        for turn in 0..2 {
            stream.0.begin_poll(true);
            let mut total = 0;
            while total <= SHARE {
                let mut buffer = ReadBuf::new(&mut memory);
                match Pin::new(&mut stream).poll_read(&mut context, &mut buffer) {
                    Poll::Ready(result) => result.unwrap(),
                    Poll::Pending if stream.0.share.get() == 0 => break,
                    // Nothing has come yet.
                    Poll::Pending => thread::yield_now(),
                }
                total += buffer.filled().len();
            }
            assert_eq!(total, SHARE, "turn {turn}");
            assert_eq!(stream.0.wants(), Interest::READ, "turn {turn}");
        }
        drop(stream);
        flood.join().unwrap();
    }

    /// A request that could not be sent is not answered, so it was waited for until the time was over; but what a peer has
    /// said before it reset the stream is worth more than the error.
    #[test]
    fn who_could_not_write_reads_what_is_there_and_then_gets_that_error() {
        let (mut peer, ours) = UnixStream::pair().unwrap();
        peer.write_all(b"401").unwrap();
        let socket = Socket::new(ours.into(), None);
        let receive = || {
            let mut memory = [0; 8];
            let mut buffer = ReadBuf::new(&mut memory);
            socket.begin_poll(true);
            let error = socket
                .receive(&mut buffer)
                .map_err(|error| error.raw_os_error());
            error.map(|_| buffer.filled().to_vec())
        };
        // Any number that a write can fail with: here, no memory for it.
        let failed = io::Error::from_raw_os_error(12);
        assert!(socket
            .wait_for::<()>(Interest::WRITE, Err(failed))
            .is_ready());
        assert_eq!(receive(), Ok(b"401".to_vec()));
        assert_eq!(receive(), Err(Some(12)));
        drop(peer);
        assert_eq!(receive(), Ok(Vec::new()), "the end is no error");
    }

    #[test]
    fn what_has_ended_the_stream_is_told_in_place_of_the_write_that_failed() {
        let (peer, mut ours) = UnixStream::pair().unwrap();
        ours.write_all(b"unread").unwrap();
        let socket = Socket::new(ours.into(), None);
        let failed = io::ErrorKind::BrokenPipe.into();
        assert!(socket
            .wait_for::<()>(Interest::WRITE, Err(failed))
            .is_ready());
        // With bytes that it has not read: a reset.
        drop(peer);
        socket.begin_poll(true);
        let mut memory = [0; 8];
        let error = socket.receive(&mut ReadBuf::new(&mut memory)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
