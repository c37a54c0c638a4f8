//! Proxies of a client: what a program or the environment says about them ([`rules`]), and the dialogues with
//! them before the stream is the server's ([`connect`], [`socks5`]).

pub mod connect;
pub mod rules;
pub mod socks5;

use std::fmt;
use std::net::IpAddr;

use crate::percent;
use crate::url::{is_host_name, is_ipv6};

/// The port of a proxy that is given without one.
pub const DEFAULT_PORT: u16 = 1080;

/// How a proxy is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyKind {
    /// `http://`, or no scheme: an HTTP `CONNECT` request (RFC 9110 section 9.3.6).
    Http,
    /// `socks5://`: SOCKS 5 (RFC 1928) with an address that we have looked up.
    Socks5,
    /// `socks5h://`: SOCKS 5 with the name, which the proxy looks up.
    Socks5Name,
}

/// A name and a password, as bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Who we are.
    pub user: Vec<u8>,
    /// May be empty.
    pub password: Vec<u8>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A password does not belong into a log.
        f.write_str("Credentials")
    }
}

/// A proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// How it is spoken to.
    pub kind: ProxyKind,
    /// The proxy's name or address, IPv6 without brackets.
    pub host: String,
    /// The proxy's port.
    pub port: u16,
    /// The name and password for a proxy that asks for them.
    pub credentials: Option<Credentials>,
}

/// Why something is not taken for a proxy. The texts want the name of an option or variable before them, and
/// never show a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// No host, or no possible port.
    #[error("'{0}' is not [scheme://][user:password@]host[:port]")]
    Syntax(String),
    /// Neither HTTP nor SOCKS 5.
    #[error("the scheme of a proxy must be http, socks5 or socks5h (got '{0}')")]
    Scheme(String),
    /// Too long for SOCKS 5 (RFC 1929 section 2), or with a colon in the name (RFC 7617 section 2).
    #[error("{0}")]
    Credentials(&'static str),
}

/// The parts of `[scheme://][userinfo@]host[:port][/...]`, as they stand there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts<'a> {
    /// The part before `://`.
    pub scheme: Option<&'a [u8]>,
    /// The part before the last `@`, since a password may contain one.
    pub userinfo: Option<&'a [u8]>,
    /// Without the brackets around IPv6, which may be left out where no port follows.
    pub host: &'a str,
    /// The port, if there is one.
    pub port: Option<u16>,
}

impl<'a> Parts<'a> {
    /// Takes a proxy's text apart. `None` if it names no host, or a port that cannot be.
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let (scheme, userinfo, authority) = split(text);
        let (host, port) = if let Some(inner) = authority.strip_prefix(b"[") {
            let end = inner.iter().position(|byte| *byte == b']')?;
            (check(is_zoned_ipv6, &inner[..end])?, &inner[end + 1..])
        } else if let Some(address) = check(is_zoned_ipv6, authority) {
            (address, &b""[..])
        } else {
            let end = authority.iter().position(|byte| *byte == b':');
            let (name, port) = authority.split_at(end.unwrap_or(authority.len()));
            (check(is_host_name, name)?, port)
        };
        let port = match port {
            [] | [b':'] => None,
            [b':', digits @ ..] => Some(parse_port(digits)?),
            _ => return None,
        };
        Some(Parts {
            scheme,
            userinfo,
            host,
            port,
        })
    }
}

/// Scheme, userinfo, and what is between them and a path.
fn split(text: &[u8]) -> (Option<&[u8]>, Option<&[u8]>, &[u8]) {
    let text = text.trim_ascii();
    let is_scheme = |scheme: &[u8]| {
        scheme.first().is_some_and(u8::is_ascii_alphabetic)
            && scheme
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+.-".contains(byte))
    };
    let (scheme, rest) = match text.windows(3).position(|window| window == b"://") {
        Some(end) if is_scheme(&text[..end]) => (Some(&text[..end]), &text[end + 3..]),
        _ => (None, text),
    };
    let end = rest.iter().position(|byte| b"/?#".contains(byte));
    let rest = &rest[..end.unwrap_or(rest.len())];
    match rest.iter().rposition(|byte| *byte == b'@') {
        Some(at) => (scheme, Some(&rest[..at]), &rest[at + 1..]),
        None => (scheme, None, rest),
    }
}

fn check(is_host: impl Fn(&str) -> bool, bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|host| is_host(host))
}

/// A proxy may be a neighbour, whose address is known on a link only: `fe80::1%eth0`.
fn is_zoned_ipv6(host: &str) -> bool {
    match host.split_once('%') {
        Some((address, zone)) => is_ipv6(address) && is_host_name(zone),
        None => is_ipv6(host),
    }
}

fn parse_port(digits: &[u8]) -> Option<u16> {
    if digits.len() > 5 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let port = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (port != 0).then_some(port)
}

impl Proxy {
    /// Reads a proxy; `port` is its port if the text has none.
    ///
    /// # Errors
    /// [`ProxyError`]
    pub fn parse(text: &[u8], port: Option<u16>) -> Result<Self, ProxyError> {
        let syntax = || ProxyError::Syntax(shown(split(text).2));
        let parts = Parts::parse(text).ok_or_else(syntax)?;
        let kind = match parts.scheme.map(<[u8]>::to_ascii_lowercase).as_deref() {
            None | Some(b"http") => ProxyKind::Http,
            Some(b"socks5") => ProxyKind::Socks5,
            Some(b"socks5h") => ProxyKind::Socks5Name,
            Some(other) => return Err(ProxyError::Scheme(shown(other))),
        };
        Ok(Proxy {
            kind,
            host: parts.host.to_owned(),
            port: parts.port.or(port).unwrap_or(DEFAULT_PORT),
            credentials: parts
                .userinfo
                .map(|text| credentials(kind, text))
                .transpose()?,
        })
    }
}

