//! A rustls session of either role, in the form that holds no buffers: records come in and go out by
//! slices of the caller's. It is fed by the cold path ([`super::handshake`]) and the hot one
//! ([`super::records`]).

use std::sync::{Arc, OnceLock};

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ResolvesServerCert, UnbufferedServerConnection};
use rustls::sign::CertifiedKey;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};
use rustls::{ClientConfig, CommonState, Error, ServerConfig};

/// By this much a record is longer than its plaintext, at most, with room for messages of the
/// session itself that go out before it (RFC 8446 section 4.6.3, KeyUpdate).
pub const OVERHEAD: usize = 256;

/// See the module.
pub enum Session {
    /// A client's.
    Client(Box<UnbufferedClientConnection>),
    /// A server's, and the name that its client has asked for.
    Server(Box<UnbufferedServerConnection>, Arc<OnceLock<Box<str>>>),
}

/// What a look at the bytes has come to.
pub enum Turn {
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

/// Notes the name that a client asks for: a session without buffers does not tell it.
#[derive(Debug)]
struct Noting {
    inner: Arc<dyn ResolvesServerCert>,
    name: Arc<OnceLock<Box<str>>>,
}

impl ResolvesServerCert for Noting {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let Some(name) = hello.server_name() {
            // It was set before if the client had to begin anew: then it is the same.
            let _ = self.name.set(name.into());
        }
        self.inner.resolve(hello)
    }

    fn only_raw_public_keys(&self) -> bool {
        self.inner.only_raw_public_keys()
    }
}

impl Session {
    /// A client's, with its first message ready.
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

    /// A server's.
    ///
    /// # Errors
    /// The configuration does not fit.
    pub fn server(configuration: &ServerConfig) -> Result<Self, Error> {
        let name = Arc::default();
        let mut own = configuration.clone();
        own.cert_resolver = Arc::new(Noting {
            inner: Arc::clone(&configuration.cert_resolver),
            name: Arc::clone(&name),
        });
        let session = UnbufferedServerConnection::new(Arc::new(own))?;
        Ok(Session::Server(Box::new(session), name))
    }

    /// What both roles have in common.
    pub fn common(&self) -> &CommonState {
        match self {
            Session::Client(session) => session,
            Session::Server(session, _) => session,
        }
    }

    /// Whether it has records of its own to send.
    pub fn wants_write(&self) -> bool {
        self.common().wants_write()
    }

    /// Does the next thing with the bytes at hand, which always begin where the last turn left off.
    /// Records to be sent are appended to `out`, plaintext is handed to `plain`. Returns how many
    /// of the bytes are done with.
    pub fn turn(
        &mut self,
        bytes: &mut [u8],
        out: &mut Vec<u8>,
        plain: &mut dyn FnMut(&[u8]),
    ) -> (usize, Turn) {
        match self {
            Session::Client(session) => handle(session.process_tls_records(bytes), out, plain),
            Session::Server(session, _) => handle(session.process_tls_records(bytes), out, plain),
        }
    }

    /// Makes records of `plaintext` at the front of `wire`; returns how long they are. `held` are
    /// the bytes at hand, as for [`turn`](Self::turn), which stay.
    ///
    /// # Errors
    /// The handshake is not done, the session has failed, its keys are used up, or there is no room.
    pub fn seal(
        &mut self,
        held: &mut [u8],
        plaintext: &[u8],
        wire: &mut [u8],
    ) -> Result<usize, Error> {
        match self {
            Session::Client(session) => send(session.process_tls_records(held), |traffic| {
                traffic.encrypt(plaintext, wire)
            }),
            Session::Server(session, _) => send(session.process_tls_records(held), |traffic| {
                traffic.encrypt(plaintext, wire)
            }),
        }
    }

    /// Makes the record of close_notify (RFC 8446 section 6.1), as [`seal`](Self::seal) does others.
    ///
    /// # Errors
    /// As there.
    pub fn seal_end(&mut self, held: &mut [u8], wire: &mut [u8]) -> Result<usize, Error> {
        match self {
            Session::Client(session) => send(session.process_tls_records(held), |traffic| {
                traffic.queue_close_notify(wire)
            }),
            Session::Server(session, _) => send(session.process_tls_records(held), |traffic| {
                traffic.queue_close_notify(wire)
            }),
        }
    }
}

fn handle<D>(
    status: UnbufferedStatus<'_, '_, D>,
    out: &mut Vec<u8>,
    plain: &mut dyn FnMut(&[u8]),
) -> (usize, Turn) {
    let mut used = status.discard;
    let turn = match status.state {
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                None => break Turn::Again,
                Some(Ok(record)) => {
                    used += record.discard;
                    plain(record.payload);
                }
                Some(Err(error)) => break Turn::Failed(error),
            }
        },
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            encode(&mut data, out);
            Turn::Again
        }
        // They are in the caller's hands now.
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Turn::Again
        }
        Ok(ConnectionState::BlockedHandshake) => Turn::Blocked,
        Ok(ConnectionState::WriteTraffic(_)) => Turn::Open,
        Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Turn::Ended,
        // Early data, which no configuration allows.
        Ok(_) => Turn::Failed(Error::General("unexpected state of a TLS session".into())),
        Err(error) => Turn::Failed(error),
    };
    (used, turn)
}

fn encode<D>(data: &mut EncodeTlsData<'_, D>, out: &mut Vec<u8>) {
    // The length is told to whoever has no room.
    if let Err(EncodeError::InsufficientSize(needed)) = data.encode(&mut []) {
        let start = out.len();
        out.resize(start + needed.required_size, 0);
        let length = data.encode(&mut out[start..]).unwrap_or(0);
        out.truncate(start + length);
    }
}

/// Does something that an open session allows.
fn send<D>(
    status: UnbufferedStatus<'_, '_, D>,
    act: impl FnOnce(&mut WriteTraffic<'_, D>) -> Result<usize, EncryptError>,
) -> Result<usize, Error> {
    let result = match status.state? {
        ConnectionState::WriteTraffic(mut traffic) => Some(act(&mut traffic)),
        ConnectionState::TransmitTlsData(mut data) => {
            let result = data
                .may_encrypt_app_data()
                .map(|mut traffic| act(&mut traffic));
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
