//! The texts of rustls' errors, for the program.
//!
//! rustls shows many of its errors by the names of its own types, `HandshakeFailure` or `DnsName("localhost")`.

use std::fmt::Debug;

use rustls::{CertificateError, Error, InvalidMessage};

/// The text of an error of rustls.
pub fn reason(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(_) if is_ca_as_end_entity(error) => {
            "invalid peer certificate: unknown issuer (it is the certificate of a CA itself, \
             self-signed as a rule)"
                .into()
        }
        Error::InvalidCertificate(why) => {
            format!("invalid peer certificate: {}", certificate_error_text(why))
        }
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the peer does not speak TLS".into()
        }
        Error::InvalidMessage(why) => format!("received a corrupt message: {}", variant_text(why)),
        Error::AlertReceived(alert) => format!("received fatal alert: {}", variant_text(alert)),
        Error::PeerIncompatible(why) => format!("peer is incompatible: {}", variant_text(why)),
        Error::PeerMisbehaved(why) => format!("peer misbehaved: {}", variant_text(why)),
        Error::InappropriateMessage { got_type, .. } => {
            format!("received unexpected message: {}", variant_text(got_type))
        }
        Error::InappropriateHandshakeMessage { got_type, .. } => {
            format!(
                "received unexpected handshake message: {}",
                variant_text(got_type)
            )
        }
        Error::General(text) => text.clone(),
        other => other.to_string(),
    }
}

fn certificate_error_text(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => "unknown issuer (no trusted root has signed it)".into(),
        CertificateError::Expired => "certificate expired".into(),
        CertificateError::NotValidYet => "certificate not valid yet".into(),
        CertificateError::BadSignature => {
            "bad signature (RSA keys must have at least 2048 bits)".into()
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "signed with an algorithm that is not accepted (as SHA-1 is not)".into()
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => {
            let names: Vec<&str> = presented.iter().map(|name| bare_name(name)).collect();
            let names = match names[..] {
                [] => "not valid for any names (it has no subjectAltName)".to_owned(),
                _ => format!("only valid for {}", names.join(", ")),
            };
            let expected = expected.to_str();
            format!("certificate not valid for name \"{expected}\"; it is {names}")
        }
        CertificateError::Other(other) => match other.0.downcast_ref::<webpki::Error>() {
            Some(why) => variant_text(why),
            None => other.0.to_string(),
        },
        // rustls has a text for each of these variants.
        CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYetContext { .. }
        | CertificateError::ExpiredRevocationListContext { .. }
        | CertificateError::InvalidPurposeContext { .. } => why.to_string(),
        other => variant_text(other),
    }
}

/// `localhost` of `DnsName("localhost")`, `::1` of `IpAddress(::1)`.
fn bare_name(shown: &str) -> &str {
    let inner = shown
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(shown).trim_matches('"')
}

/// The name of an enum's variant as text: `no cipher suites in common` for `NoCipherSuitesInCommon`.
fn variant_text(variant: &impl Debug) -> String {
    let shown = format!("{variant:?}");
    let name = shown
        .split(|c: char| !c.is_ascii_alphanumeric())
        .next()
        .unwrap_or_default();
    let letters = name.as_bytes();
    let mut words = String::with_capacity(name.len() + 8);
    for (index, letter) in name.char_indices() {
        let begins = letter.is_ascii_uppercase() && index > 0 && {
            let next_is_lower = letters.get(index + 1).is_some_and(u8::is_ascii_lowercase);
            !letters[index - 1].is_ascii_uppercase() || next_is_lower
        };
        if begins {
            words.push(' ');
        }
        words.push(letter);
    }
    let words: Vec<String> = words.split(' ').map(lower_case).collect();
    words.join(" ")
}

/// A word in lower case. Abbreviations keep their capitals, and versions get their usual spelling.
fn lower_case(word: &str) -> String {
    match word {
        "Tls12" => "TLS 1.2".into(),
        "Tls13" => "TLS 1.3".into(),
        "Or13" => "or 1.3".into(),
        _ if word.len() > 1 && !word.bytes().any(|letter| letter.is_ascii_lowercase()) => {
            word.into()
        }
        _ => word.to_ascii_lowercase(),
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

#[cfg(test)]
mod tests {
    use rustls::{AlertDescription, PeerIncompatible};
    use rustls_pki_types::ServerName;

    use super::*;

    #[test]
    fn names_of_variants_become_words() {
        for (error, text) in [
            (
                Error::AlertReceived(AlertDescription::HandshakeFailure),
                "received fatal alert: handshake failure",
            ),
            (
                Error::AlertReceived(AlertDescription::UnknownCA),
                "received fatal alert: unknown CA",
            ),
            (
                Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon),
                "peer is incompatible: no cipher suites in common",
            ),
            (
                Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13),
                "peer is incompatible: server does not support TLS 1.2 or 1.3",
            ),
            (
                Error::InvalidMessage(InvalidMessage::UnexpectedMessage("this")),
                "received a corrupt message: unexpected message",
            ),
            (
                Error::InvalidCertificate(CertificateError::UnhandledCriticalExtension),
                "invalid peer certificate: unhandled critical extension",
            ),
        ] {
            assert_eq!(reason(&error), text);
        }
    }

    #[test]
    fn names_of_a_certificate_are_bare() {
        let expected = ServerName::try_from("example.com").unwrap();
        let error = |presented: &[&str]| {
            reason(&Error::InvalidCertificate(
                CertificateError::NotValidForNameContext {
                    expected: expected.clone(),
                    presented: presented.iter().map(|name| (*name).to_owned()).collect(),
                },
            ))
        };
        let start =
            "invalid peer certificate: certificate not valid for name \"example.com\"; it is ";
        assert_eq!(
            error(&["DnsName(\"localhost\")", "IpAddress(::1)"]),
            format!("{start}only valid for localhost, ::1")
        );
        assert_eq!(
            error(&[]),
            format!("{start}not valid for any names (it has no subjectAltName)")
        );
    }

    #[test]
    fn abbreviations_are_words_that_keep_their_capitals() {
        for (name, text) in [
            ("InvalidDNSName", "invalid DNS name"),
            ("SuchAMessage", "such a message"),
            ("CA", "CA"),
        ] {
            assert_eq!(variant_text(&format_args!("{name}")), text);
        }
    }
}
