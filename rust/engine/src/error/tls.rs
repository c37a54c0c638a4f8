//! Why TLS cannot be had.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::system_text;

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

impl PemRole {
    /// What it is called: with a prefix by its option, and in words if there is none.
    fn name(self, prefix: Option<&str>) -> String {
        let (option, words) = match self {
            PemRole::Cert => ("cert", "certificate"),
            PemRole::Key => ("key", "key"),
            PemRole::Ca => ("ca", "CA file"),
            PemRole::ClientCa => ("client_ca", "client CA file"),
        };
        prefix.map_or(words.into(), |prefix| format!("{prefix}{option}"))
    }
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

    fn text(&self, prefix: Option<&str>) -> String {
        format!("{} '{}'", self.role.name(prefix), self.path.display())
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
        f.write_str(&self.text(None))
    }
}

impl std::error::Error for TlsError {}

impl TlsError {
    /// The text; the options of TLS are called by their names behind this prefix.
    pub(super) fn text(&self, prefix: Option<&str>) -> String {
        let option = |name| format!("{}{name}", prefix.unwrap_or_default());
        match self {
            TlsError::Unreadable(file, error) => {
                format!("cannot read {}: {}", file.text(prefix), system_text(error))
            }
            TlsError::Unusable(file, why) => format!("{}: {why}", file.text(prefix)),
            TlsError::Mismatch { key, cert } => {
                let (key, cert) = (key.text(prefix), cert.text(prefix));
                format!("{key}: the key does not belong to the certificate in {cert}")
            }
            TlsError::Alone(given) => {
                let [cert, key, given] =
                    [PemRole::Cert, PemRole::Key, *given].map(|role| role.name(prefix));
                format!("{cert} and {key} must both be set (only {given} was given)")
            }
            TlsError::NoClientCa => format!(
                "clients cannot be verified without {}, the roots of their certificates",
                PemRole::ClientCa.name(prefix)
            ),
            TlsError::Alpn => format!(
                "a name in {} must have 1 to 255 bytes (RFC 7301)",
                option("alpn")
            ),
            TlsError::Sni { host, error } => {
                let why = error.text(None);
                format!("{} '{}': {why}", option("sni"), host.escape_debug())
            }
            TlsError::SniName => "it is neither a host name nor '*.' and one".into(),
            TlsError::SniTwice => {
                "the same name is there twice (capitals make no difference)".into()
            }
            TlsError::Library(why) => why.clone(),
        }
    }
}
