//! A client's way to an established connection: look the name up, connect, ask for the upgrade.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use evws_proto::handshake::{self, ClientRequest, Response};
use evws_proto::url::Url;
use rustls::pki_types::ServerName;
use rustls::ClientConfig;
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;

use super::stream::Stream;
use super::transport::Transport;
use super::{read_more, Desk, Established, Failure, Question};
use crate::tls::words;

/// What a `wss://` URL is connected with.
pub struct Secure {
    /// Roots, certificates, sessions.
    pub configuration: Arc<ClientConfig>,
    /// The name that the server is to prove.
    pub name: ServerName<'static>,
}

/// Establishes a connection (RFC 6455 section 4.1).
pub async fn establish(
    stream: Stream,
    desk: Desk,
    url: Url,
    request: ClientRequest,
    secure: Option<Secure>,
) -> Result<Established, Failure> {
    let run = async {
        let mut transport = run(stream, &desk, &url, secure).await?;
        let upgraded = upgrade(&mut transport, &request).await?;
        Ok((transport, upgraded))
    };
    match run.await {
        Ok((transport, (response, mut leftover))) => Ok(Established {
            headers: response.headers,
            protocol: response.protocol,
            deflate: response.deflate,
            tls: transport.into_session(&mut leftover),
            leftover,
        }),
        Err(text) => Err(Failure::Client(text)),
    }
}

async fn run(
    stream: Stream,
    desk: &Desk,
    url: &Url,
    secure: Option<Secure>,
) -> Result<Transport, String> {
    let addresses = addresses(desk, url).await?;
    connect(&stream, url, &addresses).await?;
    match secure {
        Some(secure) => handshake_tls(stream, secure).await,
        None => Ok(Transport::Plain(stream)),
    }
}

async fn handshake_tls(stream: Stream, secure: Secure) -> Result<Transport, String> {
    let shown = secure.name.to_str().into_owned();
    let connector = TlsConnector::from(secure.configuration);
    match connector.connect(secure.name, stream).await {
        Ok(session) => Ok(Transport::Client(Box::new(session))),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(format!(
            "TLS handshake with {shown}: the server closed the connection"
        )),
        Err(error) => Err(format!(
            "TLS handshake with {shown}: {}",
            words::stream_reason(&error)
        )),
    }
}

async fn addresses(desk: &Desk, url: &Url) -> Result<Vec<SocketAddr>, String> {
    if let Ok(ip) = url.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, url.port)]);
    }
    let (answer, found) = oneshot::channel();
    *desk.borrow_mut() = Some(Question::Lookup {
        host: url.host.clone(),
        port: url.port,
        answer,
    });
    let result = match found.await {
        Ok(result) => result,
        Err(_) => Err(io::Error::other("the resolver ended")),
    };
    match result {
        Ok(addresses) if addresses.is_empty() => Err(format!(
            "cannot resolve {}: the name has no address",
            url.host
        )),
        Ok(addresses) => Ok(addresses),
        Err(error) => Err(format!("cannot resolve {}: {error}", url.host)),
    }
}

/// Connects to the first address that answers, in the resolver's order.
async fn connect(stream: &Stream, url: &Url, addresses: &[SocketAddr]) -> Result<(), String> {
    let mut failures = String::new();
    for address in addresses {
        match stream.connect(address).await {
            Ok(()) => return Ok(()),
            Err(error) => {
                let separator = if failures.is_empty() { "" } else { "; " };
                // Writing to a String cannot fail.
                let _ = write!(failures, "{separator}connect to {address}: {error}");
            }
        }
    }
    if url.host.parse::<IpAddr>().is_ok() {
        Err(failures)
    } else {
        Err(format!("cannot connect to {}: {failures}", url.host))
    }
}

async fn upgrade(
    stream: &mut Transport,
    request: &ClientRequest,
) -> Result<(Response, Vec<u8>), String> {
    let key = handshake::generate_key();
    let mut sent = stream.write_all(&request.encode(&key)).await;
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
                return Err("the server closed the connection in the middle of its answer".into())
            }
            Ok(_) => {}
            Err(error) => {
                // A server that refuses early may reset while it is still being written to.
                let error = sent.err().unwrap_or(error);
                return Err(format!("upgrade request: {}", words::stream_reason(&error)));
            }
        }
        match handshake::parse_response(&head, &key, request) {
            Ok(None) => {}
            Ok(Some((length, response))) => {
                head.drain(..length);
                head.shrink_to_fit();
                return Ok((response, head));
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}
