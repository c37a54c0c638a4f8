//! TLS by rustls: what connections are secured with, and the session of one connection.
//!
//! The steps of a handshake are here, their input and output are the cold path's
//! ([`crate::establish`]); [`records`] is what the hot path reads and writes through. Files are read, and configurations made, when `connect` or `listen`
//! are called.

pub mod client;
pub mod handshake;
pub mod pem;
pub mod records;
pub mod server;
pub mod session;
pub mod words;

use std::sync::Arc;

use rustls::crypto::{ring, CryptoProvider};

/// The arithmetic that every configuration uses.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
