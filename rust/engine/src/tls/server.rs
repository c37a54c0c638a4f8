//! TLS of listeners: their files, and the configurations that are made of them.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::ring::Ticketer;
use rustls::sign::CertifiedKey;
use rustls::ServerConfig;

use super::client_verifier::{self, VerifyClient};
use super::sni::SniResolver;
use super::{error_text, identity, protocols, provider};
use crate::error::{CallError, TlsError};

/// The files of a listener, and what it asks of clients.
#[derive(Clone, Debug, Default)]
pub struct ServerTls {
    /// A PEM file with the server's certificate, and the others of its chain.
    pub cert: PathBuf,
    /// A PEM file with the key of that certificate.
    pub key: PathBuf,
    /// A PEM file with further certificates for the chain.
    pub ca: Option<PathBuf>,
    /// Whether clients are asked for certificates.
    pub verify_client: VerifyClient,
    /// A PEM file with the roots that the clients' certificates lead to.
    pub client_ca: Option<PathBuf>,
    /// Other certificates, for some of the names that clients ask for.
    pub sni: Vec<NamedCertificate>,
    /// Protocols for ALPN (RFC 7301), the preferred one first; empty: the protocols that clients offer
    /// are left without an answer.
    pub alpn: Vec<Vec<u8>>,
}

/// A certificate for clients that ask for a name (SNI).
#[derive(Clone, Debug)]
pub struct NamedCertificate {
    /// `example.org`, or `*.example.org` for all names with one more label.
    pub host: String,
    /// A PEM file with the certificate, and the others of its chain.
    pub cert: PathBuf,
    /// A PEM file with the certificate's key.
    pub key: PathBuf,
}

impl ServerTls {
    /// Reads the certificate that clients get whatever name they ask for.
    fn certificate(&self) -> Result<Arc<CertifiedKey>, TlsError> {
        identity::read(&self.cert, &self.key, self.ca.as_deref())
    }

    /// The same files by absolute paths, which stay right when the process changes its directory.
    fn absolute(mut self) -> Self {
        let named = self.sni.iter_mut();
        let paths = [&mut self.cert, &mut self.key]
            .into_iter()
            .chain(&mut self.ca)
            .chain(&mut self.client_ca)
            .chain(named.flat_map(|one| [&mut one.cert, &mut one.key]));
        for path in paths {
            // It fails where there is no current directory; the path stays relative then.
            if let Ok(absolute) = std::path::absolute(&path) {
                *path = absolute;
            }
        }
        self
    }
}

/// TLS of a listener: its files, and the configuration that was made of them last.
#[derive(Debug)]
pub struct ListenerTls {
    files: ServerTls,
    current: RefCell<Arc<ServerConfig>>,
}

impl ListenerTls {
    /// Reads the files.
    ///
    /// # Errors
    /// As for [`read`](Self::read); [`CallError::Certificate`] is about what every listener with TLS has.
    pub fn new(files: ServerTls) -> Result<Self, CallError> {
        let own = files.certificate().map_err(CallError::Certificate)?;
        let current = RefCell::new(configuration(&files, own)?);
        let files = files.absolute();
        Ok(ListenerTls { files, current })
    }

    /// The configuration for a handshake that begins now.
    pub fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.borrow())
    }

    /// Reads the files again.
    ///
    /// # Errors
    /// A file cannot be read or used, a key is not its certificate's, or a host of
    /// [`NamedCertificate`] is no name.
    pub fn read(&self) -> Result<Arc<ServerConfig>, TlsError> {
        configuration(&self.files, self.files.certificate()?)
    }

    /// Puts another configuration in place of the current one.
    pub fn replace(&self, configuration: Arc<ServerConfig>) {
        self.current.replace(configuration);
    }
}

fn configuration(
    options: &ServerTls,
    own: Arc<CertifiedKey>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let library = |error| TlsError::Library(error_text::reason(&error));
    let mut names = SniResolver::new(own);
    for one in &options.sni {
        identity::read(&one.cert, &one.key, None)
            .and_then(|certificate| names.add(&one.host, certificate))
            .map_err(|error| TlsError::Sni {
                host: one.host.clone(),
                error: Box::new(error),
            })?;
    }
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(library)?;
    let builder =
        match client_verifier::verifier(options.verify_client, options.client_ca.as_deref())? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
    let mut made = builder.with_cert_resolver(Arc::new(names));
    made.alpn_protocols = protocols(&options.alpn)?;
    // A ticket has the client's certificate in it, which is not verified again. The keys are made
    // anew with each configuration, so one that replaces another takes none of its tickets.
    made.ticketer = Ticketer::new().map_err(library)?;
    Ok(Arc::new(made))
}
