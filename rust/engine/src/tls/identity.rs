//! A certificate with its chain and key: who an end says that it is.

use std::path::Path;
use std::sync::Arc;

use rustls::sign::CertifiedKey;
use rustls::Error;

use super::{pem, provider, words};

/// What errors call the two files.
pub struct Labels {
    /// That of the certificate.
    pub cert: &'static str,
    /// That of the key.
    pub key: &'static str,
}

/// The options that have these names.
pub const OPTIONS: Labels = Labels {
    cert: "ssl_cert",
    key: "ssl_key",
};

/// Reads both files; `further`: one more, whose certificates are added to the chain.
///
/// # Errors
/// One of them cannot be read or used, or the key is not the certificate's; in words.
pub fn read(
    labels: &Labels,
    cert: &Path,
    key: &Path,
    further: Option<&Path>,
) -> Result<Arc<CertifiedKey>, String> {
    let mut chain = pem::chain(labels.cert, cert)?;
    if let Some(path) = further {
        for one in pem::chain("ssl_ca", path)? {
            if !chain.contains(&one) {
                chain.push(one);
            }
        }
    }
    let der = pem::key(labels.key, key)?;
    CertifiedKey::from_der(chain, der, &provider())
        .map(Arc::new)
        .map_err(|error| {
            let (cert, key) = (pem::named(labels.cert, cert), pem::named(labels.key, key));
            match error {
                Error::InconsistentKeys(_) => {
                    format!("{key}: the key does not belong to the certificate in {cert}")
                }
                Error::General(_) => format!("{key}: {}", words::reason(&error)),
                other => format!("{cert}: {}", words::reason(&other)),
            }
        })
}
