//! Certificates and keys from PEM files.

use std::fs;
use std::sync::Arc;

use rustls::server::ParsedCertificate;
use rustls::RootCertStore;
use rustls_pki_types::pem::{Error, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::error_text;
use crate::error::{PemFile, TlsError};

fn read(file: &PemFile) -> Result<Vec<u8>, TlsError> {
    fs::read(&file.path).map_err(|error| TlsError::Unreadable(file.clone(), error))
}

fn unusable(file: &PemFile, why: impl Into<String>) -> TlsError {
    TlsError::Unusable(file.clone(), why.into())
}

fn pem_error_text(error: &Error) -> String {
    match error {
        Error::MissingSectionEnd { .. } => "a PEM section has no end".into(),
        Error::IllegalSectionStart { .. } => "a PEM section has a malformed first line".into(),
        Error::Base64Decode(_) => "a PEM section is not base64".into(),
        other => other.to_string(),
    }
}

/// All certificates of a file, in its order; there is at least one.
///
/// # Errors
/// The file cannot be read, is not PEM, or has no certificate in it.
pub fn certificates(file: &PemFile) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(list) if list.is_empty() => Err(unusable(file, "there is no PEM certificate in it")),
        Ok(list) => Ok(list),
        Err(error) => Err(unusable(file, pem_error_text(&error))),
    }
}

/// All certificates of a file that are sent to a peer: each must be well formed.
///
/// # Errors
/// The file cannot be read, is not PEM, has no certificate in it, or one that cannot be parsed.
pub fn chain(file: &PemFile) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let list = certificates(file)?;
    for (index, certificate) in list.iter().enumerate() {
        ParsedCertificate::try_from(certificate).map_err(|error| {
            let number = index + 1;
            let why = error_text::reason(&error);
            unusable(
                file,
                format!("certificate number {number} is malformed: {why}"),
            )
        })?;
    }
    Ok(list)
}

/// All certificates of a file, as roots and as they are.
///
/// # Errors
/// The file cannot be read, is not PEM, has no certificate in it, or one that cannot be a root.
pub fn roots(
    file: &PemFile,
) -> Result<(Arc<RootCertStore>, Vec<CertificateDer<'static>>), TlsError> {
    let list = certificates(file)?;
    let mut roots = RootCertStore::empty();
    for certificate in &list {
        let added = roots.add(certificate.clone());
        added.map_err(|error| unusable(file, error_text::reason(&error)))?;
    }
    Ok((Arc::new(roots), list))
}

/// The private key of a file: PKCS#8, PKCS#1 or SEC1.
///
/// # Errors
/// The file cannot be read, is not PEM, or has no key in it that can be used without a password.
pub fn key(file: &PemFile) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = read(file)?;
    let is_encrypted = [&b"ENCRYPTED PRIVATE KEY"[..], b"Proc-Type: 4,ENCRYPTED"]
        .iter()
        .any(|mark| bytes.windows(mark.len()).any(|window| window == *mark));
    if is_encrypted {
        let why = "the key is protected by a password, which is not supported";
        return Err(unusable(file, why));
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        let why = match error {
            Error::NoItemsFound => "there is no PEM private key in it".to_owned(),
            other => pem_error_text(&other),
        };
        unusable(file, why)
    })
}
