//! What the upgrade is read from and written to: the socket itself, or TLS over it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{client, server};

use super::stream::Stream;
use crate::tls::session::Tls;

/// See the module.
pub enum Transport {
    /// No TLS.
    Plain(Stream),
    /// A client's session.
    Client(Box<client::TlsStream<Stream>>),
    /// A server's session.
    Server(Box<server::TlsStream<Stream>>),
}

impl Transport {
    /// The session for the hot path, if there is one. What it has decrypted beyond what was read
    /// here is appended to `leftover`.
    pub fn into_session(self, leftover: &mut Vec<u8>) -> Option<Box<Tls>> {
        let connection = match self {
            Transport::Plain(_) => return None,
            Transport::Client(stream) => stream.into_inner().1.into(),
            Transport::Server(stream) => stream.into_inner().1.into(),
        };
        let (tls, held) = Tls::new(connection);
        leftover.extend(held);
        Some(Box::new(tls))
    }
}

/// Calls one method of whatever is inside.
macro_rules! inner {
    ($self:ident, $method:ident ( $($argument:expr),* )) => {
        match $self.get_mut() {
            Transport::Plain(stream) => Pin::new(stream).$method($($argument),*),
            Transport::Client(stream) => Pin::new(&mut **stream).$method($($argument),*),
            Transport::Server(stream) => Pin::new(&mut **stream).$method($($argument),*),
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let result = inner!(self, poll_read(context, buffer));
        match result {
            // TLS that ends without close_notify: for a head that is not complete the end all the same.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Poll::Ready(Ok(()))
            }
            result => result,
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        inner!(self, poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        inner!(self, poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        inner!(self, poll_shutdown(context))
    }
}
