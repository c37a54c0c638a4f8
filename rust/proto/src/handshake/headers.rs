//! Headers: as programs see them, and as they may be sent.

use httparse::Header;

/// Headers for programs: canonical names, each once, in the order of their first appearance; values of
/// repeated ones joined.
pub type Headers = Vec<(String, Vec<u8>)>;

/// A header, or a subprotocol, that may not be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Would end the line, or the string.
    #[error("header '{}' contains CR, LF or NUL", .0.escape_debug())]
    LineBreak(String),
    /// Another control character in the value.
    #[error("header '{}' contains a control character", .0.escape_debug())]
    Control(String),
    /// A name that is no token (RFC 9110 section 5.6.2).
    #[error("header '{}' has an invalid name (letters, digits and !#$%&'*+-.^_`|~ are allowed)", .0.escape_debug())]
    Name(String),
    /// A subprotocol that is no token (RFC 6455 section 4.1), and so could not stand in a list.
    #[error("protocol '{}' is not a token (letters, digits and !#$%&'*+-.^_`|~ are allowed)", .0.escape_debug())]
    Protocol(String),
    /// One that the handshake itself sets.
    #[error("header '{0}' is set by the WebSocket handshake and cannot be given")]
    Owned(String),
    /// A Host header beside another one.
    #[error("header '{0}' is given twice")]
    Twice(String),
}

/// Whether `text` is a token of HTTP (RFC 9110 section 5.6.2).
pub(crate) fn is_token(text: &[u8]) -> bool {
    let is_token_byte =
        |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(is_token_byte)
}

/// Checks that a header can be sent as it is.
pub(crate) fn check_header(name: &str, value: &[u8]) -> Result<(), HeaderError> {
    let breaks_line = |byte: &u8| matches!(byte, b'\r' | b'\n' | 0);
    if name.bytes().any(|byte| breaks_line(&byte)) || value.iter().any(breaks_line) {
        return Err(HeaderError::LineBreak(name.to_owned()));
    }
    if !is_token(name.as_bytes()) {
        return Err(HeaderError::Name(name.to_owned()));
    }
    if value
        .iter()
        .any(|byte| byte.is_ascii_control() && *byte != b'\t')
    {
        return Err(HeaderError::Control(name.to_owned()));
    }
    Ok(())
}

/// Checks that a subprotocol can be asked for, or chosen.
///
/// # Errors
/// [`HeaderError::Protocol`]: it is no token.
pub fn check_protocol(name: &str) -> Result<(), HeaderError> {
    match is_token(name.as_bytes()) {
        true => Ok(()),
        false => Err(HeaderError::Protocol(name.to_owned())),
    }
}

/// Checks headers that a program adds to a 101 response.
///
/// # Errors
/// [`HeaderError`], whose text names the header: a bad name or value, or one that is the handshake's own.
pub fn check_response_headers(headers: &[(String, Vec<u8>)]) -> Result<(), HeaderError> {
    // A 101 has no body (RFC 9110 section 15.2): a header that announces one would shift the frames behind it.
    const OWNED: [&str; 9] = [
        "Upgrade",
        "Connection",
        "Sec-WebSocket-Accept",
        "Sec-WebSocket-Key",
        "Sec-WebSocket-Version",
        "Sec-WebSocket-Extensions",
        "Sec-WebSocket-Protocol",
        "Content-Length",
        "Transfer-Encoding",
    ];
    headers.iter().try_for_each(|(name, value)| {
        check_header(name, value)?;
        check_not_owned(name, &OWNED)
    })
}

pub(crate) fn check_not_owned(name: &str, owned: &[&str]) -> Result<(), HeaderError> {
    if owned.iter().any(|own| own.eq_ignore_ascii_case(name)) {
        return Err(HeaderError::Owned(name.to_owned()));
    }
    Ok(())
}

/// Appends `Name: value` and the end of the line.
pub(crate) fn write_header(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The spelling of a header's name that programs see: each word with a capital, the rest small, except for
/// names that are registered otherwise.
pub fn canonical_name(name: &str) -> String {
    const KNOWN: [&str; 10] = [
        "Host",
        "Upgrade",
        "Connection",
        "Sec-WebSocket-Key",
        "Sec-WebSocket-Version",
        "Sec-WebSocket-Extensions",
        "Sec-WebSocket-Protocol",
        "ETag",
        "TE",
        "DNT",
    ];
    const WORDS: [&[u8]; 2] = [b"WebSocket", b"WWW"];
    if let Some(known) = KNOWN.iter().find(|known| known.eq_ignore_ascii_case(name)) {
        return (*known).to_owned();
    }
    let mut canonical = name.to_ascii_lowercase().into_bytes();
    for word in canonical.split_mut(|byte| *byte == b'-') {
        match WORDS.iter().find(|known| known.eq_ignore_ascii_case(word)) {
            Some(known) => word.copy_from_slice(known),
            None => {
                if let Some(first) = word.first_mut() {
                    first.make_ascii_uppercase();
                }
            }
        }
    }
    String::from_utf8(canonical).expect("only letters of ASCII have changed")
}

/// Adds the headers of a parsed head to `view`.
pub(crate) fn add_to_view<'a>(
    view: &mut Headers,
    parsed: impl IntoIterator<Item = &'a Header<'a>>,
) {
    for header in parsed {
        let name = canonical_name(header.name);
        match view.iter_mut().find(|(seen, _)| *seen == name) {
            Some((name, value)) => {
                value.extend_from_slice(separator(name));
                value.extend_from_slice(header.value);
            }
            None => view.push((name, header.value.to_vec())),
        }
    }
}

