//! TLS by rustls: the configurations of clients and listeners, and the session of one connection.
//!
//! [`handshake`] takes the steps of a handshake, whose bytes `arrivals/` reads and
//! writes; an established connection reads and writes through [`records`]. Files are read,
//! and configurations made, when `connect`, `listen` or `reload_tls` are called.

/// The methods of a verifier of either role that check signatures: its `chain` does.
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
pub mod client_verifier;
pub mod error_text;
pub mod handshake;
mod identity;
pub mod info;
pub mod pem;
pub mod records;
pub mod server;
pub mod session;
mod sni;

use std::sync::Arc;

use rustls::crypto::{ring, CryptoProvider};

use crate::error::TlsError;

/// The cryptography that every configuration uses.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Names for ALPN, as rustls takes them.
fn protocols(names: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, TlsError> {
    if names.iter().any(|name| name.is_empty() || name.len() > 255) {
        return Err(TlsError::Alpn);
    }
    Ok(names.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_of_alpn_has_a_name_of_1_to_255_octets() {
        for (length, fits) in [(0, false), (1, true), (255, true), (256, false)] {
            let names = [b"http/1.1".to_vec(), vec![0xFF; length]];
            assert_eq!(protocols(&names).is_ok(), fits, "{length}");
        }
    }
}
