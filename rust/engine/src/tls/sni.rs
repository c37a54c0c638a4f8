//! Which certificate a client gets, by the name that it asks for (SNI, RFC 6066 section 3).

use std::collections::HashMap;
use std::sync::Arc;

use rustls::pki_types::DnsName;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::error::TlsError;

/// The certificates of a listener.
#[derive(Debug)]
pub struct SniResolver {
    /// The certificate for all other names, and for clients that ask for no name.
    own: Arc<CertifiedKey>,
    /// Certificates by names in lower case. A wildcard is kept as `.example.org`.
    named: HashMap<String, Arc<CertifiedKey>>,
}

impl SniResolver {
    /// A listener with one certificate for all names.
    pub fn new(own: Arc<CertifiedKey>) -> Self {
        SniResolver {
            own,
            named: HashMap::new(),
        }
    }

    /// Adds a certificate for `host`: a name, or `*.` and a name.
    ///
    /// # Errors
    /// No client can ask for such a name, or it was added before.
    pub fn add(&mut self, host: &str, certificate: Arc<CertifiedKey>) -> Result<(), TlsError> {
        let (mark, name) = match host.strip_prefix("*.") {
            Some(name) => (".", name),
            None => ("", host),
        };
        let name = DnsName::try_from(name).map_err(|_| TlsError::SniName)?;
        let key = format!("{mark}{}", name.to_lowercase_owned().as_ref());
        match self.named.insert(key, certificate) {
            Some(_) => Err(TlsError::SniTwice),
            None => Ok(()),
        }
    }

    /// The certificate for a name. A wildcard stands for one label, as in certificates (RFC 9525
    /// section 6.3).
    fn find(&self, asked: &str) -> &Arc<CertifiedKey> {
        let asked = asked.to_ascii_lowercase();
        self.named
            .get(&asked)
            .or_else(|| self.named.get(&asked[asked.find('.')?..]))
            .unwrap_or(&self.own)
    }
}

impl ResolvesServerCert for SniResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let found = hello.server_name().map(|asked| self.find(asked));
        Some(Arc::clone(found.unwrap_or(&self.own)))
    }
}
