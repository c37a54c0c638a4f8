//! The answers that a server gives by itself, other than 101.

use crate::http::{status_text, HttpResponse};

/// A request refused. Encoded, it announces that the connection is closed after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The HTTP status.
    pub status: u16,
    /// What is wrong, in one sentence: the body.
    pub text: &'static str,
}

impl Rejection {
    /// A rejection with the usual text of its status.
    pub fn new(status: u16) -> Self {
        let text = match status {
            400 => "The request is malformed.",
            403 => "The server refused this connection.",
            408 => "The request did not arrive in time.",
            413 => "The request's body is too large.",
            417 => "This expectation cannot be met.",
            421 => "No host of this name is served here.",
            426 => "This is a WebSocket server: an upgrade is required.",
            431 => "The request's head is too large.",
            500 => "The server failed to answer this request.",
            503 => "The server cannot answer this request now.",
            _ => "The request was refused.",
        };
        Self { status, text }
    }

    pub(crate) const fn with_text(status: u16, text: &'static str) -> Self {
        Self { status, text }
    }

    /// The response's bytes.
    pub fn encode(self) -> Vec<u8> {
        HttpResponse::from(self).encode_last()
    }
}

impl From<Rejection> for HttpResponse {
    fn from(rejection: Rejection) -> HttpResponse {
        let mut headers = Vec::new();
        let mut add = |name: &str, value: &str| headers.push((name.to_owned(), value.into()));
        if rejection.status == 426 {
            // RFC 9110 section 15.5.22 asks for Upgrade, RFC 6455 section 4.4 for the version.
            add("Upgrade", "websocket");
            add("Sec-WebSocket-Version", "13");
        }
        add("Content-Type", "text/plain; charset=utf-8");
        HttpResponse {
            status: rejection.status,
            headers,
            body: format!("{}\n", rejection.text).into_bytes(),
        }
    }
}

impl std::fmt::Display for Rejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", status_text(self.status), self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rejection_is_a_whole_response() {
        for status in [400, 403, 408, 413, 417, 421, 426, 431, 500, 503] {
            let bytes = String::from_utf8(Rejection::new(status).encode()).unwrap();
            let (head, body) = bytes.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
            assert!(head.contains("\r\nConnection: close"), "{head}");
            assert!(
                head.contains(&format!("\r\nContent-Length: {}", body.len())),
                "{head}"
            );
            assert_eq!(head.contains("\r\nUpgrade: websocket\r\n"), status == 426);
            assert_eq!(
                head.contains("\r\nSec-WebSocket-Version: 13\r\n"),
                status == 426
            );
        }
    }

    #[test]
    fn a_rejection_is_shown_with_its_status() {
        let rejection = Rejection::with_text(400, "No host.");
        assert_eq!(rejection.to_string(), "400 Bad Request: No host.");
    }
}
