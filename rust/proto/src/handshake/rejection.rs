//! Every answer of a server but 101.

use super::headers::write_header;

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
            426 => "This is a WebSocket server: an upgrade is required.",
            431 => "The request's head is too large.",
            500 => "The server failed to answer this request.",
            503 => "The server takes no connections now.",
            _ => "The request was refused.",
        };
        Self { status, text }
    }

    pub(super) fn with_text(status: u16, text: &'static str) -> Self {
        Self { status, text }
    }

    /// The response's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(format!("HTTP/1.1 {} {}\r\n", self.status, self.phrase()).as_bytes());
        if self.status == 426 {
            // RFC 9110 section 15.5.22 asks for Upgrade, section 7.8 for its mention in Connection, and RFC 6455
            // section 4.4 for the version.
            write_header(&mut out, "Upgrade", b"websocket");
            write_header(&mut out, "Connection", b"close, Upgrade");
            write_header(&mut out, "Sec-WebSocket-Version", b"13");
        } else {
            write_header(&mut out, "Connection", b"close");
        }
        write_header(&mut out, "Content-Type", b"text/plain; charset=utf-8");
        write_header(
            &mut out,
            "Content-Length",
            (self.text.len() + 1).to_string().as_bytes(),
        );
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(self.text.as_bytes());
        out.push(b'\n');
        out
    }

    fn phrase(&self) -> &'static str {
        match self.status {
            400 => "Bad Request",
            403 => "Forbidden",
            408 => "Request Timeout",
            426 => "Upgrade Required",
            431 => "Request Header Fields Too Large",
            500 => "Internal Server Error",
            503 => "Service Unavailable",
            _ => "Error",
        }
    }
}

impl std::fmt::Display for Rejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.status, self.phrase(), self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rejection_is_a_whole_response() {
        for status in [400, 403, 408, 426, 431, 500, 503] {
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
}
