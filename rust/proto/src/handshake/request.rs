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
    let mut parsed = httparse::Request::new(limits.places(head.len(), &mut few, &mut many));
    let length = match parsed.parse(head) {
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
            add_to_view(&mut view, parsed.headers);
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
mod tests {
    use super::*;

    const REST: &str = "Host: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

    fn parse_request(buf: &[u8]) -> Result<Option<(usize, UpgradeRequest)>, Rejection> {
        super::parse_request(buf, HeadLimits::default())
    }

    fn accepted(text: &str) -> UpgradeRequest {
        let (length, request) = parse_request(text.as_bytes()).unwrap().unwrap();
        assert_eq!(length, text.len());
        request
    }

    fn status(text: &str) -> u16 {
        parse_request(text.as_bytes()).unwrap_err().status
    }

    fn header<'a>(request: &'a UpgradeRequest, name: &str) -> Option<&'a [u8]> {
        request
            .headers
            .iter()
            .find(|(seen, _)| seen == name)
            .map(|(_, value)| &value[..])
    }

    #[test]
    fn an_upgrade_is_accepted_in_every_spelling() {
        let request = accepted(&format!("GET / HTTP/1.1\r\n{REST}\r\n"));
        assert_eq!(request.key, "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(request.protocols, [""; 0]);
        accepted(
            "GET / HTTP/1.1\r\nhost:h\r\nUPGRADE: h2c, WebSocket\r\nconnection: keep-alive\r\nconnection: upgrade\r\n\
             sec-websocket-key:   dGhlIHNhbXBsZSBub25jZQ==  \r\nSec-Websocket-Version: 13\r\n\r\n",
        );
        accepted(&format!(
            "GET / HTTP/1.1\r\nContent-Length: 0\r\n{REST}\r\n"
        ));
    }

    #[test]
    fn headers_of_a_refused_request_can_be_read() {
        let text = format!("GET /a?b HTTP/1.0\r\n{REST}\r\n");
        assert_eq!(status(&text), 426);
        let seen = readable_headers(text.as_bytes(), HeadLimits::default());
        assert!(seen.contains(&("Query".to_owned(), b"b".to_vec())));
        assert!(seen.contains(&("Host".to_owned(), b"h".to_vec())));
        let seen = readable_headers(b"GET * HTTP/1.1\r\nX: 1\r\n\r\n", HeadLimits::default());
        assert_eq!(seen, [("X".to_owned(), b"1".to_vec())]);
        for text in ["", "GET / HTTP/1.1\r\nX: 1\r\n", "garbage\r\n\r\n"] {
            assert_eq!(readable_headers(text.as_bytes(), HeadLimits::default()), []);
        }
    }

    #[test]
    fn it_is_incomplete_until_its_last_byte() {
        let text = format!("GET /chat?x HTTP/1.1\r\n{REST}\r\n");
        for cut in 0..text.len() {
            assert_eq!(
                parse_request(&text.as_bytes()[..cut]),
                Ok(None),
                "{cut} bytes"
            );
        }
        let (length, _) = parse_request(format!("{text}frames").as_bytes())
            .unwrap()
            .unwrap();
        assert_eq!(length, text.len());
    }

    #[test]
    fn the_request_line_is_in_the_view() {
        let request = accepted(&format!(
            "GET /a%20b%2Fc%zz%?q=%20&r HTTP/1.1\r\n{REST}\r\n"
        ));
        assert_eq!(header(&request, "Path"), Some(&b"/a b/c%zz%"[..]));
        assert_eq!(header(&request, "Query"), Some(&b"q=%20&r"[..]));
        assert_eq!(
            header(&request, "URI"),
            Some(&b"/a%20b%2Fc%zz%?q=%20&r"[..])
        );
        assert_eq!(header(&request, "Host"), Some(&b"h"[..]));
        let request = accepted(&format!("GET /? HTTP/1.1\r\n{REST}\r\n"));
        assert_eq!(header(&request, "Query"), Some(&b""[..]));
        for (target, path, query) in [
            ("/", "/", None),
            ("ws://h/x?y", "/x", Some("y")),
            ("HTTP://h:80", "/", None),
            ("http://h?y/z", "/", Some("y/z")),
        ] {
            let request = accepted(&format!("GET {target} HTTP/1.1\r\n{REST}\r\n"));
            assert_eq!(header(&request, "Path"), Some(path.as_bytes()), "{target}");
            assert_eq!(
                header(&request, "Query"),
                query.map(str::as_bytes),
                "{target}"
            );
            assert_eq!(header(&request, "URI"), Some(target.as_bytes()));
        }
    }

    #[test]
    fn a_peer_cannot_forge_the_request_line() {
        let request = accepted(&format!(
            "GET /true HTTP/1.1\r\npath: /forged\r\nQuery: forged\r\n{REST}\r\n"
        ));
        assert_eq!(header(&request, "Path"), Some(&b"/true"[..]));
        assert_eq!(header(&request, "Query"), None);
        assert_eq!(
            request
                .headers
                .iter()
                .filter(|(name, _)| name == "Path")
                .count(),
            1
        );
    }

    #[test]
    fn a_head_in_pieces_is_judged_like_a_whole_one() {
        let headers = |list: &[(&str, &str)]| -> Vec<(String, Vec<u8>)> {
            list.iter()
                .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
                .collect()
        };
        let mut parts = RequestParts {
            method: "GET".to_owned(),
            target: "/a%20b?q".to_owned(),
            version: "HTTP/1.1".to_owned(),
            headers: headers(&[
                ("HOST", "h"),
                ("UPGRADE", "websocket"),
                ("CONNECTION", "Upgrade"),
                ("SEC-WEBSOCKET-KEY", "dGhlIHNhbXBsZSBub25jZQ=="),
                ("SEC-WEBSOCKET-VERSION", "13"),
            ]),
        };
        let whole = accepted(&format!("GET /a%20b?q HTTP/1.1\r\n{REST}\r\n"));
        assert_eq!(parts.upgrade(), Ok(whole));
        parts.version = "HTTP/1.0".to_owned();
        assert_eq!(parts.upgrade().unwrap_err().status, 426);
        parts.version = "HTTP/1.1".to_owned();
        parts.headers[3].1.pop();
        assert_eq!(parts.upgrade().unwrap_err().status, 400);
    }

    #[test]
    fn subprotocols_of_all_headers_are_listed() {
        let protocols = "Sec-WebSocket-Protocol: a ,b\r\nsec-websocket-protocol: , c\r\n";
        assert_eq!(
            accepted(&format!("GET / HTTP/1.1\r\n{protocols}{REST}\r\n")).protocols,
            ["a", "b", "c"]
        );
    }

    #[test]
    fn what_is_no_upgrade_gets_426() {
        assert_eq!(status("GET / HTTP/1.1\r\nHost: h\r\n\r\n"), 426);
        assert_eq!(status(&format!("POST / HTTP/1.1\r\n{REST}\r\n")), 426);
        assert_eq!(status(&format!("GET / HTTP/1.0\r\n{REST}\r\n")), 426);
        assert_eq!(
            status(&format!(
                "GET / HTTP/1.1\r\n{}\r\n",
                REST.replace("websocket", "h2c")
            )),
            426
        );
        assert_eq!(
            status(&format!(
                "GET / HTTP/1.1\r\n{}\r\n",
                REST.replace(": Upgrade", ": close")
            )),
            426
        );
        for version in ["8", "14", "013", "13, 8", ""] {
            assert_eq!(
                status(&format!(
                    "GET / HTTP/1.1\r\n{}\r\n",
                    REST.replace("13", version)
                )),
                426,
                "{version}"
            );
        }
        assert_eq!(
            status(&format!(
                "GET / HTTP/1.1\r\nSec-WebSocket-Version: 13\r\n{REST}\r\n"
            )),
            426
        );
    }

    #[test]
    fn malformed_requests_get_400() {
        let with_key = |key: &str| {
            status(&format!(
                "GET / HTTP/1.1\r\n{}\r\n",
                REST.replace("dGhlIHNhbXBsZSBub25jZQ==", key)
            ))
        };
        for key in [
            "",
            "dGhl",
            "dGhlIHNhbXBsZSBub25jZR==",
            "dGhlIHNhbXBsZSBub25jZQ=",
            "dGhlIHNhbXBsZSBub25jZ???",
        ] {
            assert_eq!(with_key(key), 400, "key {key:?}");
        }
        assert_eq!(
            status(&format!(
                "GET / HTTP/1.1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{REST}\r\n"
            )),
            400
        );
        assert_eq!(
            status(&format!(
                "GET / HTTP/1.1\r\n{}\r\n",
                REST.replace("Sec-WebSocket-Key", "X-Key")
            )),
            400
        );
        assert_eq!(
            status(&format!(
                "GET / HTTP/1.1\r\n{}\r\n",
                REST.replace("Host", "X-Host")
            )),
            400
        );
        assert_eq!(
            status(&format!("GET / HTTP/1.1\r\nHost: i\r\n{REST}\r\n")),
            400
        );
        assert_eq!(
            status(&format!(
                "GET / HTTP/1.1\r\nContent-Length: 5\r\n{REST}\r\n"
            )),
            400
        );
        assert_eq!(
            status(&format!(
                "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n{REST}\r\n"
            )),
            400
        );
        assert_eq!(status(&format!("GET x HTTP/1.1\r\n{REST}\r\n")), 400);
        assert_eq!(status(&format!("GET ftp://h/ HTTP/1.1\r\n{REST}\r\n")), 400);
        assert_eq!(
            status(&format!("GET / HTTP/1.1\r\n{REST}no colon\r\n\r\n")),
            400
        );
    }

    #[test]
    fn garbage_is_refused_at_its_first_byte() {
        for garbage in [
            &b"\x16\x03\x01\x02\x00"[..],
            b"\x00",
            b"\x81\x85",
            b"\xff\xfe",
        ] {
            assert_eq!(
                parse_request(garbage).unwrap_err().status,
                400,
                "{garbage:?}"
            );
        }
        assert_eq!(status("GET / HTTP/2.0"), 400);
    }

    #[test]
    fn oversized_heads_get_431_before_they_end() {
        let limits = HeadLimits::default();
        let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(limits.size));
        assert_eq!(parse_request(&long.as_bytes()[..limits.size - 1]), Ok(None));
        assert_eq!(status(&long[..limits.size]), 431);
        assert_eq!(status(&format!("{long}\r\n{REST}\r\n")), 431);
        assert_eq!(
            status(&format!(
                "GET / HTTP/1.1\r\n{}{REST}\r\n",
                "X: y\r\n".repeat(limits.headers)
            )),
            431
        );
        assert_eq!(
            status(&format!("GET /{} HTTP/1.1\r\n", "x".repeat(limits.size))),
            431
        );
    }

    /// What is exactly as large as the limit is accepted, and one byte or one header more is not.
    #[test]
    fn the_limits_of_a_head_are_exact() {
        let head = format!("GET / HTTP/1.1\r\n{REST}X: y\r\n\r\n");
        let parse = |size: usize, headers: usize| {
            super::parse_request(head.as_bytes(), HeadLimits { size, headers })
                .map(|found| found.map(|(length, _)| length))
                .map_err(|rejection| rejection.status)
        };
        let length = head.len();
        assert_eq!(parse(length, 6), Ok(Some(length)));
        assert_eq!(parse(length - 1, 6), Err(431));
        assert_eq!(parse(length, 5), Err(431));
        assert_eq!(parse(usize::MAX, usize::MAX), Ok(Some(length)));
        // Without limits, however many there are.
        let many = head.replace("X: y", "X: y\r\n".repeat(5_000).trim_end());
        let limits = HeadLimits {
            size: usize::MAX,
            headers: usize::MAX,
        };
        let (length, _) = super::parse_request(many.as_bytes(), limits)
            .unwrap()
            .unwrap();
        assert_eq!(length, many.len());
    }
}
