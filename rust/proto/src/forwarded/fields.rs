//! `X-Forwarded-For`, and `Forwarded` (RFC 7239): each proxy on the way has added whom the request came to it from, on
//! the right.

use std::net::SocketAddr;

use super::{ip, port, Peer, Trusted};
use crate::handshake::{is_token, Headers};

/// What proxies say cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// A header that is malformed, or an address in it that is looked at.
    #[error("{0} is malformed")]
    Malformed(&'static str),
    /// Both headers are there, and name different clients: one of them was sent by the client itself.
    #[error("X-Forwarded-For and Forwarded name different clients")]
    Different,
}

const FOR: &str = "X-Forwarded-For";
const FORWARDED: &str = "Forwarded";

/// Who has sent a request that came from `peer`. Of proxies that are trusted, it is the rightmost one in their headers
/// that is none; if all of them are, the leftmost. What is further left was said by nobody who is trusted, and is not
/// looked at.
///
/// # Errors
/// [`FieldError`]. What a peer says that is not trusted is not even read.
pub fn client(peer: Peer, headers: &Headers, trusted: &Trusted) -> Result<Peer, FieldError> {
    if !trusted.has(peer) {
        return Ok(peer);
    }
    let value = |name: &str| {
        let found = headers.iter().find(|(seen, _)| seen == name);
        found.map(|(_, value)| &value[..])
    };
    let by_list =
        value(FOR).map(|value| rightmost(list(value)?.iter().copied(), node, peer, trusted));
    let by_list = by_list.map(|found| found.ok_or(FieldError::Malformed(FOR)));
    let by_pairs = value(FORWARDED).map(|value| {
        let elements = elements(value)?;
        rightmost(
            elements.iter().map(|element| &element[..]),
            forwarded_node,
            peer,
            trusted,
        )
    });
    let by_pairs = by_pairs.map(|found| found.ok_or(FieldError::Malformed(FORWARDED)));
    match (by_list.transpose()?, by_pairs.transpose()?) {
        (Some(one), Some(other)) if one.ip() != other.ip() => Err(FieldError::Different),
        // This one may know the port.
        (_, Some(found)) | (Some(found), None) => Ok(found),
        (None, None) => Ok(peer),
    }
}

/// The rightmost node that is not trusted.
fn rightmost<'a>(
    nodes: impl DoubleEndedIterator<Item = &'a str>,
    read: impl Fn(&str) -> Option<Peer>,
    peer: Peer,
    trusted: &Trusted,
) -> Option<Peer> {
    let mut found = peer;
    for text in nodes.rev() {
        found = read(text)?;
        if !trusted.has(found) {
            break;
        }
    }
    Some(found)
}

/// The elements of a list, without empty ones.
fn list(value: &[u8]) -> Option<Vec<&str>> {
    let text = std::str::from_utf8(value).ok()?;
    let elements = text
        .split(',')
        .map(|element| element.trim_matches([' ', '\t']));
    Some(elements.filter(|element| !element.is_empty()).collect())
}

/// An entry of `X-Forwarded-For`. No standard says how one looks; some have ports, and `unix:` is nginx's.
fn node(text: &str) -> Option<Peer> {
    if text.eq_ignore_ascii_case("unix:") {
        return Some(Peer::Unix);
    }
    match ip(text) {
        Some(address) => Some(Peer::Address((address, 0).into())),
        None => forwarded_node(text),
    }
}

/// A node of `Forwarded` (RFC 7239 section 6). An empty text: the proxy does not say.
fn forwarded_node(text: &str) -> Option<Peer> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']')?;
        let port = match rest {
            "" => 0,
            rest => node_port(rest.strip_prefix(':')?)?,
        };
        let address = ip(address).filter(|address| address.is_ipv6())?;
        return Some(Peer::Address((address, port).into()));
    }
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => (name, node_port(port)?),
        None => (text, 0),
    };
    if text.is_empty() {
        return Some(Peer::Unknown);
    }
    if name.eq_ignore_ascii_case("unknown") || is_obfuscated(name) {
        return Some(Peer::Unknown);
    }
    let address = ip(name).filter(|address| address.is_ipv4())?;
    Some(Peer::Address(SocketAddr::new(address, port)))
}

/// A port; 0: it is hidden.
fn node_port(text: &str) -> Option<u16> {
    match is_obfuscated(text) {
        true => Some(0),
        false => port(text),
    }
}

fn is_obfuscated(text: &str) -> bool {
    let is_one = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    text.strip_prefix('_')
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(is_one))
}

