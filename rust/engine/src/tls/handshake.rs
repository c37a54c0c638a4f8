//! A TLS handshake in steps: bytes in, bytes out, and the arithmetic between them. A step touches no
//! socket, so it may be taken on another thread.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, Error, ServerConfig};

use super::session::{Session, Turn};

/// Bytes that wait for the rest of a message, which rustls allows 64 KiB. An honest one has a tenth of that.
const LIMIT: usize = 80 * 1024;

/// How far a handshake has come.
pub enum HandshakeProgress {
    /// It waits for the peer.
    Waiting,
    /// It is done.
    Done,
    /// The peer has ended it.
    Ended,
    /// It has failed.
    Failed(Error),
}

/// See the module.
pub struct Handshake {
    /// The session.
    pub session: Session,
    /// What came from the peer and is not done with.
    pub incoming: Vec<u8>,
    /// What is to be sent, whatever the progress.
    pub outgoing: Vec<u8>,
    /// What the peer has sent behind its handshake.
    pub plaintext: Vec<u8>,
    /// How far it has come.
    pub progress: HandshakeProgress,
}

/// What a step of a TLS handshake leaves.
pub type StepResult = Result<Box<Handshake>, Error>;

/// A step to take.
pub enum HandshakeStep {
    /// A client's first.
    Client(Arc<ClientConfig>, ServerName<'static>),
    /// A server's first, with what the client has sent.
    Server(Arc<ServerConfig>, Vec<u8>),
    /// Any other.
    Next(Box<Handshake>),
}

impl HandshakeStep {
    /// Takes it.
    ///
    /// # Errors
    /// A handshake could not be begun. What fails later is its progress.
    pub fn take(self) -> StepResult {
        let mut handshake = match self {
            HandshakeStep::Client(configuration, name) => {
                Handshake::new(Session::client(configuration, name)?, Vec::new())
            }
            HandshakeStep::Server(configuration, bytes) => {
                Handshake::new(Session::server(&configuration)?, bytes)
            }
            HandshakeStep::Next(handshake) => handshake,
        };
        handshake.advance();
        Ok(handshake)
    }
}

impl Handshake {
    fn new(session: Session, incoming: Vec<u8>) -> Box<Self> {
        Box::new(Handshake {
            session,
            incoming,
            outgoing: Vec::new(),
            plaintext: Vec::new(),
            progress: HandshakeProgress::Waiting,
        })
    }

    /// Whether there is more to come of it.
    pub fn waits(&self) -> bool {
        matches!(self.progress, HandshakeProgress::Waiting)
    }

    fn advance(&mut self) {
        let Handshake {
            session,
            incoming,
            outgoing,
            plaintext,
            progress,
        } = self;
        let mut start = 0;
        *progress = loop {
            let mut keep = |bytes: &[u8]| plaintext.extend_from_slice(bytes);
            let (used, turn) = session.turn(&mut incoming[start..], outgoing, &mut keep);
            start += used;
            match turn {
                Turn::Again => {}
                Turn::Blocked if incoming.len() - start > LIMIT => {
                    break HandshakeProgress::Failed(Error::General("a message is too long".into()))
                }
                Turn::Blocked => break HandshakeProgress::Waiting,
                Turn::Open => break HandshakeProgress::Done,
                Turn::Ended => break HandshakeProgress::Ended,
                Turn::Failed(error) => {
                    while session.wants_write() {
                        session.turn(&mut incoming[start..], outgoing, &mut |_| {});
                    }
                    break HandshakeProgress::Failed(error);
                }
            }
        };
        incoming.drain(..start);
    }
}
