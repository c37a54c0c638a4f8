//! A request's head, as a server reads it that also answers plain requests.
//!
//! Such a connection carries one request after another, and where one ends must not be a matter of opinion: whatever
//! a proxy before us might read differently is refused (RFC 9112 section 11.2).

use httparse::Header;

use super::{Body, Terms, MAX_BODY};
use crate::handshake::request::{parse_head, upgrade};
use crate::handshake::target::{host, target_view, NO_HOST};
use crate::handshake::{self, headers, HeadLimits, Headers, Host, Rejection};

/// A request that is no upgrade, without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// The method, as it was sent.
    pub method: String,
    /// The request target, as it was sent.
    pub target: String,
    /// The host that it is for. HTTP/1.0 knows requests that do not say.
    pub host: Option<Host>,
    /// Whether this is HTTP/1.0, and not 1.1.
    pub old: bool,
    /// As [`handshake::UpgradeRequest::headers`].
    pub headers: Headers,
    /// The form that the response is to have.
    pub terms: Terms,
    /// Whether the client sends its body only after [`CONTINUE`](super::CONTINUE).
    pub expects_continue: bool,
}

/// A request's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A valid request for an upgrade to a WebSocket.
    Upgrade(handshake::UpgradeRequest),
    /// Any other request, and its body, which is yet to be read.
    Plain(HttpRequest, Body),
}

/// Reads a head from the front of `buf`: its bytes and what it asks for, or `None` while it is incomplete. A request
/// asks for a WebSocket if its `Upgrade` header names that.
///
/// # Errors
/// The [`Rejection`] to answer with; the connection cannot be used any more.
pub fn parse(buf: &[u8], limits: HeadLimits) -> Result<Option<(usize, Incoming)>, Rejection> {
    let found = parse_head(buf, limits, |parsed| {
        if headers::has_token(parsed.headers, "Upgrade", "websocket") {
            upgrade(parsed).map(Incoming::Upgrade)
        } else {
            plain(parsed)
        }
    })?;
    match found {
        Some((length, _)) if has_bare_newline(&buf[..length]) => Err(Rejection::with_text(
            400,
            "The lines of the request must end with CR LF.",
        )),
        found => Ok(found),
    }
}

fn has_bare_newline(head: &[u8]) -> bool {
    let mut before = 0;
    head.iter()
        .any(|&byte| std::mem::replace(&mut before, byte) != b'\r' && byte == b'\n')
}

fn plain(parsed: &httparse::Request<'_, '_>) -> Result<Incoming, Rejection> {
    let old = parsed.version == Some(0);
    let target = parsed.path.unwrap_or("");
    let host = host(target, parsed.headers)?;
    if host.is_none() && !old {
        return Err(NO_HOST);
    }
    let body = framing(parsed.headers, old)?;
    let expects_continue = expectation(parsed.headers)? && !old && !body.is_complete();
    let connection = |token| headers::has_token(parsed.headers, "Connection", token);
    let method = parsed.method.unwrap_or("");
    let request = HttpRequest {
        method: method.to_owned(),
        target: target.to_owned(),
        host,
        old,
        headers: target_view(target, parsed.headers)?,
        terms: Terms {
            head: method == "HEAD",
            keep_alive: !connection("close") && (!old || connection("keep-alive")),
            old,
        },
        expects_continue,
    };
    Ok(Incoming::Plain(request, body))
}

/// How long the body is (RFC 9112 section 6.3).
fn framing(parsed: &[Header<'_>], old: bool) -> Result<Body, Rejection> {
    let mut lengths = headers::values(parsed, "Content-Length");
    let mut codings = headers::values(parsed, "Transfer-Encoding");
    match (
        lengths.next(),
        lengths.next(),
        codings.next(),
        codings.next(),
    ) {
        (None, _, None, _) => Ok(Body::of_length(0)),
        (Some(length), None, None, _) => content_length(length),
        (None, _, Some(coding), None) if !old && coding.eq_ignore_ascii_case(b"chunked") => {
            Ok(Body::chunked())
        }
        (None, _, Some(_), _) if !old => Err(Rejection::with_text(
            501,
            "No transfer coding but 'chunked' is understood here.",
        )),
        _ => Err(Rejection::with_text(
            400,
            "The length of the request's body is not clear.",
        )),
    }
}

fn content_length(value: &[u8]) -> Result<Body, Rejection> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Rejection::with_text(
            400,
            "The request's Content-Length is malformed.",
        ));
    }
    // More digits than fit into the number are too large a body as well.
    match handshake::headers::lossy(value).parse() {
        Ok(length) if length <= MAX_BODY => Ok(Body::of_length(length)),
        _ => Err(Rejection::new(413)),
    }
}

