//! Why TLS failed, in words for the program.

use rustls::{CertificateError, Error, InvalidMessage};

/// Of an error of rustls.
pub fn reason(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "invalid peer certificate: unknown issuer (no trusted root has signed it)".into()
        }
        Error::InvalidCertificate(CertificateError::Expired) => {
            "invalid peer certificate: certificate expired".into()
        }
        Error::InvalidCertificate(CertificateError::NotValidYet) => {
            "invalid peer certificate: certificate not valid yet".into()
        }
        Error::InvalidCertificate(CertificateError::BadSignature) => {
            "invalid peer certificate: bad signature (RSA keys must have at least 2048 bits)".into()
        }
        Error::InvalidCertificate(
            CertificateError::UnsupportedSignatureAlgorithmContext { .. }
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. },
        ) => "invalid peer certificate: signed with an algorithm that is not accepted (as SHA-1 is not)".into(),
        Error::InvalidCertificate(_) if is_ca_as_end_entity(error) => {
            "invalid peer certificate: unknown issuer (it is the certificate of a CA itself, \
             self-signed as a rule)"
                .into()
        }
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the peer does not speak TLS".into()
        }
        Error::General(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Whether a certificate was refused only because it may sign others.
pub fn is_ca_as_end_entity(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(other)) = error else {
        return false;
    };
    matches!(
        other.0.downcast_ref::<webpki::Error>(),
        Some(webpki::Error::CaUsedAsEndEntity)
    )
}
