//! Every answer of a server but 101.

use std::fmt::Display;

use crate::handshake::headers::{check_header, elements, write_header};
use crate::handshake::{HeaderError, Headers};
use crate::http::status::reason_phrase;

/// The form that a request asks its response to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The answer has no body, and says how long it would be.
    pub head: bool,
    /// Another request may follow.
    pub keep_alive: bool,
    /// The request is HTTP/1.0, in which a connection is kept alive only if both ends say so.
    pub old: bool,
}

impl Terms {
    /// The terms of a connection that ends with the response.
    pub const LAST: Terms = Terms {
        head: false,
        keep_alive: false,
        old: false,
    };
}

/// A response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpResponse {
    /// From 200 to 599.
    pub status: u16,
    /// As they are to be sent. `Connection` says only whether the connection ends, and `Content-Length` counts only
    /// where the response has no body that could be counted.
    pub headers: Headers,
    /// The body.
    pub body: Vec<u8>,
}

/// A status and what it means, as in a status line.
pub(crate) fn status_text(status: u16) -> String {
    format!("{status} {}", reason_phrase(status))
}

/// A response that cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpResponseError {
    /// No final status (RFC 9110 section 15).
    #[error("{}", status_refusal(.0))]
    Status(u16),
    /// A header that is malformed.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// One that only the server can know.
    #[error("header '{0}' is set by the server and cannot be given")]
    Framing(String),
}

/// Why a status is refused that was given as this, which need not be a number.
pub fn status_refusal(given: impl Display) -> String {
    format!("the status must be a whole number from 200 to 599 (got '{given}')")
}

impl HttpResponse {
    /// Checks what a program wants to have sent.
    ///
    /// # Errors
    /// [`HttpResponseError`]
    pub fn check(&self) -> Result<(), HttpResponseError> {
        if !(200..=599).contains(&self.status) {
            return Err(HttpResponseError::Status(self.status));
        }
        self.headers.iter().try_for_each(|(name, value)| {
            check_header(name, value)?;
            let framing = ["Transfer-Encoding", "Trailer", "Keep-Alive"];
            if framing.iter().any(|other| name.eq_ignore_ascii_case(other)) {
                return Err(HttpResponseError::Framing(name.clone()));
            }
            Ok(())
        })
    }

    /// Whether the connection ends with it.
    pub fn is_last(&self, terms: Terms) -> bool {
        let says_so =
            |value: &[u8]| elements(value).any(|element| element.eq_ignore_ascii_case(b"close"));
        !terms.keep_alive || self.values("Connection").any(says_so)
    }

    /// The response's status and its reason phrase.
    pub fn status_text(&self) -> String {
        status_text(self.status)
    }

