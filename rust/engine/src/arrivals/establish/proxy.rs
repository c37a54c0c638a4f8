//! Through a proxy: when this has ended well, the stream is the server's.

use std::io;
use std::net::{IpAddr, SocketAddr};

use evws_proto::handshake::HeadLimits;
use evws_proto::proxy::socks5::{self, SocksTarget};
use evws_proto::proxy::{connect, Proxy, ProxyKind};
use evws_proto::url::Url;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::mailbox::Mailbox;
use super::stream::Stream;
use super::{dial, read_more};
use crate::error;

/// Connects to the host of `url` by way of a proxy, whose answer keeps to `limits`.
///
/// # Errors
/// A text: what went wrong on the way to the proxy or behind it.
pub async fn connect_through(
    stream: &mut Stream,
    mailbox: &Mailbox,
    proxy: &Proxy,
    url: &Url,
    limits: HeadLimits,
) -> Result<(), String> {
    let (host, port) = (&url.host[..], url.port);
    let named = |error| format!("{proxy}: {error}");
    let way = dial::resolve(mailbox, &proxy.host, proxy.port)
        .await
        .map_err(named)?;
    if proxy.kind == ProxyKind::Http {
        dial::connect(stream, mailbox, &proxy.host, &way)
            .await
            .map_err(named)?;
        let request = connect::encode_request(host, port, proxy.credentials.as_ref());
        return http(stream, mailbox, &request, limits).await.map_err(named);
    }
    let mut failures = Vec::new();
    for target in targets(mailbox, proxy, host, port).await? {
        // After a refusal the proxy closes (RFC 1928 section 6): each address has a connection of its own.
        dial::connect(stream, mailbox, &proxy.host, &way)
            .await
            .map_err(named)?;
        match &target {
            SocksTarget::Address(address) => {
                mailbox.log(format_args!("asks {proxy} for {address}"))
            }
            SocksTarget::Name(name, port) => {
                mailbox.log(format_args!("asks {proxy} for {name}:{port}"))
            }
        }
        match socks(stream, proxy, &target).await {
            Ok(()) => return Ok(()),
            Err(error) => failures.push(match target {
                SocksTarget::Address(address) => format!("{proxy}: to {address}: {error}"),
                SocksTarget::Name(..) => format!("{proxy}: {error}"),
            }),
        }
    }
    Err(failures.join("; "))
}

/// The addresses that a SOCKS proxy is asked for, one after the other.
async fn targets(
    mailbox: &Mailbox,
    proxy: &Proxy,
    host: &str,
    port: u16,
) -> Result<Vec<SocksTarget>, String> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocksTarget::Address(SocketAddr::new(ip, port))]);
    }
    if proxy.kind == ProxyKind::Socks5Name {
        return Ok(vec![SocksTarget::Name(host.to_owned(), port)]);
    }
    let addresses = dial::resolve(mailbox, host, port).await?;
    Ok(addresses.into_iter().map(SocksTarget::Address).collect())
}

async fn http(
    stream: &mut Stream,
    mailbox: &Mailbox,
    request: &[u8],
    limits: HeadLimits,
) -> Result<(), String> {
    mailbox.log_head("sent to the proxy", request);
    let sent = stream.write_all(request).await;
    let mut head = Vec::new();
    loop {
        match read_more(stream, &mut head).await {
            Ok(0) if head.is_empty() => {
                return Err("closed the connection without an answer".into())
            }
            Ok(0) => {
                connect::check_ended_response(&head, limits)?;
                return Err("closed the connection in the middle of its answer".into());
            }
            Ok(_) => {}
            // A proxy that refuses early may reset while it is still being written to.
            Err(error) => return Err(error::system_text(&sent.err().unwrap_or(error))),
        }
        let parsed = connect::parse_response(&head, limits);
        if !matches!(parsed, Ok(None)) {
            mailbox.log_head("received from the proxy", &head);
        }
        match parsed? {
            None => {}
            Some(length) if length == head.len() => return Ok(()),
            // Neither a WebSocket server nor a TLS server speaks first.
            Some(_) => return Err("sent data of its own behind its answer".into()),
        }
    }
}

async fn socks(stream: &mut Stream, proxy: &Proxy, target: &SocksTarget) -> Result<(), String> {
    let credentials = proxy.credentials.as_ref();
    let greeting = socks5::encode_greeting(credentials.is_some());
    let method = ask(stream, &greeting).await?;
    if let (true, Some(credentials)) = (
        socks5::parse_method(method, credentials.is_some())?,
        credentials,
    ) {
        let status = ask(stream, &socks5::encode_password(credentials)).await?;
        socks5::parse_password_status(status)?;
    }
    let head = ask(stream, &socks5::encode_request(target)?).await?;
    let mut rest = vec![0; socks5::parse_reply(head)?];
    stream.read_exact(&mut rest).await.map_err(ended)?;
    Ok(())
}

/// Sends a message and reads the first bytes of its answer, never beyond it.
async fn ask<const N: usize>(stream: &mut Stream, message: &[u8]) -> Result<[u8; N], String> {
    let sent = stream.write_all(message).await;
    let mut answer = [0; N];
    match stream.read_exact(&mut answer).await {
        Ok(_) => Ok(answer),
        Err(error) => Err(ended(sent.err().unwrap_or(error))),
    }
}

fn ended(error: io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "closed the connection in the middle of SOCKS5".into(),
        _ => error::system_text(&error),
    }
}
