//! The server's answer, as a client reads it (RFC 6455 section 4.1, "client requirements").

use super::extensions::{check_choice, ExtensionError, Negotiated};
use super::headers::{add_to_view, has_token, joined, lossy, values};
use super::limits::FewHeaders;
use super::{accept_key, ClientRequest, HeadLimits, Headers};
use httparse::{Error, ParserConfig, Status};

/// Bytes of something unexpected that are shown.
const MAX_SHOWN: usize = 80;

/// An upgrade that a server agreed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpgradeResponse {
    /// The subprotocol it chose, one of those asked for.
    pub protocol: Option<String>,
    /// The parameters of permessage-deflate; `None`: it was not agreed on.
    pub deflate: Option<Negotiated>,
    /// The response's headers.
    pub headers: Headers,
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpgradeResponseError {
    /// Any status but 101, with the reason phrase if there was one.
    #[error("server answered: {0}")]
    Status(String),
    /// Not HTTP: what is wrong, and the first line of it.
    #[error("server sent a malformed HTTP response: {0} (it begins with '{1}')")]
    Malformed(Error, String),
    /// 101 in a version of HTTP that knows no upgrade.
    #[error("server answered in HTTP/1.0, which knows no upgrade")]
    Version,
    /// More bytes than the limit says, which is given.
    #[error(
        "server sent too large a response: its head has more than {0} bytes (max_header_size)"
    )]
    TooLarge(usize),
    /// More headers than the limit says, which is given.
    #[error("server sent too many headers: more than {0} (max_headers)")]
    TooMany(usize),
    /// 101 without what makes it an upgrade to WebSocket.
    #[error("server's response has no '{0}' header")]
    NoUpgrade(&'static str),
    /// 101 to something else, be it beside WebSocket (RFC 6455 section 4.1 wants its name and nothing more).
    #[error("server's response upgrades to '{}', not to 'websocket'", .0.escape_debug())]
    OtherUpgrade(String),
    /// The accept key is missing or answers another key.
    #[error("server sent a wrong Sec-WebSocket-Accept key")]
    AcceptKey,
    /// A subprotocol that was not asked for.
    #[error("server chose a subprotocol that was not asked for: '{}'", .0.escape_debug())]
    Protocol(String),
    /// An extension, or a parameter of one, that the client cannot accept.
    #[error(transparent)]
    Extension(#[from] ExtensionError),
}

/// Reads the answer to `request`, which was sent with `key`, from the front of `buf`: the bytes of the head and
/// the response, or `None` while it is incomplete. Interim responses (1xx) before it are skipped.
///
/// # Errors
/// [`UpgradeResponseError`]: the connection is to be closed.
pub fn parse_response(
    buf: &[u8],
    key: &str,
    request: &ClientRequest,
) -> Result<Option<(usize, UpgradeResponse)>, UpgradeResponseError> {
    final_response(buf, request.limits, false, |parsed, end| {
        match parsed.code {
            Some(101) => accept(parsed, key, request).map(|response| (end, response)),
            _ => Err(UpgradeResponseError::Status(status_of(parsed))),
        }
    })
}

/// What is wrong with an answer that has ended in the middle of its head, when [`parse_response`] has found nothing yet: it
/// may have waited for the end of the first line, to show it.
///
/// # Errors
/// As [`parse_response`].
pub fn check_ended_response(
    buf: &[u8],
    request: &ClientRequest,
) -> Result<(), UpgradeResponseError> {
    final_response(buf, request.limits, true, |_, _| Ok(())).map(drop)
}

/// Reads heads from the front of `buf` up to the first that is no interim response, and hands that to `judge` with
/// the number of bytes up to its end. `None` while it is incomplete. `is_ended`: nothing will follow, so that a first line
/// which is malformed has not to be waited for.
pub(crate) fn final_response<T>(
    buf: &[u8],
    limits: HeadLimits,
    is_ended: bool,
    judge: impl FnOnce(&httparse::Response<'_, '_>, usize) -> Result<T, UpgradeResponseError>,
) -> Result<Option<T>, UpgradeResponseError> {
    let mut start = 0;
    loop {
        // Nothing beyond the limit is looked at: whether it has come already must not make a difference.
        let rest = &buf[start..buf.len().min(limits.size)];
        let (mut few, mut many) = (FewHeaders::new(), Vec::new());
        let places = limits.places(rest.len(), &mut few, &mut many);
        let mut parsed = httparse::Response::new(&mut []);
        let read =
            ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, rest, places);
        let end = match read {
            Ok(Status::Complete(length)) => start + length,
            Ok(Status::Partial) if buf.len() < limits.size => return Ok(None),
            Ok(Status::Partial) => return Err(UpgradeResponseError::TooLarge(limits.size)),
            Err(Error::TooManyHeaders) => {
                return Err(UpgradeResponseError::TooMany(limits.headers))
            }
            // Nor must what is shown of the first line depend on how much of it has come.
            Err(_) if !is_ended && !is_shown_whole(rest) => return Ok(None),
            Err(error) => return Err(UpgradeResponseError::Malformed(error, first_line(rest))),
        };
        match parsed.code {
            Some(100 | 102..=199) => start = end,
            _ => return judge(&parsed, end).map(Some),
        }
    }
}

