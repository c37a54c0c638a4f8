//! A server's way to an established connection: read the request, ask the program, answer.

use std::rc::Rc;
use std::sync::Arc;

use evws_proto::deflate;
use evws_proto::handshake::{self, Rejection, Request};
use rustls::ServerConfig;
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;

use super::secure;
use super::stream::Stream;
use super::transport::Transport;
use super::{read_more, Decision, Desk, Established, Failure, Question};
use crate::tls::handshake::Step;

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
) -> Result<Established, Failure> {
    let mut stream = match &policy.tls {
        Some(configuration) => begin_tls(stream, &desk, Arc::clone(configuration)).await?,
        None => Transport::Plain(stream),
    };
    let (request, mut leftover) = match read_request(&mut stream).await {
        Ok(parts) => parts,
        Err(Some(rejection)) => return reject(&mut stream, &rejection).await,
        Err(None) => return Err(Failure::Server),
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
    if stream.write_all(&response).await.is_err() || stream.flush().await.is_err() {
        return Err(Failure::Server);
    }
    Ok(Established {
        headers: request.headers,
        protocol,
        deflate,
        tls: stream.into_session(&mut leftover),
        leftover,
    })
}

/// The server's end of a TLS handshake. Whoever speaks plain HTTP is told so.
async fn begin_tls(
    mut stream: Stream,
    desk: &Desk,
    configuration: Arc<ServerConfig>,
) -> Result<Transport, Failure> {
    let mut hello = Vec::new();
    match read_more(&mut stream, &mut hello).await {
        // No record of TLS begins with a letter, and every HTTP method does.
        Ok(1..) if hello[0].is_ascii_alphabetic() => {
            let _ = stream.write_all(&Rejection::new(400).encode()).await;
            return Err(Failure::Server);
        }
        Ok(1..) => {}
        Ok(0) | Err(_) => return Err(Failure::Server),
    }
    match secure::handshake(stream, desk, Step::Server(configuration, hello)).await {
        Ok(secured) => Ok(Transport::Secured(secured)),
        // The alert is sent.
        Err(_) => Err(Failure::Server),
    }
}

/// `Err(None)`: there is nobody to answer.
async fn read_request(stream: &mut Transport) -> Result<(Request, Vec<u8>), Option<Rejection>> {
    let mut head = Vec::new();
    loop {
        match read_more(stream, &mut head).await {
            Ok(0) | Err(_) => return Err(None),
            Ok(_) => {}
        }
        match handshake::parse_request(&head) {
            Ok(None) => {}
            Ok(Some((length, request))) => {
                head.drain(..length);
                head.shrink_to_fit();
                return Ok((request, head));
            }
            Err(rejection) => return Err(Some(rejection)),
        }
    }
}

/// Sends the answer; the engine then shuts the connection down.
async fn reject(stream: &mut Transport, rejection: &Rejection) -> Result<Established, Failure> {
    // Whoever does not take the answer goes without one.
    let _ = stream.write_all(&rejection.encode()).await;
    let _ = stream.shutdown().await;
    Err(Failure::Server)
}
