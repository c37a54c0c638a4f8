//! What the two ends of a TLS session have agreed on, for the program.

use rustls::{CipherSuite, HandshakeKind, ProtocolVersion};

use super::session::Session;

/// What a session has agreed on, borrowed from the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsInfo<'a> {
    /// `TLSv1.3` or `TLSv1.2`
    pub version: &'static str,
    /// The cipher suite, by the name that IANA has for it.
    pub cipher: &'static str,
    /// The protocol that ALPN (RFC 7301) chose.
    pub alpn: Option<&'a [u8]>,
    /// The name that the client asked for, or was to be shown a certificate of.
    pub server_name: Option<&'a str>,
    /// The peer's own certificate, as DER.
    pub certificate: Option<&'a [u8]>,
    /// Whether that certificate leads to a trusted root, and is valid for the name if it is a server's.
    pub verified: bool,
    /// Whether the session goes on with what an earlier one agreed on.
    pub resumed: bool,
}

/// What a client expects of the server. A session of rustls does not keep it.
#[derive(Debug)]
pub struct ExpectedServer {
    /// The name in the server's certificate.
    pub name: String,
    /// Whether the server had to prove that name.
    pub verified: bool,
}

impl<'a> TlsInfo<'a> {
    /// What a session has agreed on. `expected` is there if the session is a client's.
    pub fn new(session: &'a Session, expected: Option<&'a ExpectedServer>) -> Self {
        let agreed = session.common();
        let certificate = agreed.peer_certificates().and_then(|chain| chain.first());
        let server_name = match (session, expected) {
            (Session::Server(_, name), _) => name.get().map(|name| &name[..]),
            (Session::Client(_), expected) => expected.map(|expected| &expected.name[..]),
        };
        TlsInfo {
            version: match agreed.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "TLSv1.3",
            },
            cipher: cipher_name(
                agreed
                    .negotiated_cipher_suite()
                    .map_or(CipherSuite::TLS_NULL_WITH_NULL_NULL, |suite| suite.suite()),
            ),
            alpn: agreed.alpn_protocol(),
            server_name,
            certificate: certificate.map(|certificate| &certificate[..]),
            // A server has no certificate that it did not verify.
            verified: certificate.is_some() && expected.is_none_or(|expected| expected.verified),
            resumed: agreed.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }
}

/// A copy of a [`TlsInfo`] that is kept apart from the session.
#[derive(Debug)]
pub struct OwnedTlsInfo {
    version: &'static str,
    cipher: &'static str,
    alpn: Option<Box<[u8]>>,
    server_name: Option<Box<str>>,
    certificate: Option<Box<[u8]>>,
    verified: bool,
    resumed: bool,
}

impl From<TlsInfo<'_>> for OwnedTlsInfo {
    fn from(info: TlsInfo<'_>) -> Self {
        OwnedTlsInfo {
            version: info.version,
            cipher: info.cipher,
            alpn: info.alpn.map(Box::from),
            server_name: info.server_name.map(Box::from),
            certificate: info.certificate.map(Box::from),
            verified: info.verified,
            resumed: info.resumed,
        }
    }
}

impl OwnedTlsInfo {
    /// The [`TlsInfo`] that was copied.
    pub fn info(&self) -> TlsInfo<'_> {
        TlsInfo {
            version: self.version,
            cipher: self.cipher,
            alpn: self.alpn.as_deref(),
            server_name: self.server_name.as_deref(),
            certificate: self.certificate.as_deref(),
            verified: self.verified,
            resumed: self.resumed,
        }
    }
}

/// rustls has names of its own for the suites of TLS 1.3.
fn cipher_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or("unknown"),
    }
}
