//! The cold path: everything between a descriptor and an established connection, as one `async fn`
//! a role. The engine polls a connection's future by hand whenever something it waits for is there.

pub mod client;
mod dial;
pub mod door;
mod head;
mod http;
pub mod mailbox;
pub mod policy;
mod proxy;
pub mod race;
pub mod rejected;
pub mod server;
pub mod stream;
mod tls_stream;
pub mod transport;

use std::future::{poll_fn, Future};
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{ready, Context, Poll, Waker};

use evws_proto::forwarded::Peer;
use evws_proto::handshake::{Headers, Negotiated, UpgradeRefusal};
use tokio::io::{AsyncRead, ReadBuf};

use crate::event::Id;
use crate::guest::Guest;
use crate::tls::records::TlsConnection;
use mailbox::{Awaited, Mailbox};
use race::Attempt;
use rejected::Rejected;
use stream::Socket;

/// A connection whose upgrade is done.
pub struct Established {
    /// The peer's headers, for the program.
    pub headers: Headers,
    /// The negotiated subprotocol.
    pub protocol: Option<String>,
    /// The parameters of permessage-deflate; `None`: it was not agreed on.
    pub deflate: Option<Negotiated>,
    /// Bytes that were read beyond the head.
    pub leftover: Vec<u8>,
    /// The session that the connection goes on with; `None`: there is no TLS.
    pub tls: Option<Box<TlsConnection>>,
    /// What a listener knows of its client.
    pub guest: Guest,
}

/// Why there is no upgrade.
pub enum EstablishError {
    /// A client's program is told why.
    Client(ConnectFailure),
    /// A server has answered the request already, if there was one.
    Server(Box<Rejected>),
}

/// Why a client is not connected.
pub struct ConnectFailure {
    /// The same for the program.
    pub text: String,
    /// What the server has answered, if that is no upgrade.
    pub refusal: Option<Box<UpgradeRefusal>>,
}

impl<T: Into<String>> From<T> for ConnectFailure {
    fn from(text: T) -> ConnectFailure {
        ConnectFailure {
            text: text.into(),
            refusal: None,
        }
    }
}

type Task = Pin<Box<dyn Future<Output = Result<Established, EstablishError>>>>;

/// A connection that is being established.
pub struct Establishing {
    task: Task,
    /// Its socket.
    pub socket: Rc<Socket>,
    /// What it asks, and is told.
    pub mailbox: Rc<Mailbox>,
    /// The question that waits for its answer.
    pub awaited: Option<Awaited>,
    /// The program has accepted it, and expects to hear how that went on.
    pub accepted: bool,
    /// The attempts of a race of addresses, with the tokens that they are watched under.
    pub attempts: Vec<(Id, Rc<Attempt>)>,
    /// Held in the middle of a TLS handshake: there are as many as handshakes under way.
    pub handshaking: Option<Rc<()>>,
}

impl Establishing {
    /// For a future that uses this socket and this mailbox.
    pub fn new(
        socket: Rc<Socket>,
        mailbox: Rc<Mailbox>,
        task: impl Future<Output = Result<Established, EstablishError>> + 'static,
    ) -> Self {
        Establishing {
            task: Box::pin(task),
            socket,
            mailbox,
            awaited: None,
            accepted: false,
            attempts: Vec::new(),
            handshaking: None,
        }
    }

    /// Polls the future once. `ready`: its descriptor is.
    pub fn poll(&mut self, ready: bool) -> Poll<Result<Established, EstablishError>> {
        self.socket.begin_poll(ready);
        self.task
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Who the peer is: as a proxy says it, or the socket.
    pub fn peer(&self) -> Peer {
        let claimed = self.mailbox.claimed.get();
        claimed.unwrap_or_else(|| self.socket.peer_address().into())
    }
}

/// Reads once, appending to `head` what came: nothing at the end of the stream.
async fn read_more(from: &mut (impl AsyncRead + Unpin), head: &mut Vec<u8>) -> io::Result<usize> {
    poll_fn(|context| poll_more(from, context, head)).await
}

/// Polls for what [`read_more`] reads. While bytes are waited for there is no buffer for them.
fn poll_more(
    from: &mut (impl AsyncRead + Unpin),
    context: &mut Context<'_>,
    head: &mut Vec<u8>,
) -> Poll<io::Result<usize>> {
    let mut room = [const { MaybeUninit::uninit() }; 4096];
    let mut buffer = ReadBuf::uninit(&mut room);
    ready!(Pin::new(from).poll_read(context, &mut buffer))?;
    head.extend_from_slice(buffer.filled());
    Poll::Ready(Ok(buffer.filled().len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mailbox::Mailbox;
    use policy::Policy;
    use server::AlreadyRead;
    use stream::Stream;

    fn size_of_future<F>(_: impl Fn(Stream, Rc<Mailbox>, Rc<Policy>, AlreadyRead) -> F) -> usize {
        size_of::<F>()
    }

    /// Every connection had 2.8 KB moved around for what hardly any needs: a TLS handshake, the head of the PROXY
    /// protocol, requests that are no upgrade.
    #[test]
    fn a_future_of_a_server_has_no_room_for_what_is_seldom() {
        let size = size_of_future(server::establish);
        assert!(size <= 1200, "{size} bytes");
    }
}
