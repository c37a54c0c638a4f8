//! What the upgrade is read from and written to: the socket itself, or TLS over it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stream::Stream;
use super::tls_stream::TlsStream;
use crate::tls::records::TlsConnection;

/// The stream of a connection before its upgrade.
pub enum Transport {
    /// A socket without TLS.
    Plain(Stream),
    /// A TLS session over a socket.
    Tls(Box<TlsStream>),
}

impl Transport {
    /// The TLS session, for the established connection. Plaintext that was not read yet is appended to
    /// `leftover`.
    pub fn into_session(self, leftover: &mut Vec<u8>) -> Option<Box<TlsConnection>> {
        match self {
            Transport::Plain(_) => None,
            Transport::Tls(secured) => {
                leftover.extend(secured.plaintext);
                Some(secured.tls)
            }
        }
    }
}

/// Calls a method of the stream inside.
macro_rules! inner {
    ($self:ident, $method:ident ( $($argument:expr),* )) => {
        match $self.get_mut() {
            Transport::Plain(stream) => Pin::new(stream).$method($($argument),*),
            Transport::Tls(secured) => Pin::new(&mut **secured).$method($($argument),*),
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        inner!(self, poll_read(context, buffer))
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
