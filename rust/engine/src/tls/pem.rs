//! Certificates and keys from PEM files, with errors that name the option and the file.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::server::ParsedCertificate;
use rustls::RootCertStore;
use rustls_pki_types::pem::{Error, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::error_text;

/// How an error names a file.
pub fn file_text(option: &str, path: &Path) -> String {
    format!("{option} '{}'", path.display())
}

fn read(option: &str, path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| {
        format!(
            "cannot read {}: {}",
            file_text(option, path),
            crate::error::system_text(&error)
        )
    })
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
pub fn certificates(option: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = read(option, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(list) if list.is_empty() => Err(format!(
            "{}: there is no PEM certificate in it",
            file_text(option, path)
        )),
        Ok(list) => Ok(list),
        Err(error) => Err(format!(
            "{}: {}",
            file_text(option, path),
            pem_error_text(&error)
        )),
    }
}

/// All certificates of a file that are sent to a peer: each must be well formed.
///
/// # Errors
/// The file cannot be read, is not PEM, has no certificate in it, or one that cannot be parsed.
pub fn chain(option: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let list = certificates(option, path)?;
    for (index, certificate) in list.iter().enumerate() {
        ParsedCertificate::try_from(certificate).map_err(|error| {
            let number = index + 1;
            let why = error_text::reason(&error);
            format!(
                "{}: certificate number {number} is malformed: {why}",
                file_text(option, path)
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
    option: &str,
    path: &Path,
) -> Result<(Arc<RootCertStore>, Vec<CertificateDer<'static>>), String> {
    let list = certificates(option, path)?;
    let mut roots = RootCertStore::empty();
    for certificate in &list {
        roots.add(certificate.clone()).map_err(|error| {
            format!(
                "{}: {}",
                file_text(option, path),
                error_text::reason(&error)
            )
        })?;
    }
    Ok((Arc::new(roots), list))
}

/// The private key of a file: PKCS#8, PKCS#1 or SEC1.
///
/// # Errors
/// The file cannot be read, is not PEM, or has no key in it that can be used without a password.
pub fn key(option: &str, path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let bytes = read(option, path)?;
    let is_encrypted = [&b"ENCRYPTED PRIVATE KEY"[..], b"Proc-Type: 4,ENCRYPTED"]
        .iter()
        .any(|mark| bytes.windows(mark.len()).any(|window| window == *mark));
    if is_encrypted {
        return Err(format!(
            "{}: the key is protected by a password, which is not supported",
            file_text(option, path)
        ));
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        let why = match error {
            Error::NoItemsFound => "there is no PEM private key in it".to_string(),
            other => pem_error_text(&other),
        };
        format!("{}: {why}", file_text(option, path))
    })
}
