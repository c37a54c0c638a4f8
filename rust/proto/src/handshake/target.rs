//! What a request is for: its target (RFC 9112 section 3.2) and its `Host`.

use super::headers::{add_to_view, values};
use super::{Headers, Host, Rejection};
use crate::percent;
use httparse::Header;

/// The request has no Host, or several.
pub(crate) const NO_HOST: Rejection =
    Rejection::with_text(400, "The request must have one Host header.");

/// The host that a request is for, by its `Host`; `None` if there is none. A target that is a whole URL has the last
/// word (RFC 9112 section 3.2.2). Whoever reads the header must not be told otherwise: they have to say the same.
pub(crate) fn host(target: &str, headers: &[Header<'_>]) -> Result<Option<Host>, Rejection> {
    const MALFORMED: Rejection =
        Rejection::with_text(400, "The request's Host header is malformed.");
    let mut hosts = values(headers, "Host");
    let Some(value) = hosts.next() else {
        return Ok(None);
    };
    if hosts.next().is_some() {
        return Err(NO_HOST);
    }
    let host = Host::parse(value).ok_or(MALFORMED)?;
    if let Some((authority, usual)) = target_authority(target) {
        let named = Host::parse(authority.as_bytes());
        if !named.is_some_and(|named| !named.name.is_empty() && named.is(&host, usual)) {
            return Err(Rejection::with_text(
                400,
                "The request's target names another host than its Host header.",
            ));
        }
    }
    Ok(Some(host))
}

/// The headers of a request as programs see them: behind pseudo-headers for its target.
pub(crate) fn target_view(target: &str, headers: &[Header<'_>]) -> Result<Headers, Rejection> {
    let origin_form = origin_form(target).ok_or(Rejection::with_text(
        400,
        "The request target is malformed.",
    ))?;
    let (path, query) = match origin_form.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (origin_form, None),
    };
    // A whole URL without a path means the root.
    let path = if path.is_empty() { "/" } else { path };
    let mut view = Headers::with_capacity(headers.len() + 3);
    view.push(("Path".to_owned(), percent::decode(path.as_bytes())));
    if let Some(query) = query {
        view.push(("Query".to_owned(), query.as_bytes().to_vec()));
    }
    view.push(("URI".to_owned(), target.as_bytes().to_vec()));
    // Our own entries speak about the request line, and a peer must not be able to change what they say.
    let is_ours =
        |name: &str| name.eq_ignore_ascii_case("Path") || name.eq_ignore_ascii_case("Query");
    let theirs = headers.iter().filter(|header| !is_ours(header.name));
    add_to_view(&mut view, theirs);
    Ok(view)
}

/// Path and query. Servers must understand whole URLs, too (RFC 9112 section 3.2.2).
fn origin_form(target: &str) -> Option<&str> {
    if target.starts_with('/') {
        return Some(target);
    }
    split_absolute(target).map(|(_, _, rest)| rest)
}

/// The host and port that a whole URL names, and the port that it need not name.
fn target_authority(target: &str) -> Option<(&str, u16)> {
    split_absolute(target).map(|(usual, authority, _)| (authority, usual))
}

/// The usual port of a URL's scheme, its authority, and the rest of it.
fn split_absolute(target: &str) -> Option<(u16, &str, &str)> {
    const SCHEMES: [(&str, u16); 4] = [("http", 80), ("https", 443), ("ws", 80), ("wss", 443)];
    let (scheme, rest) = target.split_once("://")?;
    let mut known = SCHEMES.iter();
    let (_, usual) = known.find(|(known, _)| known.eq_ignore_ascii_case(scheme))?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    Some((*usual, &rest[..end], &rest[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handshake::parse_request;

    const REST: &str = "Host: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

    #[test]
    fn a_host_that_is_none_gets_400() {
        let with = |target: &str, host: &str| {
            let rest = REST.replace("Host: h", &format!("Host: {host}"));
            parse_request(
                format!("GET {target} HTTP/1.1\r\n{rest}\r\n").as_bytes(),
                crate::handshake::HeadLimits::default(),
            )
        };
        for host in ["a b", "a, b", "a/b", "u@a", "[::1", "a:b:c", "h:99999"] {
            assert_eq!(with("/", host).unwrap_err().status, 400, "{host}");
        }
        let host = |target, host| with(target, host).unwrap().unwrap().1.host;
        assert_eq!(host("/", "H:80"), Host::parse(b"h:80").unwrap());
        assert_eq!(host("/", ""), Host::default());
        // A target that is a whole URL must not say something else.
        for (target, host) in [
            ("http://h/", "h"),
            ("HTTP://H:80/", "h"),
            ("wss://h?x", "h:443"),
            ("https://[::1]:8443", "[0::1]:8443"),
        ] {
            assert!(with(target, host).is_ok(), "{target} at {host}");
        }
        for (target, host) in [
            ("http://evil/", "h"),
            ("http://h:8080/", "h"),
            ("https://h/", "h:80"),
            ("http://u@h/", "h"),
            ("http:///", ""),
            ("http://?x", "h"),
        ] {
            assert_eq!(
                with(target, host).unwrap_err().status,
                400,
                "{target} at {host}"
            );
        }
    }
}