/// The separator of the values of a repeated header. Set-Cookie values contain commas, and so cannot be
/// joined with one (RFC 9110 section 5.3); Cookie has its own separator (RFC 6265 section 5.4).
fn separator(name: &str) -> &'static [u8] {
    match name {
        "Cookie" => b"; ",
        "Set-Cookie" => b"\n",
        _ => b", ",
    }
}

/// The values of all headers called `name`.
pub(crate) fn values<'a>(
    parsed: &'a [Header<'_>],
    name: &'a str,
) -> impl Iterator<Item = &'a [u8]> {
    parsed
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
        .map(|header| header.value)
}

/// The values of all headers called `name` as one list.
pub(crate) fn joined(parsed: &[Header<'_>], name: &str) -> Vec<u8> {
    values(parsed, name).collect::<Vec<_>>().join(&b", "[..])
}

/// The elements of the comma-separated lists in all headers called `name`, without empty ones.
pub(crate) fn list<'a>(parsed: &'a [Header<'_>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    values(parsed, name).flat_map(elements)
}

/// The elements of one comma-separated list, without empty ones.
pub(crate) fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

/// Whether `token` is in the lists in all headers called `name`, in any case.
pub(crate) fn has_token(parsed: &[Header<'_>], name: &str, token: &str) -> bool {
    list(parsed, name).any(|element| element.eq_ignore_ascii_case(token.as_bytes()))
}

/// `bytes` as text, with what is not UTF-8 replaced.
pub(crate) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_get_their_capitals() {
        for (sent, seen) in [
            ("set-cookie", "Set-Cookie"),
            ("WWW-AUTHENTICATE", "WWW-Authenticate"),
            ("sec-websocket-protocol", "Sec-WebSocket-Protocol"),
            ("SEC-WEBSOCKET-KEY", "Sec-WebSocket-Key"),
            ("hOST", "Host"),
            ("x-request-id", "X-Request-Id"),
            ("etag", "ETag"),
            ("-a--b-", "-A--B-"),
        ] {
            assert_eq!(canonical_name(sent), seen);
        }
    }

    #[test]
    fn repeated_headers_are_joined_in_place() {
        let header = |name, value: &'static str| Header {
            name,
            value: value.as_bytes(),
        };
        let mut view = Headers::new();
        let parsed = [
            header("set-cookie", "a=1; Path=/"),
            header("X-A", "1"),
            header("Set-Cookie", "b=2"),
            header("x-a", "2"),
            header("cookie", "c=3"),
            header("Cookie", "d=4"),
        ];
        add_to_view(&mut view, &parsed);
        let expected = [
            ("Set-Cookie", "a=1; Path=/\nb=2"),
            ("X-A", "1, 2"),
            ("Cookie", "c=3; d=4"),
        ];
        let seen: Vec<_> = view
            .iter()
            .map(|(name, value)| (&name[..], std::str::from_utf8(value).unwrap()))
            .collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn refused_headers_are_named() {
        for (name, value, text) in [
            ("X-A", "a\r\nX-B: c", "header 'X-A' contains CR, LF or NUL"),
            ("X-A", "a\0", "header 'X-A' contains CR, LF or NUL"),
            ("X-A\n", "a", "header 'X-A\\n' contains CR, LF or NUL"),
            ("X-A", "\x01", "header 'X-A' contains a control character"),
            ("X A", "a", "header 'X A' has an invalid name (letters, digits and !#$%&'*+-.^_`|~ are allowed)"),
            ("", "a", "header '' has an invalid name (letters, digits and !#$%&'*+-.^_`|~ are allowed)"),
            ("upgrade", "a", "header 'upgrade' is set by the WebSocket handshake and cannot be given"),
            ("Content-Length", "0", "header 'Content-Length' is set by the WebSocket handshake and cannot be given"),
        ] {
            let headers = [("X-Good".to_owned(), b"fine\ttoo \xE9".to_vec()), (name.to_owned(), value.into())];
            assert_eq!(check_response_headers(&headers[..1]), Ok(()));
            assert_eq!(check_response_headers(&headers).unwrap_err().to_string(), text);
        }
    }
}
