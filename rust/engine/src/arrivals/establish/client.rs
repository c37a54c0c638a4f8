//! A client's way to an established connection: reach the server, ask for the upgrade.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use evws_proto::handshake::{
    self, ClientRequest, HeadLimits, UpgradeRefusal, UpgradeResponse, UpgradeResponseError,
};
use evws_proto::proxy::Proxy;
use evws_proto::url::Url;
use rustls::pki_types::ServerName;
use rustls::ClientConfig;
use tokio::io::AsyncWriteExt;

use super::mailbox::{Mailbox, Phase};
use super::stream::Stream;
use super::transport::Transport;
use super::{dial, proxy, read_more, tls_stream, ConnectFailure, EstablishError, Established};
use crate::error;
use crate::guest::Guest;
use crate::timeouts;
use crate::tls::handshake::HandshakeStep;
use crate::tls::info::ExpectedServer;

/// TLS for a `wss://` URL.
pub struct ClientTlsSetup {
    /// Roots, certificates, sessions.
    pub configuration: Arc<ClientConfig>,
    /// The name that the server's certificate is to have.
    pub name: ServerName<'static>,
    /// Whether the certificate is checked.
    pub verify: bool,
}

/// How a client connects to its server.
pub enum Route {
    /// To the addresses that its name has.
    Lookup,
    /// To these addresses.
    Addresses(Vec<SocketAddr>),
    /// Through a proxy.
    Proxy(Proxy),
    /// To a Unix socket.
    Unix(PathBuf),
    /// It cannot connect, with the reason.
    Unknown(String),
}

/// Establishes a connection (RFC 6455 section 4.1).
pub async fn establish(
    stream: Stream,
    mailbox: Rc<Mailbox>,
    url: Url,
    route: Route,
    request: ClientRequest,
    secure: Option<ClientTlsSetup>,
) -> Result<Established, EstablishError> {
    let expected = secure.as_ref().map(|secure| ExpectedServer {
        name: secure.name.to_str().into_owned(),
        verified: secure.verify,
    });
    let run = async {
        let mut transport: Transport =
            run(stream, &mailbox, &url, route, secure, request.limits).await?;
        let upgraded = upgrade(&mut transport, &mailbox, &request).await?;
        Ok::<_, ConnectFailure>((transport, upgraded))
    };
    match run.await {
        Ok((transport, (response, mut leftover))) => {
            let mut tls = transport.into_session(&mut leftover);
            if let (Some(tls), Some(expected)) = (&mut tls, expected) {
                tls.expect(expected);
            }
            Ok(Established {
                headers: response.headers,
                protocol: response.protocol,
                deflate: response.deflate,
                tls,
                leftover,
                guest: Guest::default(),
            })
        }
        Err(failure) => Err(EstablishError::Client(failure)),
    }
}

async fn run(
    mut stream: Stream,
    mailbox: &Mailbox,
    url: &Url,
    route: Route,
    secure: Option<ClientTlsSetup>,
    limits: HeadLimits,
) -> Result<Transport, String> {
    match route {
        Route::Lookup => {
            let addresses = dial::resolve(mailbox, &url.host, url.port).await?;
            dial::connect(&stream, mailbox, &url.host, &addresses).await?;
        }
        Route::Addresses(addresses) => {
            dial::connect(&stream, mailbox, &url.host, &addresses).await?;
        }
        Route::Proxy(proxy) => {
            proxy::connect_through(&mut stream, mailbox, &proxy, url, limits).await?;
        }
        Route::Unix(path) => dial::connect_unix(&stream, mailbox, &path).await?,
        Route::Unknown(text) => return Err(text),
    }
    match secure {
        Some(secure) => handshake_tls(stream, mailbox, secure).await,
        None => Ok(Transport::Plain(stream)),
    }
}

async fn handshake_tls(
    stream: Stream,
    mailbox: &Mailbox,
    secure: ClientTlsSetup,
) -> Result<Transport, String> {
    let shown = secure.name.to_str().into_owned();
    let first = HandshakeStep::Client(secure.configuration, secure.name);
    match tls_stream::handshake(stream, mailbox, first).await {
        Ok(secured) => Ok(Transport::Tls(secured)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(format!(
            "TLS handshake with {shown}: the server closed the connection"
        )),
        Err(error) => Err(format!(
            "TLS handshake with {shown}: {}",
            error::system_text(&error)
        )),
    }
}

async fn upgrade(
    stream: &mut Transport,
    mailbox: &Mailbox,
    request: &ClientRequest,
) -> Result<(UpgradeResponse, Vec<u8>), ConnectFailure> {
    let key = handshake::generate_key();
    let encoded = request.encode(&key);
    mailbox.log_head("sent", &encoded);
    let mut sent = stream.write_all(&encoded).await;
    if sent.is_ok() {
        sent = stream.flush().await;
    }
    let mut head = Vec::new();
    loop {
        match read_more(stream, &mut head).await {
            Ok(0) if head.is_empty() => {
                return Err("the server closed the connection without an answer".into())
            }
            Ok(0) => {
                let checked = handshake::check_ended_response(&head, request);
                if let Err(error) = checked {
                    return Err(error.to_string().into());
                }
                return Err("the server closed the connection in the middle of its answer".into());
            }
            Ok(_) => {}
            Err(error) => {
                // A server that refuses early may reset while it is still being written to.
                let error = sent.err().unwrap_or(error);
                return Err(format!("upgrade request: {}", error::system_text(&error)).into());
            }
        }
        let parsed = handshake::parse_response(&head, &key, request);
        if !matches!(parsed, Ok(None)) {
            mailbox.log_head("received", &head);
        }
        match parsed {
            Ok(None) => {}
            Ok(Some((length, response))) => {
                head.drain(..length);
                head.shrink_to_fit();
                return Ok((response, head));
            }
            Err(error @ UpgradeResponseError::Status(_)) => {
                let refusal = UpgradeRefusal::parse(&head, request.limits);
                let read = refusal.map(|(length, refusal)| {
                    head.drain(..length);
                    read_refusal(stream, mailbox, refusal, head)
                });
                return Err(ConnectFailure {
                    text: error.to_string(),
                    refusal: match read {
                        Some(read) => Some(Box::new(read.await)),
                        None => None,
                    },
                });
            }
            Err(error) => return Err(error.to_string().into()),
        }
    }
}

/// Reads the beginning of a refusal's body, of which this has come with the head. What does not come at once is not waited
/// for: the program is told nothing before.
async fn read_refusal(
    stream: &mut Transport,
    mailbox: &Mailbox,
    mut refusal: UpgradeRefusal,
    mut input: Vec<u8>,
) -> UpgradeRefusal {
    mailbox.phase.set(Phase::Refused);
    mailbox.set_deadline(Some(timeouts::REFUSAL));
    let run = async {
        while !refusal.take(&mut input) {
            match read_more(stream, &mut input).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => break,
            }
        }
    };
    // What there is by then is what the program gets.
    let _ = mailbox.in_time(run).await;
    refusal
}
