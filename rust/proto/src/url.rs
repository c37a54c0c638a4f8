//! WebSocket URLs (RFC 6455 section 3): where to connect to and what to ask for there.

use std::net::Ipv6Addr;

use crate::percent;

/// A parsed `ws://`, `wss://` or `ws+unix:` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// `wss://`.
    pub secure: bool,
    /// `ws+unix:`: the path of the Unix socket that is connected to, percent-decoded.
    pub socket: Option<Vec<u8>>,
    /// A name or an address as it was spelled, IPv6 without brackets.
    pub host: String,
    /// The port, 80 or 443 if the URL has none.
    pub port: u16,
    /// The request target: path and query, at least `/`. Bytes that are not ASCII are percent-encoded.
    pub target: String,
}

/// Why a URL is refused. The texts are complete messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Another scheme, or none.
    #[error("URL must start with ws:// or wss://")]
    Scheme,
    /// Not a number from 1 to 65535.
    #[error("invalid port in url (expected 1-65535)")]
    Port,
    /// The host is empty.
    #[error("no host in url")]
    EmptyHost,
    /// `user:password@`.
    #[error("user name and password in url are not supported; use an Authorization header")]
    UserInfo,
    /// `[` without `]`, or no IPv6 address between them.
    #[error("invalid IPv6 address in url")]
    Ipv6,
    /// An IPv6 address without brackets.
    #[error("IPv6 address in url must be in brackets")]
    Unbracketed,
    /// A character that stands in no host name.
    #[error("invalid character in the host of url (names outside of ASCII need their xn-- form)")]
    HostCharacter,
    /// `#...` (RFC 6455 section 3 forbids it).
    #[error("url must not have a fragment ('#' in a path or query is written %23)")]
    Fragment,
    /// CR, LF or NUL.
    #[error("url contains CR, LF or NUL")]
    LineBreak,
    /// A space or another control character.
    #[error("url contains a space or control character (write it percent-encoded)")]
    Space,
}

impl Url {
    /// Parses a URL given as text or as bytes.
    ///
    /// # Errors
    /// [`UrlError`]
    pub fn parse(url: impl AsRef<[u8]>) -> Result<Self, UrlError> {
        let url = url.as_ref();
        if let Some(rest) = strip_scheme(url, b"ws+unix:") {
            return Self::parse_unix(rest);
        }
        let (secure, rest) = match (strip_scheme(url, b"ws://"), strip_scheme(url, b"wss://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return Err(UrlError::Scheme),
        };
        check_characters(rest)?;
        let end = rest
            .iter()
            .position(|byte| matches!(byte, b'/' | b'?'))
            .unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let (host, port) = split_authority(authority)?;
        let port = match port {
            Some(port) => parse_port(port)?,
            None => default_port(secure),
        };
        Ok(Self {
            secure,
            socket: None,
            host,
            port,
            target: encode_target(target),
        })
    }

    /// `ws+unix:PATH[:TARGET]`. The first colon ends the path; in it, one is written `%3A`.
    fn parse_unix(rest: &[u8]) -> Result<Self, UrlError> {
        check_characters(rest)?;
        let end = rest.iter().position(|byte| *byte == b':');
        let (path, target) = rest.split_at(end.unwrap_or(rest.len()));
        Ok(Self {
            secure: false,
            socket: Some(percent::decode(path)),
            host: "localhost".to_owned(),
            port: default_port(false),
            target: encode_target(target.get(1..).unwrap_or_default()),
        })
    }

    /// The Host header's value: brackets around IPv6, and the port unless it is the scheme's default.
    pub fn host_header(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        if self.port == default_port(self.secure) {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }
}

/// Refuses characters that must not be anywhere in a URL.
fn check_characters(rest: &[u8]) -> Result<(), UrlError> {
    if rest.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Err(UrlError::LineBreak);
    }
    if rest
        .iter()
        .any(|byte| *byte == b' ' || byte.is_ascii_control())
    {
        return Err(UrlError::Space);
    }
    if rest.contains(&b'#') {
        return Err(UrlError::Fragment);
    }
    Ok(())
}

fn default_port(secure: bool) -> u16 {
    if secure {
        443
    } else {
        80
    }
}

fn strip_scheme<'a>(url: &'a [u8], scheme: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = url.split_at_checked(scheme.len())?;
    start.eq_ignore_ascii_case(scheme).then_some(rest)
}