/// Whether no further byte changes what [`first_line`] shows.
fn is_shown_whole(response: &[u8]) -> bool {
    response.len() >= MAX_SHOWN || response.iter().any(|byte| matches!(byte, b'\r' | b'\n'))
}

/// Code and reason phrase. Of a longer phrase than anybody would read only the beginning is shown.
pub(crate) fn status_of(parsed: &httparse::Response<'_, '_>) -> String {
    const SHOWN: usize = 200;
    let code = parsed.code.unwrap_or(0);
    let reason = parsed.reason.unwrap_or("").trim_end();
    match reason.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{code:03} {}...", &reason[..end]),
        None if reason.is_empty() => format!("{code:03}"),
        None => format!("{code:03} {reason}"),
    }
}

fn accept(
    parsed: &httparse::Response<'_, '_>,
    key: &str,
    request: &ClientRequest,
) -> Result<UpgradeResponse, UpgradeResponseError> {
    if parsed.version == Some(0) {
        return Err(UpgradeResponseError::Version);
    }
    let headers = &*parsed.headers;
    check_upgrade(headers)?;
    if !has_token(headers, "Connection", "upgrade") {
        return Err(UpgradeResponseError::NoUpgrade("Connection: Upgrade"));
    }
    let mut accepts = values(headers, "Sec-WebSocket-Accept");
    if accepts.next() != Some(accept_key(key).as_bytes()) || accepts.next().is_some() {
        return Err(UpgradeResponseError::AcceptKey);
    }
    let extensions = joined(headers, "Sec-WebSocket-Extensions");
    let deflate = check_choice(&extensions, request.deflate.as_ref())?;
    let mut view = Headers::with_capacity(headers.len());
    add_to_view(&mut view, headers);
    Ok(UpgradeResponse {
        protocol: chosen_protocol(headers, request)?,
        deflate,
        headers: view,
    })
}

