//! HTTP CONNECT (RFC 9110 section 9.3.6): a request for a tunnel, and the proxy's answer.

use data_encoding::BASE64;

use super::{authority, Credentials};
use crate::handshake::{final_response, status_of, HeadLimits, UpgradeResponseError};

/// The request for a tunnel to `host`, a name or an address without brackets.
pub fn encode_request(host: &str, port: u16, credentials: Option<&Credentials>) -> Vec<u8> {
    let target = authority(host, port);
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some(Credentials { user, password }) = credentials {
        let both = [user, &b":"[..], password].concat();
        request += &format!("Proxy-Authorization: Basic {}\r\n", BASE64.encode(&both));
    }
    request += "\r\n";
    request.into_bytes()
}

/// Reads the answer at the front of `buf`: the bytes of its head, or `None` while it is incomplete. What follows
/// the head is the server's, whatever a `Content-Length` says.
///
/// # Errors
/// A refusal, with its status line, or an answer that is not understood; in words that want "proxy ..." before them.
pub fn parse_response(buf: &[u8], limits: HeadLimits) -> Result<Option<usize>, String> {
    read_response(buf, limits, false)
}

/// What is wrong with an answer that has ended in the middle of its head, as
/// [`check_ended_response`](crate::handshake::check_ended_response).
///
/// # Errors
/// As [`parse_response`].
pub fn check_ended_response(buf: &[u8], limits: HeadLimits) -> Result<(), String> {
    read_response(buf, limits, true).map(drop)
}

fn read_response(buf: &[u8], limits: HeadLimits, is_ended: bool) -> Result<Option<usize>, String> {
    let found = final_response(buf, limits, is_ended, |parsed, end| match parsed.code {
        Some(200..=299) => Ok(end),
        _ => Err(UpgradeResponseError::Status(status_of(parsed))),
    });
    found.map_err(|error| match error {
        UpgradeResponseError::Status(status) => format!("answered: {}", status.escape_debug()),
        UpgradeResponseError::Malformed(error, line) => {
            format!("sent a malformed HTTP response: {error} (it begins with '{line}')")
        }
        other => {
            let text = other.to_string();
            text.strip_prefix("server ").unwrap_or(&text).to_owned()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests() {
        assert_eq!(
            encode_request("h.example", 80, None),
            b"CONNECT h.example:80 HTTP/1.1\r\nHost: h.example:80\r\n\r\n"
        );
        let credentials = Credentials {
            user: b"Aladdin".to_vec(),
            password: b"open sesame".to_vec(),
        };
        assert_eq!(
            encode_request("::1", 443, Some(&credentials)),
            b"CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n\
              Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n"
        );
    }

    #[test]
    fn answers() {
        let parse_response = |buf: &[u8]| parse_response(buf, HeadLimits::default());
        let good = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 Connection established\r\nContent-Length: 9\r\n\r\nx";
        assert_eq!(parse_response(good), Ok(Some(good.len() - 1)));
        for cut in 0..good.len() - 1 {
            assert_eq!(parse_response(&good[..cut]), Ok(None), "{cut} bytes");
        }
        // One that has ended is not waited for.
        let ended = |text: &[u8]| check_ended_response(text, HeadLimits::default());
        assert_eq!(ended(b"HTTP/1.1 200 OK"), Ok(()));
        assert_eq!(parse_response(b"\x05\x00"), Ok(None));
        let error = ended(b"\x05\x00").unwrap_err();
        assert!(error.starts_with("sent a malformed HTTP response: "));
        let refused = |text: &str| parse_response(text.as_bytes()).unwrap_err();
        assert_eq!(
            refused("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"),
            "answered: 407 Proxy Authentication Required"
        );
        assert_eq!(
            refused("HTTP/1.1 101 Switching Protocols\r\n\r\n"),
            "answered: 101 Switching Protocols"
        );
        assert!(refused("\x05\x00\r\n\r\n").starts_with("sent a malformed HTTP response: "));
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(16 * 1024));
        assert!(refused(&endless).starts_with("sent too large a response: its head has more than"));
        let many = format!("HTTP/1.1 200 OK\r\n{}", "X: x\r\n".repeat(101));
        assert!(refused(&many).starts_with("sent too many headers: more than 100"));
    }
}
