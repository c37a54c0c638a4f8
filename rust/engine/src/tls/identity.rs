//! A certificate with its chain and key.

use std::path::Path;
use std::sync::Arc;

use rustls::sign::CertifiedKey;
use rustls::Error;

use super::{error_text, pem, provider};

/// What errors call the files of a certificate and its key.
pub struct Labels {
    /// What they call the certificate's file.
    pub cert: &'static str,
    /// What they call the key's file.
    pub key: &'static str,
}

/// The files of a connection's or a listener's own certificate.
pub const OPTIONS: Labels = Labels {
    cert: "ssl_cert",
    key: "ssl_key",
};

/// Reads a certificate and its key; `further`: a file whose certificates are added to the chain.
///
/// # Errors
/// A text: one of the files cannot be read or used, or the key is not the certificate's.
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
            let (cert, key) = (
                pem::file_text(labels.cert, cert),
                pem::file_text(labels.key, key),
            );
            match error {
                Error::InconsistentKeys(_) => {
                    format!("{key}: the key does not belong to the certificate in {cert}")
                }
                Error::General(_) => format!("{key}: {}", error_text::reason(&error)),
                other => format!("{cert}: {}", error_text::reason(&other)),
            }
        })
}