fn check_upgrade(headers: &[httparse::Header<'_>]) -> Result<(), UpgradeResponseError> {
    let upgrades: Vec<&[u8]> = values(headers, "Upgrade").collect();
    match upgrades[..] {
        [] => Err(UpgradeResponseError::NoUpgrade("Upgrade: websocket")),
        [value] if value.eq_ignore_ascii_case(b"websocket") => Ok(()),
        _ => {
            let shown = upgrades.join(&b", "[..]);
            let shown = &shown[..shown.len().min(MAX_SHOWN)];
            Err(UpgradeResponseError::OtherUpgrade(lossy(shown)))
        }
    }
}

/// The first line of a response that cannot be understood, for the text of an error.
fn first_line(response: &[u8]) -> String {
    let line = response
        .split(|&byte| byte == b'\r' || byte == b'\n')
        .next()
        .unwrap_or_default();
    lossy(&line[..line.len().min(MAX_SHOWN)])
        .escape_debug()
        .to_string()
}

fn chosen_protocol(
    headers: &[httparse::Header<'_>],
    request: &ClientRequest,
) -> Result<Option<String>, UpgradeResponseError> {
    let chosen: Vec<&[u8]> = values(headers, "Sec-WebSocket-Protocol").collect();
    match chosen[..] {
        [] => Ok(None),
        [name]
            if request
                .all_protocols()
                .iter()
                .any(|asked| asked.as_bytes() == name) =>
        {
            Ok(Some(lossy(name)))
        }
        _ => Err(UpgradeResponseError::Protocol(lossy(
            &chosen.join(&b", "[..]),
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const GOOD: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: keep-alive, UPGRADE\r\n\
                        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

    fn parse(text: &str) -> Result<Option<(usize, UpgradeResponse)>, UpgradeResponseError> {
        let request = ClientRequest {
            protocols: vec!["a".into(), "b".into()],
            ..ClientRequest::default()
        };
        parse_response(text.as_bytes(), KEY, &request)
    }

    fn error(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn an_upgrade_is_accepted_and_what_follows_is_left() {
        let text = format!("{GOOD}sec-websocket-protocol: b\r\nset-cookie: x\r\n\r\n\x01\x02");
        let (length, response) = parse(&text).unwrap().unwrap();
        assert_eq!(length, text.len() - 2);
        assert_eq!(response.protocol.as_deref(), Some("b"));
        assert!(response
            .headers
            .contains(&("Set-Cookie".to_owned(), b"x".to_vec())));
        for cut in 0..length {
            assert_eq!(parse(&text[..cut]), Ok(None), "{cut} bytes");
        }
    }

    #[test]
    fn interim_responses_are_skipped() {
        let text = format!("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n{GOOD}\r\n");
        let (length, response) = parse(&text).unwrap().unwrap();
        assert_eq!(length, text.len());
        assert!(response.headers.iter().all(|(name, _)| name != "Link"));
    }

    #[test]
    fn refusals_say_what_the_server_said() {
        assert_eq!(
            error("HTTP/1.1 403 Forbidden\r\n\r\nno"),
            "server answered: 403 Forbidden"
        );
        assert_eq!(
            error("HTTP/1.0 302 Found\r\nLocation: /x\r\n\r\n"),
            "server answered: 302 Found"
        );
        assert_eq!(error("HTTP/1.1 500\r\n\r\n"), "server answered: 500");
        assert_eq!(error("HTTP/1.1 200 OK\r\n\r\n"), "server answered: 200 OK");
        let long = error(&format!("HTTP/1.1 403 {}\r\n\r\n", "x".repeat(10_000)));
        assert_eq!(long, format!("server answered: 403 {}...", "x".repeat(200)));
    }

    #[test]
    fn an_upgrade_to_something_else_is_refused() {
        let without = |line: &str| error(&(GOOD.replace(line, "X-Removed: ") + "\r\n"));
        assert_eq!(
            without("Upgrade: "),
            "server's response has no 'Upgrade: websocket' header"
        );
        assert_eq!(
            without("Connection: "),
            "server's response has no 'Connection: Upgrade' header"
        );
        assert_eq!(
            without("Sec-WebSocket-Accept: "),
            "server sent a wrong Sec-WebSocket-Accept key"
        );
        assert_eq!(
            without("s3pPLM"),
            "server sent a wrong Sec-WebSocket-Accept key"
        );
        for value in [
            "h2c, websocket",
            "websocket, h2c",
            "websocket,",
            "websocket/13",
            "h2c",
            "",
        ] {
            assert_eq!(
                error(&(GOOD.replace("Upgrade: WebSocket", &format!("Upgrade: {value}")) + "\r\n")),
                format!("server's response upgrades to '{value}', not to 'websocket'")
            );
        }
        let with = |line: &str| error(&format!("{GOOD}{line}\r\n\r\n"));
        assert_eq!(
            with("upgrade: websocket"),
            "server's response upgrades to 'WebSocket, websocket', not to 'websocket'"
        );
        let twice = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
        assert_eq!(with(twice), "server sent a wrong Sec-WebSocket-Accept key");
        let not_asked = "server chose a subprotocol that was not asked for: ";
        assert_eq!(with("Sec-WebSocket-Protocol: c"), format!("{not_asked}'c'"));
        assert_eq!(with("Sec-WebSocket-Protocol: A"), format!("{not_asked}'A'"));
        assert_eq!(
            with("Sec-WebSocket-Protocol: a, b"),
            format!("{not_asked}'a, b'")
        );
        assert_eq!(
            with("Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: b"),
            format!("{not_asked}'a, b'")
        );
        assert_eq!(
            with("Sec-WebSocket-Extensions: permessage-deflate; x=1"),
            "server chose an extension that was not offered: 'permessage-deflate'"
        );
    }

    #[test]
    fn a_response_that_is_not_understood_is_quoted() {
        let text = parse("HTTP/1.1 418 \x1b[31mteapot\r\n\r\n")
            .unwrap_err()
            .to_string();
        assert!(text.contains("HTTP/1.1 418 \\u{1b}[31mteapot"), "{text}");
    }

    #[test]
    fn what_has_ended_is_not_waited_for() {
        let request = ClientRequest::default();
        assert_eq!(parse("SSH-2.0"), Ok(None));
        let error = check_ended_response(b"SSH-2.0", &request).unwrap_err();
        assert!(matches!(error, UpgradeResponseError::Malformed(..)));
        assert_eq!(
            check_ended_response(&GOOD.as_bytes()[..20], &request),
            Ok(())
        );
    }

    #[test]
    fn an_upgrade_in_http_1_0_is_refused() {
        let answer = format!("{}\r\n", GOOD.replace("HTTP/1.1", "HTTP/1.0"));
        assert_eq!(parse(&answer), Err(UpgradeResponseError::Version));
    }

    #[test]
    fn what_is_not_http_and_what_is_too_much_is_refused() {
        assert!(
            error("SSH-2.0-OpenSSH_9.6\r\n").starts_with("server sent a malformed HTTP response: ")
        );
        assert!(error("HTTP/1.1 101 OK\r\nno colon\r\n\r\n")
            .starts_with("server sent a malformed HTTP response: "));
        let limits = HeadLimits::default();
        let too_large =
            "server sent too large a response: its head has more than 16384 bytes (max_header_size)";
        assert_eq!(
            error(&format!("{GOOD}X: {}", "x".repeat(limits.size))),
            too_large
        );
        // Not before there are so many.
        let begun = format!("{GOOD}X: {}", "x".repeat(limits.size - GOOD.len() - 3));
        assert_eq!(begun.len(), limits.size);
        assert_eq!(error(&begun), too_large);
        assert_eq!(parse(&begun[..limits.size - 1]), Ok(None));
        // The same when all of it, and its end, has come in one piece.
        assert_eq!(
            error(&format!("{GOOD}X: {}\r\n\r\n", "x".repeat(limits.size))),
            too_large
        );
        assert_eq!(
            error(&format!("{GOOD}{}\r\n", "X: y\r\n".repeat(limits.headers))),
            "server sent too many headers: more than 100 (max_headers)"
        );
        assert_eq!(
            error(&"HTTP/1.1 100 Continue\r\n\r\n".repeat(limits.size / 20)),
            too_large
        );
    }
}
