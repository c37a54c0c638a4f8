//! A client's request, as a server reads it (RFC 6455 section 4.2.1). What its target and `Host` say is in `target`.

use super::headers::{add_to_view, has_token, joined, list, lossy, values};
use super::limits::FewHeaders;
use super::target::{host, target_view, NO_HOST};
use super::{HeadLimits, Headers, Host, Rejection};
use httparse::{Error, Header, Status};

/// A request for an upgrade that can be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpgradeRequest {
    /// The request target as it was sent.
    pub target: String,
    /// The host that it is for.
    pub host: Host,
    /// The Sec-WebSocket-Key.
    pub key: String,
    /// The subprotocols the client offers, its preferred one first.
    pub protocols: Vec<String>,
    /// The value of Sec-WebSocket-Extensions, that of repeated ones joined with commas; empty if there is none.
    pub extensions: Vec<u8>,
    /// The request's headers, and before them `Path` (percent-decoded, without query), `Query` (as sent, missing
    /// if there is none) and `URI` (as sent). Headers that a peer calls `Path` or `Query` are left out.
    pub headers: Headers,
}

/// Reads a request from the front of `buf`: the bytes of the head and the request, or `None` while it is incomplete.
///
/// # Errors
/// The [`Rejection`] to answer with, as soon as nothing that follows could make the request acceptable.
pub fn parse_request(
    buf: &[u8],
    limits: HeadLimits,
) -> Result<Option<(usize, UpgradeRequest)>, Rejection> {
    parse_head(buf, limits, upgrade)
}

/// Reads a head from the front of `buf`, and hands it to `judge` when it is complete.
pub(crate) fn parse_head<T>(
    buf: &[u8],
    limits: HeadLimits,
    judge: impl FnOnce(&httparse::Request<'_, '_>) -> Result<T, Rejection>,
) -> Result<Option<(usize, T)>, Rejection> {
    // Nothing beyond is looked at: whether it has come already must not make a difference.
    let head = &buf[..buf.len().min(limits.size)];
    let (mut few, mut many) = (FewHeaders::new(), Vec::new());
    let places = limits.places(head.len(), &mut few, &mut many);
    let mut parsed = httparse::Request::new(&mut []);
    let length = match parsed.parse_with_uninit_headers(head, places) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) if buf.len() < limits.size => return Ok(None),
        Ok(Status::Partial) | Err(Error::TooManyHeaders) => return Err(Rejection::new(431)),
        Err(_) => return Err(Rejection::new(400)),
    };
    Ok(Some((length, judge(&parsed)?)))
}

/// The headers of what stands at the front of `buf`, as far as they can be read, for programs: of a request that was
/// refused.
pub fn readable_headers(buf: &[u8], limits: HeadLimits) -> Headers {
    let read = parse_head(buf, limits, |parsed| {
        let whole = target_view(parsed.path.unwrap_or(""), parsed.headers);
        Ok(whole.unwrap_or_else(|_| {
            let mut view = Headers::new();
            add_to_view(&mut view, parsed.headers.iter());
            view
        }))
    });
    match read {
        Ok(Some((_, headers))) => headers,
        Ok(None) | Err(_) => Headers::new(),
    }
}

/// The upgrade that a head asks for.
pub(crate) fn upgrade(parsed: &httparse::Request<'_, '_>) -> Result<UpgradeRequest, Rejection> {
    let headers = &*parsed.headers;
    let target = parsed.path.unwrap_or("");
    let host = host(target, headers)?;
    check_upgrade(parsed)?;
    check_version(headers)?;
    let host = host.ok_or(NO_HOST)?;
    check_framing(headers)?;
    Ok(UpgradeRequest {
        target: target.to_owned(),
        host,
        key: check_key(headers)?,
        protocols: list(headers, "Sec-WebSocket-Protocol").map(lossy).collect(),
        extensions: joined(headers, "Sec-WebSocket-Extensions"),
        headers: target_view(target, headers)?,
    })
}

/// A request's head that somebody else has read and taken to pieces.
#[derive(Clone, Debug)]
pub struct RequestParts {
    /// Such as `GET`.
    pub method: String,
    /// The request target as it was sent.
    pub target: String,
    /// Such as `HTTP/1.1`.
    pub version: String,
    /// Names in any spelling, and values.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl RequestParts {
    /// The upgrade that it asks for.
    ///
    /// # Errors
    /// The [`Rejection`] to answer with.
    pub fn upgrade(&self) -> Result<UpgradeRequest, Rejection> {
        let headers = self.headers.iter();
        let mut headers: Vec<_> = headers
            .map(|(name, value)| Header { name, value })
            .collect();
        let mut parsed = httparse::Request::new(&mut headers);
        parsed.method = Some(&self.method);
        parsed.path = Some(&self.target);
        parsed.version = (self.version == "HTTP/1.1").then_some(1);
        upgrade(&parsed)
    }
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
        _ => Err(Rejection::with_text(
            426,
            "This server speaks version 13 of the WebSocket protocol.",
        )),
    }
}

/// No body: its bytes would be taken for frames.
fn check_framing(headers: &[Header<'_>]) -> Result<(), Rejection> {
    let has_body = values(headers, "Content-Length").any(|value| value != b"0")
        || values(headers, "Transfer-Encoding").next().is_some();
    if has_body {
        return Err(Rejection::with_text(
            400,
            "An upgrade request must not have a body.",
        ));
    }
    Ok(())
}

fn check_key(headers: &[Header<'_>]) -> Result<String, Rejection> {
    let mut keys = values(headers, "Sec-WebSocket-Key");
    match (keys.next(), keys.next()) {
        (Some(key), None) if is_key(key) => Ok(lossy(key)),
        _ => Err(Rejection::with_text(
            400,
            "The request must have one Sec-WebSocket-Key of 16 bytes in base64.",
        )),
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

#[cfg(test)]
mod tests;
