//! A client's way to an established connection: reach the server, ask for the upgrade.

use std::net::SocketAddr;
use std::path::PathBuf;

use evws_proto::handshake::{self, ClientRequest, Response};
use evws_proto::proxy::Proxy;
use evws_proto::url::Url;
use tokio::io::AsyncWriteExt;

use super::stream::Stream;
use super::{dial, proxy, read_more, Desk, Established, Failure};

/// How the server is reached.
pub enum Route {
    /// By the addresses that its name has.
    Lookup,
    /// By these addresses.
    Addresses(Vec<SocketAddr>),
    /// Through a proxy.
    Proxy(Proxy),
    /// By a Unix socket.
    Unix(PathBuf),
    /// Not at all, and why.
    Unknown(String),
}

/// Establishes a connection (RFC 6455 section 4.1).
pub async fn establish(
    mut stream: Stream,
    desk: Desk,
    url: Url,
    route: Route,
    request: ClientRequest,
) -> Result<Established, Failure> {
    match run(&mut stream, &desk, &url, route, &request).await {
        Ok((response, leftover)) => Ok(Established {
            headers: response.headers,
            protocol: response.protocol,
            leftover,
        }),
        Err(text) => Err(Failure::Client(text)),
    }
}

async fn run(
    stream: &mut Stream,
    desk: &Desk,
    url: &Url,
    route: Route,
    request: &ClientRequest,
) -> Result<(Response, Vec<u8>), String> {
    match route {
        Route::Lookup => {
            let addresses = dial::resolve(desk, &url.host, url.port).await?;
            dial::connect(stream, &url.host, &addresses).await?;
        }
        Route::Addresses(addresses) => dial::connect(stream, &url.host, &addresses).await?,
        Route::Proxy(proxy) => {
            proxy::reach(stream, desk, &proxy, &url.host, url.port).await?;
        }
        Route::Unix(path) => dial::connect_unix(stream, &path).await?,
        Route::Unknown(text) => return Err(text),
    }
    upgrade(stream, request).await
}

async fn upgrade(
    stream: &mut Stream,
    request: &ClientRequest,
) -> Result<(Response, Vec<u8>), String> {
    let key = handshake::generate_key();
    let sent = stream.write_all(&request.encode(&key)).await;
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
                return Err(format!("upgrade request: {error}"));
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