/// What the elements of `Forwarded` have as `for`, an empty text being nothing. The whole of it is read: a quotation mark
/// that a client has begun must not swallow what a proxy has added.
fn elements(value: &[u8]) -> Option<Vec<String>> {
    let mut text = std::str::from_utf8(value).ok()?;
    let mut found = Vec::new();
    let mut node: Option<String> = None;
    let mut is_empty = true;
    loop {
        text = text.trim_start_matches([' ', '\t']);
        if !text.is_empty() && !text.starts_with([',', ';']) {
            let (name, rest) = text.split_once('=')?;
            if !is_token(name.as_bytes()) {
                return None;
            }
            let (value, rest) = pair_value(rest)?;
            if name.eq_ignore_ascii_case("for") && node.replace(value).is_some() {
                return None;
            }
            is_empty = false;
            text = rest.trim_start_matches([' ', '\t']);
        }
        let end = text.chars().next();
        if end != Some(';') && !is_empty {
            found.push(node.take().unwrap_or_default());
            is_empty = true;
        }
        match end {
            None => return Some(found),
            Some(',' | ';') => text = &text[1..],
            Some(_) => return None,
        }
    }
}

/// A token or a quoted string (RFC 9110 section 5.6.4), and what follows it.
fn pair_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ';', ' ', '\t']).unwrap_or(text.len());
        let token = &text[..end];
        return is_token(token.as_bytes()).then(|| (token.to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusted() -> Trusted {
        Trusted::parse(&["10.0.0.0/8".to_owned(), "::1".to_owned(), "unix".to_owned()]).unwrap()
    }

    fn at(text: &str) -> Peer {
        Peer::Address(text.parse().unwrap())
    }

    /// The client behind 10.0.0.1.
    fn behind(headers: &[(&str, &str)]) -> Result<Peer, FieldError> {
        let owned = headers.iter();
        let headers = owned
            .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
            .collect();
        client(at("10.0.0.1:1"), &headers, &trusted())
    }

    fn listed(value: &str) -> Result<Peer, FieldError> {
        behind(&[(FOR, value)])
    }

    fn forwarded(value: &str) -> Result<Peer, FieldError> {
        behind(&[(FORWARDED, value)])
    }

    #[test]
    fn nobody_is_believed_who_is_not_trusted() {
        let headers = vec![(FOR.to_owned(), b"192.0.2.1, ,\"".to_vec())];
        let peer = at("11.0.0.1:1");
        assert_eq!(client(peer, &headers, &trusted()), Ok(peer));
        assert_eq!(
            client(Peer::Unknown, &headers, &trusted()),
            Ok(Peer::Unknown)
        );
        assert_eq!(behind(&[]), Ok(at("10.0.0.1:1")));
        assert_eq!(behind(&[("X-Real-Ip", "192.0.2.1")]), Ok(at("10.0.0.1:1")));
    }

    #[test]
    fn the_rightmost_that_is_not_trusted() {
        for (value, expected) in [
            ("192.0.2.1", "192.0.2.1:0"),
            ("192.0.2.1, 192.0.2.2", "192.0.2.2:0"),
            ("192.0.2.1,192.0.2.2 ,\t10.1.1.1,::1", "192.0.2.2:0"),
            ("010.0.0.1, <script>, 192.0.2.2, 10.1.1.1", "192.0.2.2:0"),
            ("10.3.3.3, 10.2.2.2", "10.3.3.3:0"),
            ("192.0.2.2:8080, unix:", "192.0.2.2:8080"),
            ("2001:db8::1", "[2001:db8::1]:0"),
            ("[2001:db8::1]", "[2001:db8::1]:0"),
            ("[2001:db8::1]:9, 10.2.2.2", "[2001:db8::1]:9"),
            (", 192.0.2.1, ,", "192.0.2.1:0"),
            ("", "10.0.0.1:1"),
        ] {
            assert_eq!(listed(value), Ok(at(expected)), "{value}");
        }
        assert_eq!(listed("192.0.2.1, unknown"), Ok(Peer::Unknown));
    }

    #[test]
    fn addresses_are_read_strictly() {
        for value in [
            "010.0.0.1",
            "192.0.2.01",
            "192.0.2",
            "192.0.2.256",
            "0x7f.0.0.1",
            "3221225985",
            "192.0.2.1:",
            "192.0.2.1:0080",
            "192.0.2.1:65536",
            "192.0.2.1/32",
            "2001:db8::1%eth0",
            "2001:db8:::1",
            "[192.0.2.1]",
            "[::2",
            "[::2]x",
            "::2]:1",
            "localhost",
            "_",
            "unknown:x",
            "192.0.2.1 192.0.2.2",
            "\"192.0.2.1\"",
            "192.0.2.1;",
            "\u{663}.0.0.1",
        ] {
            assert_eq!(listed(value), Err(FieldError::Malformed(FOR)), "{value}");
        }
        let raw = vec![(FOR.to_owned(), b"\xFF, 192.0.2.1".to_vec())];
        assert!(client(at("10.0.0.1:1"), &raw, &trusted()).is_err());
    }

    #[test]
    fn forwarded_elements() {
        for (value, expected) in [
            ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60:0"),
            (
                "For=\"[2001:db8:cafe::17]:4711\"",
                "[2001:db8:cafe::17]:4711",
            ),
            ("for=\"[2001:db8:cafe::17]\"", "[2001:db8:cafe::17]:0"),
            ("FOR=\"192.0.2.43:47011\"", "192.0.2.43:47011"),
            ("for=192.0.2.43, for=192.0.2.44", "192.0.2.44:0"),
            (
                "for=192.0.2.43,for=\"10.0.0.9:1\" , for=\"[::1]\"",
                "192.0.2.43:0",
            ),
            ("by=x;for=192.0.2.1;host=\"a,b;c=\\\"d\"", "192.0.2.1:0"),
            (";for=192.0.2.1;;proto=http;", "192.0.2.1:0"),
            (",, for=192.0.2.1 ,", "192.0.2.1:0"),
            ("for=\"1\\92.0.2.1\"", "192.0.2.1:0"),
            ("for=\"192.0.2.1:_hidden\"", "192.0.2.1:0"),
            ("for=10.0.0.3", "10.0.0.3:0"),
            ("", "10.0.0.1:1"),
        ] {
            assert_eq!(forwarded(value), Ok(at(expected)), "{value}");
        }
        for value in [
            "for=unknown",
            "for=Unknown",
            "for=_gazonk",
            "for=\"_SEVKISEK:_x\"",
            "for=\"unknown:80\"",
            "proto=http",
            "for=192.0.2.1, proto=https",
            "for=192.0.2.1, for=_hidden",
        ] {
            assert_eq!(forwarded(value), Ok(Peer::Unknown), "{value}");
        }
    }

    #[test]
    fn forwarded_that_is_none() {
        for value in [
            "for",
            "for=",
            "=x",
            "for 192.0.2.1",
            "for= 192.0.2.1",
            "for =192.0.2.1",
            "for=\"192.0.2.1",
            "for=\"192.0.2.1\\",
            "for=\"192.0.2.1\"x",
            "for=192.0.2.1 proto=http",
            "for=[2001:db8::1]",
            "for=192.0.2.1:80",
            "for=\"2001:db8::1\"",
            "for=192.0.2.1;for=192.0.2.2",
            "for=010.0.0.1",
            "for=\"[::ffff]x\"",
            "for=\"192.0.2.1:_\"",
            "for=\"192.0.2.1:\"",
            "for=_",
            "for=_a!",
            "for=\"unix:\"",
            "f\u{F6}r=1",
            "for=192.0.2.1=2",
        ] {
            assert_eq!(
                forwarded(value),
                Err(FieldError::Malformed(FORWARDED)),
                "{value}"
            );
        }
    }

    /// Proxies add their element to what the client has sent.
    #[test]
    fn a_client_cannot_hide_what_a_proxy_adds() {
        for begun in [
            "for=9.9.9.9;x=\"",
            "\"",
            "for=9.9.9.9;x=\"\\",
            "for=9.9.9.9;x=\"a\" \"",
            "x=\"\"\"",
        ] {
            for added in [
                "for=192.0.2.1",
                "for=\"192.0.2.1:9\";by=\"[::1]\"",
                "for=\"[2001:db8::1]\"",
            ] {
                let value = format!("{begun}, {added}");
                let found = forwarded(&value);
                assert_ne!(found, Ok(at("9.9.9.9:0")), "{value}");
                assert_eq!(found, Err(FieldError::Malformed(FORWARDED)), "{value}");
            }
        }
    }

    #[test]
    fn two_headers_say_the_same_or_nothing() {
        let both = |one, other| behind(&[(FOR, one), (FORWARDED, other)]);
        assert_eq!(
            both("192.0.2.1", "for=\"192.0.2.1:5\""),
            Ok(at("192.0.2.1:5"))
        );
        assert_eq!(
            both("192.0.2.1", "for=192.0.2.2"),
            Err(FieldError::Different)
        );
        assert_eq!(both("192.0.2.1", "for=unknown"), Err(FieldError::Different));
        assert_eq!(
            both("192.0.2.1", "for"),
            Err(FieldError::Malformed(FORWARDED))
        );
    }

    #[test]
    fn a_peer_is_shown_and_has_what_is_known_of_it() {
        let known = at("192.0.2.1:80");
        assert_eq!(
            (known.to_string().as_str(), known.port()),
            ("192.0.2.1:80", Some(80))
        );
        assert_eq!(at("192.0.2.1:0").port(), None);
        assert_eq!(at("[::ffff:192.0.2.1]:1").ip(), at("192.0.2.1:1").ip());
        for (peer, shown) in [(Peer::Unix, "at a Unix socket"), (Peer::Unknown, "unknown")] {
            assert_eq!(
                (peer.to_string().as_str(), peer.port(), peer.ip()),
                (shown, None, None)
            );
        }
    }
}