/// Whether the client waits to be told to go on; any other expectation is refused.
fn expectation(parsed: &[Header<'_>]) -> Result<bool, Rejection> {
    let mut expectations = headers::list(parsed, "Expect");
    match expectations.next() {
        None => Ok(false),
        Some(first) if first.eq_ignore_ascii_case(b"100-continue") => match expectations.next() {
            None => Ok(true),
            Some(_) => Err(Rejection::new(417)),
        },
        Some(_) => Err(Rejection::new(417)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                           Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

    fn read(text: &str) -> (HttpRequest, Body) {
        match parse(text.as_bytes(), HeadLimits::default())
            .unwrap()
            .unwrap()
        {
            (length, Incoming::Plain(request, body)) => {
                assert_eq!(length, text.len());
                (request, body)
            }
            (_, Incoming::Upgrade(_)) => panic!("{text:?} was taken for an upgrade"),
        }
    }

    fn status(text: &str) -> u16 {
        parse(text.as_bytes(), HeadLimits::default())
            .unwrap_err()
            .status
    }

    #[test]
    fn a_request_and_what_its_answer_is_to_be_like() {
        let (request, body) =
            read("HEAD /a%20b?c=%20d HTTP/1.1\r\nHost: h\r\nx-a: 1\r\nX-A: 2\r\n\r\n");
        assert_eq!(
            (&request.method[..], &request.target[..]),
            ("HEAD", "/a%20b?c=%20d")
        );
        let seen: Vec<_> = request
            .headers
            .iter()
            .map(|(name, value)| (&name[..], std::str::from_utf8(value).unwrap()))
            .collect();
        assert_eq!(
            seen,
            [
                ("Path", "/a b"),
                ("Query", "c=%20d"),
                ("URI", "/a%20b?c=%20d"),
                ("Host", "h"),
                ("X-A", "1, 2")
            ]
        );
        assert_eq!(
            request.terms,
            Terms {
                head: true,
                keep_alive: true,
                old: false
            }
        );
        assert!(body.is_complete());
    }

    #[test]
    fn which_connections_stay() {
        for (text, stays) in [
            ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", true),
            (
                "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
                false,
            ),
            (
                "GET / HTTP/1.1\r\nHost: h\r\nConnection: x, CLOSE\r\n\r\n",
                false,
            ),
            (
                "GET / HTTP/1.1\r\nHost: h\r\nConnection: x\r\nConnection: close\r\n\r\n",
                false,
            ),
            ("GET / HTTP/1.0\r\n\r\n", false),
            ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true),
            (
                "GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n",
                false,
            ),
        ] {
            assert_eq!(read(text).0.terms.keep_alive, stays, "{text}");
        }
    }

    #[test]
    fn an_upgrade_is_what_names_websocket() {
        let found = parse(UPGRADE.as_bytes(), HeadLimits::default())
            .unwrap()
            .unwrap();
        assert!(matches!(found, (_, Incoming::Upgrade(request)) if request.target == "/chat"));
        read("GET / HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n");
        // An upgrade that is not as it should be is still one.
        assert_eq!(status(&UPGRADE.replace("GET", "POST")), 426);
        assert_eq!(status(&UPGRADE.replace("Connection: Upgrade\r\n", "")), 426);
        assert_eq!(status(&UPGRADE.replace("Version: 13", "Version: 8")), 426);
        assert_eq!(status(&UPGRADE.replace("Host: h\r\n", "")), 400);
        assert_eq!(
            status(&UPGRADE.replace("Host: h", "Host: h\r\nContent-Length: 1")),
            400
        );
    }

    #[test]
    fn a_length_that_can_be_read_in_two_ways_is_refused() {
        for (fields, expected) in [
            ("Content-Length: 1\r\nContent-Length: 2\r\n", 400),
            ("Content-Length: 1\r\nContent-Length: 1\r\n", 400),
            ("Content-Length: 1, 1\r\n", 400),
            ("Content-Length: +1\r\n", 400),
            ("Content-Length: -1\r\n", 400),
            ("Content-Length: 0x1\r\n", 400),
            ("Content-Length: 1 1\r\n", 400),
            ("Content-Length:\r\n", 400),
            ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", 400),
            ("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n", 400),
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                501,
            ),
            ("Transfer-Encoding: chunked, identity\r\n", 501),
            ("Transfer-Encoding: identity\r\n", 501),
            ("Transfer-Encoding: gzip, chunked\r\n", 501),
            ("Transfer-Encoding: xchunked\r\n", 501),
            ("Transfer-Encoding : chunked\r\n", 400),
            ("X-A: 1\r\n Transfer-Encoding: chunked\r\n", 400),
            ("X-A: 1\r\n\tb\r\n", 400),
            ("X-A: 1\nContent-Length: 1\r\n", 400),
            ("X-A: 1\rContent-Length: 1\r\n", 400),
            ("Host: other\r\n", 400),
            ("Content-Length: 65537\r\n", 413),
            ("Content-Length: 99999999999999999999999999\r\n", 413),
            ("Expect: 200-ok\r\n", 417),
            ("Expect: 100-continue, 200-ok\r\n", 417),
        ] {
            let text = format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
            assert_eq!(status(&text), expected, "{text}");
        }
        assert_eq!(
            status("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
            400
        );
        assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(status("GET / HTTP/1.1\nHost: h\n\n"), 400);
        assert_eq!(status(&UPGRADE.replace("\r\n", "\n")), 400);
        assert_eq!(status("GET h:80 HTTP/1.1\r\nHost: h\r\n\r\n"), 400);
    }

    #[test]
    fn a_body_may_come_in_chunks() {
        let (_, mut body) = read("PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n");
        let mut input = b"5\r\nhello\r\n0\r\n\r\nGET".to_vec();
        assert_eq!(body.take(&mut input), Ok(true));
        assert_eq!(
            (body.into_bytes(), input),
            (b"hello".to_vec(), b"GET".to_vec())
        );
    }

    #[test]
    fn a_body_may_have_64_kib() {
        let text = |length: usize| {
            format!("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n")
        };
        assert_eq!(read(&text(MAX_BODY)).1, Body::of_length(MAX_BODY));
        assert_eq!(status(&text(MAX_BODY + 1)), 413);
    }

    #[test]
    fn who_waits_for_100() {
        let text = |version, length| {
            format!("PUT / HTTP/{version}\r\nHost: h\r\nExpect: 100-Continue\r\nContent-Length: {length}\r\n\r\n")
        };
        assert!(read(&text("1.1", 1)).0.expects_continue);
        assert!(!read(&text("1.0", 1)).0.expects_continue);
        assert!(!read(&text("1.1", 0)).0.expects_continue);
    }
}
