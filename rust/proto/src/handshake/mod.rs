//! The opening handshake (RFC 6455 section 4): an HTTP request with `Upgrade: websocket`, and the response
//! 101 to it. Heads are read by httparse, keys are hashed by ring; the rules about both are here.
//!
//! `client` makes the request and `response` checks the answer; `request`, `target` and `server` are the other side.
//! `headers` is what both say about headers, `extensions` about the negotiation of permessage-deflate, `origin` which
//! pages may ask, `host` which names a server answers to, `limits` how large a head may be, `rejection` what a server answers by itself in place of 101.

mod client;
mod extensions;
pub(crate) mod headers;
mod host;
mod limits;
mod origin;
mod refusal;
mod rejection;
pub(crate) mod request;
mod response;
mod server;
pub(crate) mod target;

use data_encoding::BASE64;
use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};

pub use client::{ClientRequest, RequestError};
pub use extensions::{accept_offer, ExtensionError, Malformed, Negotiated, ParameterError};
pub(crate) use headers::is_token;
pub use headers::{canonical_name, check_protocol, check_response_headers, HeaderError, Headers};
pub use host::{EntryError, Host, Hosts};
pub use limits::HeadLimits;
pub use origin::Origins;
pub use refusal::UpgradeRefusal;
pub use rejection::Rejection;
pub use request::{parse_request, readable_headers, RequestParts, UpgradeRequest};
pub use response::{check_ended_response, parse_response, UpgradeResponse, UpgradeResponseError};
pub(crate) use response::{final_response, status_of};
pub use server::{choose_subprotocol, encode_response};

/// A new `Sec-WebSocket-Key`: 16 random bytes in base64.
pub fn generate_key() -> String {
    let mut nonce = [0; 16];
    // From the system each time: a generator of our own would have a forked child repeat its parent's keys. A system
    // without random numbers has no mask keys either.
    SystemRandom::new()
        .fill(&mut nonce)
        .expect("the system's random numbers");
    BASE64.encode(&nonce)
}

/// The `Sec-WebSocket-Accept` that answers `key` (RFC 6455 section 4.2.2).
pub fn accept_key(key: &str) -> String {
    // Miri cannot run what ring asks the processor in assembly. There every key is that of the RFC's example.
    if cfg!(miri) {
        return "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned();
    }
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key.as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    BASE64.encode(hash.finish().as_ref())
}