fn credentials(kind: ProxyKind, userinfo: &[u8]) -> Result<Credentials, ProxyError> {
    let end = userinfo.iter().position(|byte| *byte == b':');
    let (user, password) = userinfo.split_at(end.unwrap_or(userinfo.len()));
    let user = percent::decode(user);
    let password = percent::decode(password.get(1..).unwrap_or_default());
    if kind == ProxyKind::Http {
        if user.contains(&b':') {
            return Err(ProxyError::Credentials(
                "the user name of an HTTP proxy must not contain a colon",
            ));
        }
    } else if user.is_empty() || user.len() > 255 || password.len() > 255 {
        return Err(ProxyError::Credentials(
            "user name and password of a SOCKS5 proxy must not be empty or longer than 255 bytes",
        ));
    }
    Ok(Credentials { user, password })
}

fn shown(bytes: &[u8]) -> String {
    const SHOWN: usize = 80;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]);
    text.escape_debug().to_string()
}

/// Host and port as one word, with brackets around IPv6.
pub fn authority(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "proxy {}", authority(&self.host, self.port))
    }
}

/// The address if a host is one; an IPv4-mapped IPv6 address as IPv4.
fn address_of(host: &str) -> Option<IpAddr> {
    host.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_with_all_its_parts() {
        let proxy = Proxy::parse(b"SOCKS5h://me%3a:p%40ss:word@[::1]:99/x", None).unwrap();
        assert_eq!(
            (proxy.kind, proxy.host.as_str(), proxy.port),
            (ProxyKind::Socks5Name, "::1", 99)
        );
        assert_eq!(proxy.to_string(), "proxy [::1]:99");
        let credentials = proxy.credentials.unwrap();
        assert_eq!(credentials.user, b"me:");
        assert_eq!(credentials.password, b"p@ss:word");
        assert_eq!(format!("{credentials:?}"), "Credentials");
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let plain = Proxy::parse(b"h", None).unwrap();
        assert_eq!(
            (plain.kind, plain.port, plain.credentials),
            (ProxyKind::Http, 1080, None)
        );
        assert_eq!(Proxy::parse(b"h", Some(3128)).unwrap().port, 3128);
        assert_eq!(Proxy::parse(b"h:81", Some(3128)).unwrap().port, 81);
        assert_eq!(Proxy::parse(b"h:65535", None).unwrap().port, 65535);
        assert_eq!(Proxy::parse(b"fe80::1", None).unwrap().host, "fe80::1");
        for zoned in ["[fe80::1%eth0]:1080", "fe80::1%eth0"] {
            let proxy = Proxy::parse(zoned.as_bytes(), None).unwrap();
            assert_eq!((proxy.host.as_str(), proxy.port), ("fe80::1%eth0", 1080));
        }
        let only_user = Proxy::parse(b"http://me@h", None)
            .unwrap()
            .credentials
            .unwrap();
        assert_eq!(
            (only_user.user, only_user.password),
            (b"me".to_vec(), Vec::new())
        );
    }

    #[test]
    fn refusals_never_show_a_password() {
        for text in [
            "",
            " ",
            "http://",
            ":80",
            "h:0",
            "h:+80",
            "h:-1",
            "h:000080",
            "h:65536",
            "h:x",
            // What stands before the slashes is no scheme.
            "://h",
            "a b://h",
            "[::1",
            "[]:1",
            "a b:1",
            "a:b:c",
            // What no host has was looked up, or sent to a proxy.
            "a,b",
            "http://a,b:1",
            "socks5h://me:secret@a,b",
            "a\\b:1",
            "a\"b",
            "<h>",
            "a%2Cb",
            "caf\u{e9}",
            "[h]:1",
            "[1.2.3.4]",
            "[::1,::2]",
            "[::1%]",
            "[::1%a b]",
            "1::2::3",
            "me:secret@",
            "me:secret@h:0",
        ] {
            let error = Proxy::parse(text.as_bytes(), None).unwrap_err();
            assert!(matches!(error, ProxyError::Syntax(_)), "{text}: {error:?}");
            assert!(!error.to_string().contains("secret"), "{text}: {error}");
        }
        for scheme in ["https", "socks4", "ftp"] {
            let error =
                Proxy::parse(format!("{scheme}://me:secret@h").as_bytes(), None).unwrap_err();
            assert_eq!(error, ProxyError::Scheme(scheme.into()));
        }
        assert!(Proxy::parse(b"http://a%3Ab:c@h", None).is_err());
        assert!(Proxy::parse(b"socks5://@h", None).is_err());
    }

    #[test]
    fn socks5_takes_255_octets_of_a_name_and_of_a_password() {
        let parse = |user: usize, password: usize| {
            let (user, password) = ("u".repeat(user), "p".repeat(password));
            Proxy::parse(format!("socks5://{user}:{password}@h").as_bytes(), None)
        };
        for (user, password) in [(1, 0), (255, 255)] {
            let credentials = parse(user, password).unwrap().credentials.unwrap();
            assert_eq!(credentials.user.len(), user);
            assert_eq!(credentials.password.len(), password);
        }
        for (user, password) in [(0, 1), (256, 1), (1, 256)] {
            assert!(parse(user, password).is_err(), "{user}, {password}");
        }
        assert!(Proxy::parse(format!("http://{}@h", "u".repeat(256)).as_bytes(), None).is_ok());
    }
}