/// The host, without brackets, and the port's digits if there is a colon.
fn split_authority(authority: &[u8]) -> Result<(String, Option<&[u8]>), UrlError> {
    if authority.contains(&b'@') {
        return Err(UrlError::UserInfo);
    }
    if let Some(inner) = authority.strip_prefix(b"[") {
        let end = inner
            .iter()
            .position(|byte| *byte == b']')
            .ok_or(UrlError::Ipv6)?;
        let address = parse_ipv6(&inner[..end]).ok_or(UrlError::Ipv6)?;
        return match &inner[end + 1..] {
            [] => Ok((address, None)),
            [b':', port @ ..] => Ok((address, Some(port))),
            _ => Err(UrlError::Port),
        };
    }
    if parse_ipv6(authority).is_some() {
        return Err(UrlError::Unbracketed);
    }
    let (host, port) = match authority.iter().position(|byte| *byte == b':') {
        Some(colon) => (&authority[..colon], Some(&authority[colon + 1..])),
        None => (authority, None),
    };
    if host.is_empty() {
        return Err(UrlError::EmptyHost);
    }
    match std::str::from_utf8(host) {
        Ok(name) if is_host_name(name) => Ok((name.to_owned(), port)),
        _ => Err(UrlError::HostCharacter),
    }
}

fn parse_ipv6(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    is_ipv6(text).then(|| text.to_owned())
}

/// Whether a host is an IPv6 address, without brackets.
pub(crate) fn is_ipv6(host: &str) -> bool {
    host.parse::<Ipv6Addr>().is_ok()
}

/// Whether a host is a name or an IPv4 address, as far as its characters tell.
pub(crate) fn is_host_name(host: &str) -> bool {
    !host.is_empty() && host.bytes().all(is_host_byte)
}

fn parse_port(digits: &[u8]) -> Result<u16, UrlError> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(UrlError::Port);
    }
    let port = std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| digits.parse().ok());
    port.filter(|port| *port != 0).ok_or(UrlError::Port)
}

/// RFC 3986's unreserved characters and sub-delims, without the comma: in a `Host` header it is what two hosts are
/// joined with, which are one too many.
pub(crate) fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=".contains(&byte)
}

