//! A client's request, as a server reads it (RFC 6455 section 4.2.1).

use super::headers::{add_to_view, has_token, list, lossy, values};
use super::{Headers, Rejection, MAX_HEADERS};
use httparse::{Error, Header, Status, EMPTY_HEADER};

/// The longest request head accepted, in bytes.
pub const MAX_REQUEST_HEAD: usize = 16 * 1024;

/// A request for an upgrade that can be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The request target as it was sent.
    pub target: String,
    /// The Sec-WebSocket-Key.
    pub key: String,
    /// The subprotocols the client offers, its preferred one first.
    pub protocols: Vec<String>,
    /// The request's headers, and before them `Path` (percent-decoded, without query), `Query` (as sent, missing
    /// if there is none) and `URI` (as sent). Headers that a peer calls `Path` or `Query` are left out.
    pub headers: Headers,
}

/// Reads a request from the front of `buf`: the bytes of the head and the request, or `None` while it is incomplete.
///
/// # Errors
/// The [`Rejection`] to answer with, as soon as nothing that follows could make the request acceptable.
pub fn parse_request(buf: &[u8]) -> Result<Option<(usize, Request)>, Rejection> {
    let mut parsed_headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut parsed_headers);
    let length = match parsed.parse(buf) {
        Ok(Status::Complete(length)) if length <= MAX_REQUEST_HEAD => length,
        Ok(Status::Partial) if buf.len() < MAX_REQUEST_HEAD => return Ok(None),
        Ok(_) | Err(Error::TooManyHeaders) => return Err(Rejection::new(431)),
        Err(_) => return Err(Rejection::new(400)),
    };
    check_upgrade(&parsed)?;
    let headers = &*parsed.headers;
    check_version(headers)?;
    check_framing(headers)?;
    let key = check_key(headers)?;
    let target = parsed.path.unwrap_or("");
    let protocols = list(headers, "Sec-WebSocket-Protocol").map(lossy).collect();
    let headers = view(target, headers)?;
    Ok(Some((length, Request { target: target.to_owned(), key, protocols, headers })))
}

/// Whether this asks for a WebSocket at all. In HTTP/1.0 an Upgrade header has no meaning (RFC 9110 section 7.8).
fn check_upgrade(parsed: &httparse::Request<'_, '_>) -> Result<(), Rejection> {
    let is_upgrade = parsed.method == Some("GET")
        && parsed.version == Some(1)
        && has_token(parsed.headers, "Upgrade", "websocket")
        && has_token(parsed.headers, "Connection", "upgrade");
    if is_upgrade {
        Ok(())
    } else {
        Err(Rejection::new(426))
    }
}

fn check_version(headers: &[Header<'_>]) -> Result<(), Rejection> {
    let mut versions = values(headers, "Sec-WebSocket-Version");
    match (versions.next(), versions.next()) {
        (Some(b"13"), None) => Ok(()),
        _ => Err(Rejection::with_text(426, "This server speaks version 13 of the WebSocket protocol.")),
    }
}

/// One Host, and no body: its bytes would be taken for frames.
fn check_framing(headers: &[Header<'_>]) -> Result<(), Rejection> {
    if values(headers, "Host").count() != 1 {
        return Err(Rejection::with_text(400, "The request must have one Host header."));
    }
    let has_body = values(headers, "Content-Length").any(|value| value != b"0")
        || values(headers, "Transfer-Encoding").next().is_some();
    if has_body {
        return Err(Rejection::with_text(400, "An upgrade request must not have a body."));
    }
    Ok(())
}

fn check_key(headers: &[Header<'_>]) -> Result<String, Rejection> {
    let mut keys = values(headers, "Sec-WebSocket-Key");
    match (keys.next(), keys.next()) {
        (Some(key), None) if is_key(key) => Ok(lossy(key)),
        _ => Err(Rejection::with_text(400, "The request must have one Sec-WebSocket-Key of 16 bytes in base64.")),
    }
}

/// 16 bytes in base64: 21 digits, one that has only its two high bits set, and the padding.
fn is_key(key: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    match key.strip_suffix(b"==") {
        Some([digits @ .., last]) => {
            digits.len() == 21 && digits.iter().all(is_digit) && b"AQgw".contains(last)
        }
        _ => false,
    }
}

fn view(target: &str, headers: &[Header<'_>]) -> Result<Headers, Rejection> {
    let origin_form = origin_form(target).ok_or(Rejection::with_text(400, "The request target is malformed."))?;
    let (path, query) = match origin_form.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (origin_form, None),
    };
    // A whole URL without a path means the root.
    let path = if path.is_empty() { "/" } else { path };
    let mut view = Headers::with_capacity(headers.len() + 3);
    view.push(("Path".to_owned(), percent_decode(path.as_bytes())));
    if let Some(query) = query {
        view.push(("Query".to_owned(), query.as_bytes().to_vec()));
    }
    view.push(("URI".to_owned(), target.as_bytes().to_vec()));
    // Our own entries speak about the request line, and a peer must not be able to change what they say.
    let is_ours = |name: &str| name.eq_ignore_ascii_case("Path") || name.eq_ignore_ascii_case("Query");
    let theirs: Vec<_> = headers.iter().filter(|header| !is_ours(header.name)).copied().collect();
    add_to_view(&mut view, &theirs);
    Ok(view)
}

/// Path and query. Servers must understand whole URLs, too (RFC 9112 section 3.2.2).
fn origin_form(target: &str) -> Option<&str> {
    if target.starts_with('/') {
        return Some(target);
    }
    let (scheme, rest) = target.split_once("://")?;
    if !["http", "https", "ws", "wss"].iter().any(|known| known.eq_ignore_ascii_case(scheme)) {
        return None;
    }
    Some(rest.find(['/', '?']).map_or("", |at| &rest[at..]))
}

/// `%XX` decoded; a `%` without two hexadecimal digits stays as it is.
fn percent_decode(bytes: &[u8]) -> Vec<u8> {
    let hex = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        rest = tail;
        let mut byte = *first;
        if let (b'%', [high, low, after @ ..]) = (byte, tail) {
            if let (Some(high), Some(low)) = (hex(*high), hex(*low)) {
                byte = high << 4 | low;
                rest = after;
            }
        }
        decoded.push(byte);
    }
    decoded
}
