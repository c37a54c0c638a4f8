//! Why TLS cannot be had.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::{system_text, Names, PLAIN_NAMES};

/// What a PEM file is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PemRole {
    /// Our own certificate, and the others of its chain.
    Cert,
    /// The certificate's key.
    Key,
    /// A client's roots, or further certificates of a listener's chain.
    Ca,
    /// The roots of clients' certificates.
    ClientCa,
}

/// A PEM file that the options name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PemFile {
    /// What it is there for.
    pub role: PemRole,
    /// Where it is.
    pub path: PathBuf,
}

impl PemFile {
    /// A file of this role.
    pub fn new(role: PemRole, path: &Path) -> Self {
        let path = path.to_owned();
        PemFile { role, path }
    }

    fn text(&self, names: &Names<'_>) -> String {
        let name = match self.role {
            PemRole::Cert => names.cert,
            PemRole::Key => names.key,
            PemRole::Ca => names.ca,
            PemRole::ClientCa => names.client_ca,
        };
        format!("{name} '{}'", self.path.display())
    }
}

/// Why TLS cannot be had with these options.
#[derive(Debug)]
pub enum TlsError {
    /// A file that cannot be read.
    Unreadable(PemFile, io::Error),
    /// A file whose contents cannot be used, and why.
    Unusable(PemFile, String),
    /// A key that is another certificate's.
    Mismatch {
        /// The key.
        key: PemFile,
        /// The certificate.
        cert: PemFile,
    },
    /// A certificate without a key, or a key without a certificate.
    Alone(PemRole),
    /// Clients are to be verified, and no roots are given.
    NoClientCa,
    /// An empty or too long name of a protocol.
    Alpn,
    /// One of the certificates that clients get by the name that they ask for.
    Sni {
        /// The name.
        host: String,
        /// What is wrong with it.
        error: Box<TlsError>,
    },
    /// A name that no client can ask for.
    SniName,
    /// A name that has a certificate already.
    SniTwice,
    /// What rustls says about all of it.
    Library(String),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(&PLAIN_NAMES))
    }
}

impl std::error::Error for TlsError {}

impl TlsError {
    pub(super) fn text(&self, names: &Names<'_>) -> String {
        let Names { cert, key, .. } = names;
        match self {
            TlsError::Unreadable(file, error) => {
                format!("cannot read {}: {}", file.text(names), system_text(error))
            }
            TlsError::Unusable(file, why) => format!("{}: {why}", file.text(names)),
            TlsError::Mismatch { key, cert } => {
                let (key, cert) = (key.text(names), cert.text(names));
                format!("{key}: the key does not belong to the certificate in {cert}")
            }
            TlsError::Alone(given) => {
                let given = if *given == PemRole::Cert { cert } else { key };
                format!("{cert} and {key} must both be set (only {given} was given)")
            }
            TlsError::NoClientCa => format!(
                "clients cannot be verified without {}, the roots of their certificates",
                names.client_ca
            ),
            TlsError::Alpn => {
                format!(
                    "a name in {} must have 1 to 255 bytes (RFC 7301)",
                    names.alpn
                )
            }
            TlsError::Sni { host, error } => {
                let (cert, key) = (PLAIN_NAMES.cert, PLAIN_NAMES.key);
                let why = error.text(&Names {
                    cert,
                    key,
                    ..*names
                });
                format!("{} '{}': {why}", names.sni, host.escape_debug())
            }
            TlsError::SniName => "it is neither a host name nor '*.' and one".into(),
            TlsError::SniTwice => {
                "the same name is there twice (capitals make no difference)".into()
            }
            TlsError::Library(why) => why.clone(),
        }
    }
}
