//! TLS of clients: roots, client certificates, and the sessions that can be resumed.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_name, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::{error_text, identity, pem, protocols, provider};
use crate::error::{PemFile, PemRole, TlsError};

/// How many configurations a context keeps. A program that uses more is slower, not refused.
const MAX_CONFIGS: usize = 64;

/// How a client secures its connection. Connections with equal options share their sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClientTls {
    /// Whether the server's certificate is checked.
    pub verify: bool,
    /// A PEM file with trusted roots, in place of the system's.
    pub ca: Option<PathBuf>,
    /// A PEM file with the client's certificate, and the others of its chain.
    pub cert: Option<PathBuf>,
    /// A PEM file with the key of that certificate.
    pub key: Option<PathBuf>,
    /// Protocols for ALPN (RFC 7301), the preferred one first.
    pub alpn: Vec<Vec<u8>>,
}

/// The clients' configurations of one context. A file is read when it is needed first.
#[derive(Default)]
pub struct ClientConfigs {
    system_roots: Option<Arc<RootCertStore>>,
    configurations: HashMap<ClientTls, Arc<ClientConfig>>,
}

impl ClientConfigs {
    /// The configuration for these options.
    ///
    /// # Errors
    /// A file cannot be read or used. A system without roots is found out by the handshake,
    /// since that is no mistake of the program.
    pub fn configuration(&mut self, options: &ClientTls) -> Result<Arc<ClientConfig>, TlsError> {
        if let Some(known) = self.configurations.get(options) {
            return Ok(Arc::clone(known));
        }
        let made = Arc::new(self.make(options)?);
        if self.configurations.len() >= MAX_CONFIGS {
            self.configurations.clear();
        }
        self.configurations
            .insert(options.clone(), Arc::clone(&made));
        Ok(made)
    }

    fn make(&mut self, options: &ClientTls) -> Result<ClientConfig, TlsError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Library(error_text::reason(&error)))?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier(options)?);
        let mut made = match (&options.cert, &options.key) {
            (Some(cert), Some(key)) => {
                let identity = identity::read(cert, key, None)?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity)))
            }
            (None, None) => builder.with_no_client_auth(),
            (Some(_), None) => return Err(TlsError::Alone(PemRole::Cert)),
            (None, Some(_)) => return Err(TlsError::Alone(PemRole::Key)),
        };
        made.alpn_protocols = protocols(&options.alpn)?;
        Ok(made)
    }

    fn verifier(&mut self, options: &ClientTls) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
        if !options.verify {
            return Ok(Arc::new(UncheckedVerifier { refusal: None }));
        }
        let (roots, named) = match &options.ca {
            Some(path) => pem::roots(&PemFile::new(PemRole::Ca, path))?,
            None => match self.system_roots() {
                Ok(roots) => (roots, Vec::new()),
                Err(why) => {
                    let refusal = Some(why);
                    return Ok(Arc::new(UncheckedVerifier { refusal }));
                }
            },
        };
        let chain = WebPkiServerVerifier::builder_with_provider(roots, provider())
            .build()
            .map_err(|error| TlsError::Library(error.to_string()))?;
        Ok(Arc::new(ServerVerifier { chain, named }))
    }

    fn system_roots(&mut self) -> Result<Arc<RootCertStore>, String> {
        if let Some(known) = &self.system_roots {
            return Ok(Arc::clone(known));
        }
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let why = found.errors.first().map_or_else(
                || "install the package ca-certificates, set SSL_CERT_FILE, or name a file with roots".into(),
                |error| match &error.kind {
                    rustls_native_certs::ErrorKind::Io { inner, path } => {
                        format!("{}: {}", path.display(), crate::error::system_text(inner))
                    }
                    _ => error.to_string(),
                },
            );
            return Err(format!(
                "the system has no trusted root certificates: {why}"
            ));
        }
        let roots = Arc::new(roots);
        self.system_roots = Some(Arc::clone(&roots));
        Ok(roots)
    }
}

/// Accepts certificates whose chains lead to trusted roots, and the certificates in the file of roots
/// themselves. A self-signed certificate as `openssl req -x509` makes it says that it is a CA's, so no
/// chain can end in it.
#[derive(Debug)]
struct ServerVerifier {
    chain: Arc<WebPkiServerVerifier>,
    named: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let result = self.chain.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match result {
            // rustls has checked the certificate's dates before it noticed that it is a CA's, but not
            // its name.
            Err(error)
                if error_text::is_ca_as_end_entity(&error)
                    && self.named.iter().any(|named| named == end_entity) =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            result => result,
        }
    }

    signatures_by_chain!();
}

/// Looks at no certificate: it accepts every server, and then a signature proves nothing either; or it
/// refuses every server, because the system has no roots.
#[derive(Debug)]
struct UncheckedVerifier {
    refusal: Option<String>,
}

impl ServerCertVerifier for UncheckedVerifier {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.refusal {
            Some(why) => Err(Error::General(why.clone())),
            None => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A configuration that is made anew has none of the sessions that could be resumed; and a program that never uses one
    /// twice must not fill the memory with them.
    #[test]
    fn equal_options_share_their_sessions_and_not_without_end() {
        let mut configs = ClientConfigs::default();
        let options = |number: usize| ClientTls {
            alpn: vec![number.to_string().into_bytes()],
            ..ClientTls::default()
        };
        let first = configs.configuration(&options(1)).unwrap();
        configs.configuration(&options(2)).unwrap();
        let again = configs.configuration(&options(1)).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        for number in 3..=MAX_CONFIGS {
            configs.configuration(&options(number)).unwrap();
        }
        assert_eq!(configs.configurations.len(), MAX_CONFIGS);
        configs.configuration(&options(0)).unwrap();
        assert!(configs.configurations.len() <= MAX_CONFIGS);
    }
}
