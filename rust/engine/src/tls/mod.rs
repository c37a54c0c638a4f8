//! TLS by rustls: what connections are secured with, and the session of one connection.
//!
//! The steps of a handshake are here, their input and output are the cold path's
//! ([`crate::establish`]); [`records`] is what the hot path reads and writes through. Files are read,
//! and configurations made, when `connect`, `listen` or `reload_tls` are called.

/// The part of a verifier of either role that its `chain` does as it is: who has signed what.
macro_rules! signatures_by_chain {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &rustls::pki_types::CertificateDer<'_>,
            dss: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            self.chain.verify_tls12_signature(message, cert, dss)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &rustls::pki_types::CertificateDer<'_>,
            dss: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            self.chain.verify_tls13_signature(message, cert, dss)
        }

        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            self.chain.supported_verify_schemes()
        }
    };
}

pub mod client;
pub mod clients;
pub mod handshake;
mod identity;
pub mod info;
pub mod pem;
pub mod records;
pub mod server;
pub mod session;
mod sni;
pub mod words;

use std::sync::Arc;

use rustls::crypto::{ring, CryptoProvider};

/// The arithmetic that every configuration uses.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Names for ALPN, as rustls takes them.
fn protocols(names: &[String]) -> Result<Vec<Vec<u8>>, String> {
    if names.iter().any(|name| name.is_empty() || name.len() > 255) {
        return Err("a name in ssl_alpn must have 1 to 255 bytes (RFC 7301)".into());
    }
    Ok(names.iter().map(|name| name.clone().into_bytes()).collect())
}
