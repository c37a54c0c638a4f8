//! What a listener is secured with.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring::Ticketer;
use rustls::{Error, ServerConfig};

use super::{pem, provider, words};

/// The files of a listener.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// A PEM file with the server's certificate, and the others of its chain.
    pub cert: PathBuf,
    /// A PEM file with its key.
    pub key: PathBuf,
    /// A PEM file with further certificates for the chain.
    pub ca: Option<PathBuf>,
}

/// Reads the files.
///
/// # Errors
/// One of them cannot be read or used, or the key is not the certificate's; in words.
pub fn configuration(options: &ServerTls) -> Result<Arc<ServerConfig>, String> {
    let mut chain = pem::chain("ssl_cert", &options.cert)?;
    if let Some(path) = &options.ca {
        let known = chain.clone();
        let more = pem::chain("ssl_ca", path)?;
        chain.extend(more.into_iter().filter(|one| !known.contains(one)));
    }
    let key = pem::key("ssl_key", &options.key)?;
    let mut made = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| words::reason(&error))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| mismatch(&error, &options.cert, &options.key))?;
    made.ticketer = Ticketer::new().map_err(|error| words::reason(&error))?;
    Ok(Arc::new(made))
}

/// Why a certificate and a key were not accepted together.
pub fn mismatch(error: &Error, cert: &Path, key: &Path) -> String {
    let (cert, key) = (pem::named("ssl_cert", cert), pem::named("ssl_key", key));
    match error {
        Error::InconsistentKeys(_) => {
            format!("{key}: the key does not belong to the certificate in {cert}")
        }
        Error::General(_) => format!("{key}: {}", words::reason(error)),
        other => format!("{cert}: {}", words::reason(other)),
    }
}
