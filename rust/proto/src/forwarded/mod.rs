//! What proxies before a server say about its clients: the head of the PROXY protocol (`head`), and the headers
//! `X-Forwarded-For` and `Forwarded` (`fields`). `trusted` says which proxies are believed.
//!
//! Nothing is guessed here. An address that is not written as it has to be is an error, since others may read another one:
//! `010.0.0.1` is 8.0.0.1 to some.

mod fields;
mod head;
mod trusted;

use std::fmt;
use std::net::{IpAddr, SocketAddr};

pub use fields::{client, FieldError};
pub use head::{parse_head, HeadError, ProxyHead, MAX_HEAD};
pub use trusted::{Trusted, TrustedError};

/// Who a client is, as far as a proxy says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Peer {
    /// Its address; port 0: the port is not known.
    Address(SocketAddr),
    /// Somebody on the same machine, by a Unix socket.
    Unix,
    /// The proxy does not say.
    #[default]
    Unknown,
}

impl Peer {
    /// The address, an IPv4 address that is written as IPv6 as IPv4.
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Peer::Address(address) => Some(address.ip().to_canonical()),
            Peer::Unix | Peer::Unknown => None,
        }
    }

    /// The port, if it is known.
    pub fn port(self) -> Option<u16> {
        match self {
            Peer::Address(address) => Some(address.port()).filter(|port| *port > 0),
            Peer::Unix | Peer::Unknown => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Address(address) => write!(out, "{address}"),
            Peer::Unix => out.write_str("at a Unix socket"),
            Peer::Unknown => out.write_str("unknown"),
        }
    }
}

impl From<Option<SocketAddr>> for Peer {
    /// Of a socket: one without an address is a Unix socket.
    fn from(address: Option<SocketAddr>) -> Peer {
        address.map_or(Peer::Unix, Peer::Address)
    }
}

/// A port in digits, without a leading zero.
fn port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let is_padded = text.len() > 1 && text.starts_with('0');
    (is_plain && !is_padded).then(|| text.parse().ok())?
}

/// An address; not one with a zone, which is nothing that others know.
fn ip(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}