fn encode_target(target: &[u8]) -> String {
    let mut encoded = String::with_capacity(target.len() + 1);
    if target.first() != Some(&b'/') {
        encoded.push('/');
    }
    for &byte in target {
        if byte.is_ascii() {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(secure: bool, host: &str, port: u16, target: &str) -> Url {
        Url {
            secure,
            socket: None,
            host: host.to_owned(),
            port,
            target: target.to_owned(),
        }
    }

    #[test]
    fn parts_and_defaults() {
        for (text, expected, host_header) in [
            (
                "ws://example.org",
                url(false, "example.org", 80, "/"),
                "example.org",
            ),
            (
                "wss://example.org",
                url(true, "example.org", 443, "/"),
                "example.org",
            ),
            (
                "WS://Example.org/",
                url(false, "Example.org", 80, "/"),
                "Example.org",
            ),
            (
                "WsS://h:8443/a/b?c=d",
                url(true, "h", 8443, "/a/b?c=d"),
                "h:8443",
            ),
            ("ws://h:80/", url(false, "h", 80, "/"), "h"),
            ("ws://h:443/", url(false, "h", 443, "/"), "h:443"),
            ("wss://h:80/", url(true, "h", 80, "/"), "h:80"),
            ("ws://h?q=/x", url(false, "h", 80, "/?q=/x"), "h"),
            (
                "ws://127.0.0.1:1",
                url(false, "127.0.0.1", 1, "/"),
                "127.0.0.1:1",
            ),
            ("ws://[::1]", url(false, "::1", 80, "/"), "[::1]"),
            (
                "ws://[::1]:65535/x",
                url(false, "::1", 65535, "/x"),
                "[::1]:65535",
            ),
            (
                "ws://[::ffff:127.0.0.1]:80",
                url(false, "::ffff:127.0.0.1", 80, "/"),
                "[::ffff:127.0.0.1]",
            ),
            (
                "ws://under_score/%20?a@b:c",
                url(false, "under_score", 80, "/%20?a@b:c"),
                "under_score",
            ),
            ("ws://h/caf\u{e9}", url(false, "h", 80, "/caf%C3%A9"), "h"),
        ] {
            let parsed = Url::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(parsed, expected, "{text}");
            assert_eq!(parsed.host_header(), host_header, "{text}");
        }
    }

    #[test]
    fn unix_sockets() {
        for (text, socket, target) in [
            (
                "ws+unix:/run/app.sock:/path?q=1:2",
                "/run/app.sock",
                "/path?q=1:2",
            ),
            ("WS+Unix:/run/app.sock", "/run/app.sock", "/"),
            ("ws+unix:app.sock:", "app.sock", "/"),
            ("ws+unix:/a%3Ab%20c:?q", "/a:b c", "/?q"),
            ("ws+unix:", "", "/"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!(url.socket.as_deref(), Some(socket.as_bytes()), "{text}");
            assert_eq!(
                (url.target.as_str(), url.host_header().as_str()),
                (target, "localhost"),
                "{text}"
            );
        }
        assert_eq!(Url::parse("ws+unix:/a b").unwrap_err(), UrlError::Space);
        assert_eq!(
            Url::parse("ws+unix:/a:/\r\n").unwrap_err(),
            UrlError::LineBreak
        );
        assert_eq!(Url::parse("wss+unix:/a").unwrap_err(), UrlError::Scheme);
    }

    #[test]
    fn bytes_that_are_no_text_are_percent_encoded_too() {
        assert_eq!(Url::parse(b"ws://h/\xE9").unwrap().target, "/%E9");
    }

    #[test]
    fn refusals_have_their_texts() {
        const SCHEME: &str = "URL must start with ws:// or wss://";
        const PORT: &str = "invalid port in url (expected 1-65535)";
        for (text, expected) in [
            ("", SCHEME),
            ("ws:/h", SCHEME),
            ("http://h", SCHEME),
            (" ws://h", SCHEME),
            ("example.org", SCHEME),
            ("ws://h:", PORT),
            ("ws://h:0", PORT),
            ("ws://h:65536", PORT),
            ("ws://h:99999999999999999999", PORT),
            ("ws://h:+80", PORT),
            ("ws://h:-1", PORT),
            ("ws://h:80x/", PORT),
            ("ws://h:8:9/", PORT),
            ("ws://[::1]:0/", PORT),
            ("ws://[::1]:/", PORT),
            ("ws://[::1]:abc", PORT),
            ("ws://[::1]x", PORT),
        ] {
            assert_eq!(
                Url::parse(text).unwrap_err().to_string(),
                expected,
                "{text}"
            );
        }
        for (text, expected) in [
            ("ws://", UrlError::EmptyHost),
            ("ws:///path", UrlError::EmptyHost),
            ("ws://:80", UrlError::EmptyHost),
            ("ws://user@h/", UrlError::UserInfo),
            ("ws://user:pw@h/", UrlError::UserInfo),
            ("ws://[::1", UrlError::Ipv6),
            ("ws://[h]/", UrlError::Ipv6),
            ("ws://[]/", UrlError::Ipv6),
            ("ws://::1/", UrlError::Unbracketed),
            ("ws://caf\u{e9}/", UrlError::HostCharacter),
            ("ws://a\\b/", UrlError::HostCharacter),
            // Servers, ours among them, take the Host that came of this for two that were joined, and
            // refused the upgrade: found by fuzzing.
            ("ws://a,b/", UrlError::HostCharacter),
            ("ws://h/#top", UrlError::Fragment),
            ("ws://h#top", UrlError::Fragment),
            ("ws://h/a b", UrlError::Space),
            ("ws://h/\t", UrlError::Space),
            ("ws://h/\r\nX: y", UrlError::LineBreak),
            ("ws://h/\0", UrlError::LineBreak),
            ("ws://h\n", UrlError::LineBreak),
        ] {
            let error = Url::parse(text).unwrap_err();
            assert_eq!(error, expected, "{text:?}");
            assert!(!error.to_string().is_empty(), "{text:?}: {error}");
        }
    }
}
