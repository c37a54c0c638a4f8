//! A server's way to an established connection: read the request, ask the program, answer.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use evws_proto::deflate;
use evws_proto::handshake::{self, Rejection, Request};
use rustls::ServerConfig;
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use super::stream::Stream;
use super::transport::Transport;
use super::{read_more, Decision, Desk, Established, Failure, Question};
use crate::tls::words;

/// What was read of a connection before it is established here; of an accepted one nothing.
#[derive(Default)]
pub struct Received {
    /// Its request.
    pub request: Option<Request>,
    /// Bytes behind that, or of it.
    pub input: Vec<u8>,
}

/// What a listener does with a request.
pub struct Policy {
    /// The subprotocols it allows.
    pub protocols: Vec<String>,
    /// What is accepted of permessage-deflate.
    pub deflate: Option<deflate::Options>,
    /// Added to every response.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Whether the program decides on each request.
    pub ask: bool,
    /// What its connections are secured with; `None`: they are not.
    pub tls: Option<Arc<ServerConfig>>,
}

/// Establishes a connection (RFC 6455 section 4.2).
pub async fn establish(
    stream: Stream,
    desk: Desk,
    policy: Rc<Policy>,
    received: Received,
) -> Result<Established, Failure> {
    let mut stream = match &policy.tls {
        Some(configuration) => secure(stream, Arc::clone(configuration)).await?,
        None => Transport::Plain(stream),
    };
    let mut leftover = received.input;
    let request = match received.request {
        Some(request) => request,
        None => match read_request(&mut stream, &mut leftover).await {
            Ok(request) => request,
            Err(Unread::Refused(rejection)) => return reject(&mut stream, &rejection).await,
            Err(Unread::Gone(error)) => return Err(gone(error)),
        },
    };
    let deflate = match &policy.deflate {
        Some(options) => match handshake::accept_offer(&request.extensions, options) {
            Ok(negotiated) => negotiated,
            Err(error) => return reject(&mut stream, &error.into()).await,
        },
        None => None,
    };
    let mut extra = policy.headers.clone();
    if policy.ask {
        let (answer, decided) = oneshot::channel();
        *desk.borrow_mut() = Some(Question::Handshake {
            headers: request.headers.clone(),
            answer,
        });
        match decided.await {
            Ok(Decision {
                accept: true,
                headers,
            }) => extra.extend(headers),
            _ => return reject(&mut stream, &Rejection::new(403)).await,
        }
        if handshake::check_response_headers(&extra).is_err() {
            return reject(&mut stream, &Rejection::new(500)).await;
        }
    }
    let protocol = handshake::choose_subprotocol(&request.protocols, &policy.protocols);
    let extensions = deflate.as_ref().map(|negotiated| &negotiated.text[..]);
    let response = handshake::encode_response(&request, protocol.as_deref(), extensions, &extra);
    let mut sent = stream.write_all(&response).await;
    if sent.is_ok() {
        sent = stream.flush().await;
    }
    sent.map_err(|error| gone(Some(error)))?;
    Ok(Established {
        headers: request.headers,
        protocol,
        deflate,
        tls: stream.into_session(&mut leftover),
        leftover,
    })
}

/// The server's end of a TLS handshake. Whoever speaks plain HTTP is told so.
async fn secure(
    mut stream: Stream,
    configuration: Arc<ServerConfig>,
) -> Result<Transport, Failure> {
    match stream.peek().await {
        // No record of TLS begins with a letter, and every HTTP method does.
        Ok(Some(first)) if first.is_ascii_alphabetic() => {
            let rejection = Rejection::new(400);
            let _ = stream.write_all(&rejection.encode()).await;
            return Err(refused(&rejection));
        }
        Ok(Some(_)) => {}
        Ok(None) => return Err(gone(None)),
        Err(error) => return Err(gone(Some(error))),
    }
    match TlsAcceptor::from(configuration).accept(stream).await {
        Ok(session) => Ok(Transport::Server(Box::new(session))),
        // rustls has sent its alert.
        Err(error) => Err(gone(Some(error))),
    }
}

/// Why there is no request.
enum Unread {
    /// There is one, to be answered with this.
    Refused(Rejection),
    /// There is nobody to answer.
    Gone(Option<io::Error>),
}

/// Takes a request from the front of `head`, where some of it may be.
async fn read_request(stream: &mut Transport, head: &mut Vec<u8>) -> Result<Request, Unread> {
    loop {
        match handshake::parse_request(head) {
            Ok(None) => {}
            Ok(Some((length, request))) => {
                head.drain(..length);
                head.shrink_to_fit();
                return Ok(request);
            }
            Err(rejection) => return Err(Unread::Refused(rejection)),
        }
        match read_more(stream, head).await {
            Ok(0) => return Err(Unread::Gone(None)),
            Ok(_) => {}
            Err(error) => return Err(Unread::Gone(Some(error))),
        }
    }
}

/// The client went away before it had its answer.
fn gone(error: Option<io::Error>) -> Failure {
    let why = error.map_or_else(String::new, |error| {
        format!(": {}", words::stream_reason(&error))
    });
    Failure::Server(format!("the client went away during the upgrade{why}"))
}

fn refused(rejection: &Rejection) -> Failure {
    Failure::Server(format!("the upgrade was refused: {rejection}"))
}

/// Sends the answer; the engine then shuts the connection down.
async fn reject(stream: &mut Transport, rejection: &Rejection) -> Result<Established, Failure> {
    // Whoever does not take the answer goes without one.
    let _ = stream.write_all(&rejection.encode()).await;
    let _ = stream.shutdown().await;
    Err(refused(rejection))
}
