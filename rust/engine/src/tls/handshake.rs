//! A TLS handshake in steps: bytes in, bytes out, and the arithmetic between them. A step touches no
//! socket, so it may be taken on another thread.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, Error, ServerConfig};

use super::session::{Advanced, Session};

/// The most bytes of an unfinished handshake message. rustls allows a message of 64 KiB; an honest one has a tenth of
/// that.
const MAX_INCOMING: usize = 80 * 1024;

/// How far a handshake has come.
pub enum HandshakeProgress {
    /// The handshake waits for bytes of the peer.
    Waiting,
    /// The handshake is done.
    Done,
    /// The peer has ended the session.
    Ended,
    /// The handshake has failed.
    Failed(Error),
}

/// A handshake between two steps.
pub struct TlsHandshake {
    /// The session.
    pub session: Session,
    /// Bytes of the peer that no step has used up yet.
    pub incoming: Vec<u8>,
    /// Bytes to be sent to the peer, whatever the progress.
    pub outgoing: Vec<u8>,
    /// Application data that the peer has sent behind its handshake.
    pub plaintext: Vec<u8>,
    /// How far the handshake has come.
    pub progress: HandshakeProgress,
}

/// The handshake after a step.
pub type StepResult = Result<Box<TlsHandshake>, Error>;

/// A step of a handshake that is still to be taken.
pub enum HandshakeStep {
    /// A client's first step.
    Client(Arc<ClientConfig>, ServerName<'static>),
    /// A server's first step, with the bytes that the client has sent.
    Server(Arc<ServerConfig>, Vec<u8>),
    /// A later step of either role.
    Next(Box<TlsHandshake>),
}

impl HandshakeStep {
    /// Takes the step.
    ///
    /// # Errors
    /// The handshake could not be begun. A later failure is in [`TlsHandshake::progress`].
    pub fn take(self) -> StepResult {
        let mut handshake = match self {
            HandshakeStep::Client(configuration, name) => {
                TlsHandshake::new(Session::client(configuration, name)?, Vec::new())
            }
            HandshakeStep::Server(configuration, bytes) => {
                TlsHandshake::new(Session::server(&configuration)?, bytes)
            }
            HandshakeStep::Next(handshake) => handshake,
        };
        handshake.advance();
        Ok(handshake)
    }
}

impl TlsHandshake {
    fn new(session: Session, incoming: Vec<u8>) -> Box<Self> {
        Box::new(TlsHandshake {
            session,
            incoming,
            outgoing: Vec::new(),
            plaintext: Vec::new(),
            progress: HandshakeProgress::Waiting,
        })
    }

    /// Whether the handshake waits for the peer.
    pub fn waits(&self) -> bool {
        matches!(self.progress, HandshakeProgress::Waiting)
    }

    fn advance(&mut self) {
        let TlsHandshake {
            session,
            incoming,
            outgoing,
            plaintext,
            progress,
        } = self;
        let mut start = 0;
        *progress = loop {
            let mut keep = |bytes: &[u8]| plaintext.extend_from_slice(bytes);
            let (used, advanced) = session.advance(&mut incoming[start..], outgoing, &mut keep);
            start += used;
            match advanced {
                Advanced::Again => {}
                Advanced::Blocked if incoming.len() - start > MAX_INCOMING => {
                    break HandshakeProgress::Failed(Error::General("a message is too long".into()))
                }
                Advanced::Blocked => break HandshakeProgress::Waiting,
                Advanced::Open => break HandshakeProgress::Done,
                Advanced::Ended => break HandshakeProgress::Ended,
                Advanced::Failed(error) => {
                    while session.wants_write() {
                        session.advance(&mut incoming[start..], outgoing, &mut |_| {});
                    }
                    break HandshakeProgress::Failed(error);
                }
            }
        };
        incoming.drain(..start);
    }
}
