//! A rustls session of either role, in the form that holds no buffers (rustls calls it unbuffered):
//! records come in and go out by slices of the caller's. [`super::handshake`] uses it until the
//! handshake is done, and [`super::records`] afterwards.

use std::sync::{Arc, OnceLock};

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ResolvesServerCert, UnbufferedServerConnection};
use rustls::sign::CertifiedKey;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus, WriteTraffic,
};
use rustls::{ClientConfig, CommonState, Error, ServerConfig};

/// The most bytes by which a record is longer than its plaintext, with room for messages of the session
/// itself that go out before it (RFC 8446 section 4.6.3, KeyUpdate).
pub const OVERHEAD: usize = 256;

/// A session of rustls.
pub enum Session {
    /// A client's session.
    Client(Box<UnbufferedClientConnection>),
    /// A server's session, and the name that its client has asked for.
    Server(Box<UnbufferedServerConnection>, Arc<OnceLock<Box<str>>>),
}

/// What [`Session::advance`] has come to.
pub enum Advanced {
    /// Something was done. There may be more to do.
    Again,
    /// The handshake needs more bytes.
    Blocked,
    /// The handshake is done, and all records are read that are there in full.
    Open,
    /// The peer sends nothing more.
    Ended,
    /// The session is over. Its alert waits as long as [`Session::wants_write`] says so.
    Failed(Error),
}

/// Records the name that a client asks for: an unbuffered session does not tell it.
#[derive(Debug)]
struct NameRecorder {
    inner: Arc<dyn ResolvesServerCert>,
    name: Arc<OnceLock<Box<str>>>,
}

impl ResolvesServerCert for NameRecorder {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let Some(name) = hello.server_name() {
            // The name was set before if the client had to send its hello again: it is the same then.
            let _ = self.name.set(name.into());
        }
        self.inner.resolve(hello)
    }
}

impl Session {
    /// A client's session, with its first message ready.
    ///
    /// # Errors
    /// The system has no random numbers, or the configuration does not fit.
    pub fn client(
        configuration: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, Error> {
        let session = UnbufferedClientConnection::new(configuration, name)?;
        Ok(Session::Client(Box::new(session)))
    }

    /// A server's session.
    ///
    /// # Errors
    /// The configuration does not fit.
    pub fn server(configuration: &ServerConfig) -> Result<Self, Error> {
        let name = Arc::default();
        let mut own = configuration.clone();
        own.cert_resolver = Arc::new(NameRecorder {
            inner: Arc::clone(&configuration.cert_resolver),
            name: Arc::clone(&name),
        });
        let session = UnbufferedServerConnection::new(Arc::new(own))?;
        Ok(Session::Server(Box::new(session), name))
    }

    /// The part of the session that both roles have in common.
    pub fn common(&self) -> &CommonState {
        match self {
            Session::Client(session) => session,
            Session::Server(session, _) => session,
        }
    }

    /// Whether the session has records of its own to send.
    pub fn wants_write(&self) -> bool {
        self.common().wants_write()
    }

    /// Takes the next step with the peer's bytes, which begin where the step before has left off. Records
    /// to be sent are appended to `out`, plaintext is handed to `plain`. Returns how many of the bytes
    /// are used up.
    pub fn advance(
        &mut self,
        bytes: &mut [u8],
        out: &mut Vec<u8>,
        plain: &mut dyn FnMut(&[u8]),
    ) -> (usize, Advanced) {
        match self {
            Session::Client(session) => handle(session.process_tls_records(bytes), out, plain),
            Session::Server(session, _) => handle(session.process_tls_records(bytes), out, plain),
        }
    }

    /// Makes records of `plaintext` at the front of `wire`, or the record of close_notify (RFC 8446
    /// section 6.1) if there is none; returns how long they are. `buffered` are the peer's bytes that
    /// [`advance`](Self::advance) has not used up, which stay.
    ///
    /// # Errors
    /// The handshake is not done, the session has failed, its keys are used up, or there is no room.
    pub fn seal(
        &mut self,
        buffered: &mut [u8],
        plaintext: Option<&[u8]>,
        wire: &mut [u8],
    ) -> Result<usize, Error> {
        match self {
            Session::Client(session) => {
                seal(session.process_tls_records(buffered), plaintext, wire)
            }
            Session::Server(session, _) => {
                seal(session.process_tls_records(buffered), plaintext, wire)
            }
        }
    }
}

fn handle<D>(
    status: UnbufferedStatus<'_, '_, D>,
    out: &mut Vec<u8>,
    plain: &mut dyn FnMut(&[u8]),
) -> (usize, Advanced) {
    let mut used = status.discard;
    let advanced = match status.state {
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                None => break Advanced::Again,
                Some(Ok(record)) => {
                    used += record.discard;
                    plain(record.payload);
                }
                Some(Err(error)) => break Advanced::Failed(error),
            }
        },
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            encode(&mut data, out);
            Advanced::Again
        }
        // They are in the caller's hands now.
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Advanced::Again
        }
        Ok(ConnectionState::BlockedHandshake) => Advanced::Blocked,
        Ok(ConnectionState::WriteTraffic(_)) => Advanced::Open,
        Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Advanced::Ended,
        // Early data, which no configuration allows.
        Ok(_) => Advanced::Failed(Error::General("unexpected state of a TLS session".into())),
        Err(error) => Advanced::Failed(error),
    };
    (used, advanced)
}

fn encode<D>(data: &mut EncodeTlsData<'_, D>, out: &mut Vec<u8>) {
    // Encoding into no room fails with the length that is needed.
    if let Err(EncodeError::InsufficientSize(needed)) = data.encode(&mut []) {
        let start = out.len();
        out.resize(start + needed.required_size, 0);
        let length = data.encode(&mut out[start..]).unwrap_or(0);
        out.truncate(start + length);
    }
}

fn seal<D>(
    status: UnbufferedStatus<'_, '_, D>,
    plaintext: Option<&[u8]>,
    wire: &mut [u8],
) -> Result<usize, Error> {
    let mut write = |traffic: &mut WriteTraffic<'_, D>| match plaintext {
        Some(plaintext) => traffic.encrypt(plaintext, wire),
        None => traffic.queue_close_notify(wire),
    };
    let result = match status.state? {
        ConnectionState::WriteTraffic(mut traffic) => Some(write(&mut traffic)),
        ConnectionState::TransmitTlsData(mut data) => {
            let result = data
                .may_encrypt_app_data()
                .map(|mut traffic| write(&mut traffic));
            data.done();
            result
        }
        _ => None,
    };
    match result {
        Some(result) => result.map_err(|error| Error::General(error.to_string())),
        None => Err(Error::HandshakeNotComplete),
    }
}
