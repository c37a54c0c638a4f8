//! The WebSocket protocol (RFC 6455) without sockets, clocks or threads: bytes go in, bytes and events come out.
//!
//! [`connection`] is one established connection, [`handshake`] the HTTP exchange before it, [`url`] where to
//! connect to, [`proxy`] through what. [`frame`], [`mask`], [`utf8`] and [`close`] are the rules these are made of. A rule of the
//! protocol (a close code, a header that may not be set, a URL that is refused) is written down here and nowhere else.
//!
//! What this crate must not know: descriptors, time, Perl. Randomness is passed in by the caller, except for
//! the handshake's key ([`handshake::generate_key`]).
#![forbid(unsafe_code)]

pub mod close;
pub mod connection;
pub mod deflate;
pub mod forwarded;
pub mod frame;
pub mod handshake;
pub mod http;
pub mod mask;
pub mod percent;
pub mod proxy;
pub mod url;
pub mod utf8;

pub use connection::{Config, Connection, Failure, FrameError, ReadyState, Received};

/// Which end of the connection we are: it decides who masks (RFC 6455 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The end that connected: masks what it sends, accepts only unmasked frames.
    Client,
    /// The end that listened: sends unmasked frames, accepts only masked ones.
    Server,
}
