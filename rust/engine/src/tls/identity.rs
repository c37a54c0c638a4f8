//! A certificate with its chain and key.

use std::path::Path;
use std::sync::Arc;

use rustls::sign::CertifiedKey;
use rustls::Error;

use super::{error_text, pem, provider};
use crate::error::{PemFile, PemRole, TlsError};

/// Reads a certificate and its key; `further`: a file whose certificates are added to the chain.
///
/// # Errors
/// One of the files cannot be read or used, or the key is not the certificate's.
pub fn read(
    cert: &Path,
    key: &Path,
    further: Option<&Path>,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let cert = PemFile::new(PemRole::Cert, cert);
    let key = PemFile::new(PemRole::Key, key);
    let mut chain = pem::chain(&cert)?;
    if let Some(path) = further {
        for one in pem::chain(&PemFile::new(PemRole::Ca, path))? {
            if !chain.contains(&one) {
                chain.push(one);
            }
        }
    }
    CertifiedKey::from_der(chain, pem::key(&key)?, &provider())
        .map(Arc::new)
        .map_err(|error| match error {
            Error::InconsistentKeys(_) => TlsError::Mismatch { key, cert },
            Error::General(_) => TlsError::Unusable(key, error_text::reason(&error)),
            other => TlsError::Unusable(cert, error_text::reason(&other)),
        })
}