    /// The bytes before the body. `date` is when this is sent, in the form of RFC 9110 section 5.6.7; a response that
    /// has a `Date` goes without.
    pub fn encode_head(&self, terms: Terms, date: Option<&str>) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        let line = format!("HTTP/1.1 {}\r\n", self.status_text());
        out.extend_from_slice(line.as_bytes());
        if let Some(connection) = self.connection(terms) {
            write_header(&mut out, "Connection", connection.as_bytes());
        }
        if let (Some(date), None) = (date, self.values("Date").next()) {
            write_header(&mut out, "Date", date.as_bytes());
        }
        for (name, value) in &self.headers {
            let ours = ["Connection", "Content-Length"];
            if !ours.iter().any(|other| name.eq_ignore_ascii_case(other)) {
                write_header(&mut out, name, value);
            }
        }
        if let Some(length) = self.content_length(terms) {
            write_header(&mut out, "Content-Length", &length);
        }
        out.extend_from_slice(b"\r\n");
        out
    }

    /// The bytes behind the head.
    pub fn sent_body(&self, terms: Terms) -> &[u8] {
        if terms.head || self.has_no_body() {
            return &[];
        }
        &self.body
    }

    /// The whole, as the last on its connection.
    pub fn encode_last(&self) -> Vec<u8> {
        let mut out = self.encode_head(Terms::LAST, None);
        out.extend_from_slice(self.sent_body(Terms::LAST));
        out
    }

    /// Whether its status is one without a body (RFC 9110 section 6.4.1).
    fn has_no_body(&self) -> bool {
        matches!(self.status, 204 | 304)
    }

    fn connection(&self, terms: Terms) -> Option<String> {
        let mut options = Vec::new();
        if self.is_last(terms) {
            options.push("close");
        } else if terms.old {
            options.push("keep-alive");
        }
        // RFC 9110 section 7.8 asks for its mention.
        if self.values("Upgrade").next().is_some() {
            options.push("Upgrade");
        }
        (!options.is_empty()).then(|| options.join(", "))
    }

    /// RFC 9110 section 8.6: none with 204, and that of another response with 304 or for HEAD, where the program alone
    /// may know it.
    fn content_length(&self, terms: Terms) -> Option<Vec<u8>> {
        let given = self
            .values("Content-Length")
            .find(|value| !value.is_empty() && value.iter().all(u8::is_ascii_digit));
        match self.status {
            204 => None,
            304 => given.map(<[u8]>::to_vec),
            _ if terms.head && self.body.is_empty() && given.is_some() => given.map(<[u8]>::to_vec),
            _ => Some(self.body.len().to_string().into_bytes()),
        }
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.headers
            .iter()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| &value[..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEXT: Terms = Terms {
        head: false,
        keep_alive: true,
        old: false,
    };

    fn response(status: u16, headers: &[(&str, &str)], body: &str) -> HttpResponse {
        HttpResponse {
            status,
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).into()))
                .collect(),
            body: body.into(),
        }
    }

    fn sent(response: &HttpResponse, terms: Terms, date: Option<&str>) -> String {
        let mut out = response.encode_head(terms, date);
        out.extend_from_slice(response.sent_body(terms));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_page() {
        let page = response(
            200,
            &[("content-type", "text/plain"), ("X-A", "1"), ("X-A", "2")],
            "hi\n",
        );
        assert_eq!(
            sent(&page, NEXT, Some("now")),
            "HTTP/1.1 200 OK\r\nDate: now\r\ncontent-type: text/plain\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 3\r\n\r\nhi\n"
        );
        assert_eq!(
            sent(
                &response(299, &[("date", "then")], ""),
                Terms::LAST,
                Some("now")
            ),
            "HTTP/1.1 299 \r\nConnection: close\r\ndate: then\r\nContent-Length: 0\r\n\r\n"
        );
    }

    #[test]
    fn the_length_is_that_of_the_body_wherever_there_is_one() {
        let head = Terms { head: true, ..NEXT };
        for (status, given, body, terms, length, sends) in [
            (200, None, "four", NEXT, Some("4"), true),
            (200, Some("9"), "four", NEXT, Some("4"), true),
            (200, Some("9"), "", NEXT, Some("0"), true),
            (200, None, "four", head, Some("4"), false),
            (200, Some("9"), "four", head, Some("4"), false),
            (200, Some("9"), "", head, Some("9"), false),
            (200, Some("+9"), "", head, Some("0"), false),
            (204, None, "four", NEXT, None, false),
            (204, Some("4"), "four", NEXT, None, false),
            (304, None, "four", NEXT, None, false),
            (304, Some("9"), "", NEXT, Some("9"), false),
            (404, None, "", NEXT, Some("0"), true),
        ] {
            let headers: Vec<_> = given
                .map(|given| ("content-length", given))
                .into_iter()
                .collect();
            let text = sent(&response(status, &headers, body), terms, None);
            let (head, behind) = text.split_once("\r\n\r\n").unwrap();
            let seen: Vec<_> = head
                .split("\r\n")
                .filter_map(|line| line.strip_prefix("Content-Length: "))
                .collect();
            assert_eq!(seen, length.into_iter().collect::<Vec<_>>(), "{text}");
            assert!(!head.contains("content-length"), "{text}");
            assert_eq!(behind, if sends { body } else { "" }, "{text}");
        }
    }

    #[test]
    fn what_connection_says() {
        let old = Terms { old: true, ..NEXT };
        for (headers, terms, expected) in [
            (&[][..], NEXT, None),
            (&[][..], old, Some("keep-alive")),
            (&[][..], Terms::LAST, Some("close")),
            (&[("connection", "x, Close")][..], NEXT, Some("close")),
            (&[("connection", "close")][..], old, Some("close")),
            (
                &[("connection", "keep-alive")][..],
                Terms::LAST,
                Some("close"),
            ),
            (&[("upgrade", "websocket")][..], NEXT, Some("Upgrade")),
            (
                &[("Upgrade", "websocket")][..],
                Terms::LAST,
                Some("close, Upgrade"),
            ),
        ] {
            let response = response(200, headers, "");
            let text = sent(&response, terms, None);
            let seen = text
                .split("\r\n")
                .find_map(|line| line.strip_prefix("Connection: "));
            assert_eq!(seen, expected, "{text}");
            assert_eq!(
                response.is_last(terms),
                expected.is_some_and(|value| value.starts_with("close")),
                "{text}"
            );
        }
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        for (status, header, text) in [
            (
                101,
                ("X-A", "1"),
                "the status must be a whole number from 200 to 599 (got '101')",
            ),
            (
                600,
                ("X-A", "1"),
                "the status must be a whole number from 200 to 599 (got '600')",
            ),
            (
                0,
                ("X-A", "1"),
                "the status must be a whole number from 200 to 599 (got '0')",
            ),
            (
                200,
                ("X-A", "1\r\nX-B: 2"),
                "header 'X-A' contains CR, LF or NUL",
            ),
            (
                200,
                ("transfer-encoding", "chunked"),
                "header 'transfer-encoding' is set by the server and cannot be given",
            ),
        ] {
            let refused = response(status, &[("X-Good", "1"), header], "").check();
            assert_eq!(refused.unwrap_err().to_string(), text);
        }
        assert_eq!(
            response(200, &[("Connection", "close"), ("Content-Length", "x")], "").check(),
            Ok(())
        );
    }
}
