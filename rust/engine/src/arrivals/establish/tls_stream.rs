//! The TLS handshake of either role, and the session over the socket until the upgrade is done. Each step
//! of the handshake is a question to the engine, which knows how many handshakes are under way.

use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::oneshot;

use super::mailbox::{Mailbox, Question};
use super::read_more;
use super::stream::Stream;
use crate::event::Interest;
use crate::tls::error_text;
use crate::tls::handshake::{HandshakeProgress, HandshakeStep, TlsHandshake};
use crate::tls::records::{Sink, TlsConnection};

/// Bytes that are read at a time until the upgrade is done.
const STEP: usize = 4096;

/// A session over its socket.
pub struct TlsStream {
    stream: Stream,
    /// The session.
    pub tls: Box<TlsConnection>,
    /// Plaintext that was not read yet.
    pub plaintext: Vec<u8>,
}

/// Does a handshake that begins with the step `first`.
///
/// # Errors
/// A text, or an error of the socket; `UnexpectedEof`: the peer has ended the stream.
pub async fn handshake(
    mut stream: Stream,
    mailbox: &Mailbox,
    first: HandshakeStep,
) -> io::Result<Box<TlsStream>> {
    let mut handshake = take(mailbox, first).await?;
    loop {
        let outgoing = std::mem::take(&mut handshake.outgoing);
        match std::mem::replace(&mut handshake.progress, HandshakeProgress::Waiting) {
            HandshakeProgress::Failed(error) => {
                // The connection ends, whether the peer takes the alert or not.
                let _ = stream.write(&outgoing).await;
                return Err(io::Error::other(error_text::reason(&error)));
            }
            HandshakeProgress::Ended => return Err(io::ErrorKind::UnexpectedEof.into()),
            HandshakeProgress::Done => {
                stream.write_all(&outgoing).await?;
                let (tls, plaintext) = TlsConnection::new(*handshake);
                let info = tls.info();
                let how = if info.resumed { ", resumed" } else { "" };
                mailbox.log(format_args!(
                    "TLS is agreed on: {} {}{how}",
                    info.version, info.cipher
                ));
                return Ok(Box::new(TlsStream {
                    stream,
                    tls: Box::new(tls),
                    plaintext,
                }));
            }
            HandshakeProgress::Waiting => {}
        }
        // A peer that refuses early may reset the stream while we still write. Its alert is read first.
        let sent = stream.write_all(&outgoing).await;
        match read_more(&mut stream, &mut handshake.incoming).await {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) => return Err(sent.err().unwrap_or(error)),
        }
        handshake = take(mailbox, HandshakeStep::Next(handshake)).await?;
    }
}

async fn take(mailbox: &Mailbox, step: HandshakeStep) -> io::Result<Box<TlsHandshake>> {
    let (answer, taken) = oneshot::channel();
    mailbox.ask(Question::Step { step, answer });
    match taken.await {
        Ok(result) => result.map_err(|error| io::Error::other(error_text::reason(&error))),
        // The thread that took the step has panicked.
        Err(_) => Err(io::Error::other("the handshake was given up")),
    }
}

impl TlsStream {
    /// Reads once and decrypts.
    fn poll_receive(&mut self) -> Poll<io::Result<()>> {
        let TlsStream {
            stream,
            tls,
            plaintext,
        } = self;
        let socket = &stream.0;
        let mut wire = vec![0; tls.buffered() + STEP];
        let mut room = vec![0; wire.len()];
        let mut sink = Sink::new(None, &mut room);
        let received = tls.receive(
            |bytes| socket.receive(&mut ReadBuf::new(bytes)),
            &mut wire,
            &mut sink,
        );
        let received = socket.wait_for(Interest::READ, received);
        received.map_ok(|(_, length)| plaintext.extend_from_slice(&room[..length]))
    }

    fn poll_send(&mut self) -> Poll<io::Result<()>> {
        let TlsStream { stream, tls, .. } = self;
        let sent = stream.0.with(|fd| match tls.flush(fd.as_fd()) {
            Ok(false) => Err(io::ErrorKind::WouldBlock.into()),
            result => result.map(|_| ()),
        });
        stream.0.wait_for(Interest::WRITE, sent)
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.plaintext.is_empty() && !this.tls.has_ended() {
            let received = this.poll_receive();
            // The session's own answers are sent. Those that the kernel refuses go out with the next.
            let _ = this.poll_send();
            match received {
                Poll::Ready(Ok(())) => {}
                other => return other,
            }
        }
        // A stream that ends without close_notify is at its end, too: the head is not complete either way.
        if this.plaintext.is_empty() {
            return Poll::Ready(match this.tls.take_failure() {
                Some(why) => Err(io::Error::other(why)),
                None => Ok(()),
            });
        }
        let count = this.plaintext.len().min(buffer.remaining());
        buffer.put_slice(&this.plaintext[..count]);
        this.plaintext.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match this.poll_send() {
            Poll::Ready(Ok(())) => Poll::Ready(this.tls.append(bytes).map(|()| bytes.len())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_send()
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let TlsStream { stream, tls, .. } = self.get_mut();
        // The engine ends the stream below, whose future ends with this.
        let ended = stream.0.with(|fd| match tls.notify_end(fd.as_fd()) {
            true => Ok(()),
            false => Err(io::ErrorKind::WouldBlock.into()),
        });
        stream.0.wait_for(Interest::WRITE, ended)
    }
}
