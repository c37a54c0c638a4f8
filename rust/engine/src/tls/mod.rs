//! TLS by rustls: what connections are secured with, and the session of one connection.
//!
//! The handshake belongs to the cold path ([`crate::establish`]); [`session`] is what the hot path
//! reads and writes through. Files are read, and configurations made, when `connect` or `listen`
//! are called.

pub mod client;
pub mod pem;
pub mod server;
pub mod session;
pub mod words;

use std::sync::Arc;

use rustls::crypto::{ring, CryptoProvider};

/// The arithmetic that every configuration uses.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
