//! The client's request (RFC 6455 section 4.1).

use super::extensions;
use super::headers::{
    check_header, check_not_owned, check_protocol, elements, lossy, write_header, HeaderError,
};
use super::HeadLimits;
use crate::deflate;

/// A client's request for an upgrade, and what is taken for an answer to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientRequest {
    /// The Host header's value, as [`Url::host_header`](crate::url::Url::host_header) makes it.
    pub host: String,
    /// Path and query, as in [`Url::target`](crate::url::Url::target).
    pub target: String,
    /// Subprotocols, the preferred one first.
    pub protocols: Vec<String>,
    /// More headers, sent with their names as spelled here. A `Host` replaces ours; the names in
    /// `Sec-WebSocket-Protocol` are asked for after `protocols`.
    pub headers: Vec<(String, Vec<u8>)>,
    /// What is offered of permessage-deflate, which [`Options::check`](deflate::Options::check) has accepted; `None`
    /// offers none.
    pub deflate: Option<deflate::Options>,
    /// How large the response's head may be.
    pub limits: HeadLimits,
}

/// Why a request is not sent. The texts are complete messages.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// A header, or a subprotocol.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A subprotocol asked for twice (RFC 6455 section 4.1).
    #[error("protocol '{0}' is given twice")]
    ProtocolTwice(String),
    /// A space or control character in the path or host.
    #[error("the {0} contains a space, CR, LF, NUL or another control character")]
    Target(&'static str),
}

impl ClientRequest {
    /// Checks everything that the program gave.
    ///
    /// # Errors
    /// [`RequestError`], the first one found.
    pub fn check(&self) -> Result<(), RequestError> {
        const OWNED: [&str; 6] = [
            "Upgrade",
            "Connection",
            "Sec-WebSocket-Key",
            "Sec-WebSocket-Version",
            "Sec-WebSocket-Extensions",
            "Sec-WebSocket-Accept",
        ];
        for (what, text) in [("path", &self.target), ("host", &self.host)] {
            if text
                .bytes()
                .any(|byte| byte == b' ' || byte.is_ascii_control())
            {
                return Err(RequestError::Target(what));
            }
        }
        for (name, value) in &self.headers {
            check_header(name, value)?;
            check_not_owned(name, &OWNED)?;
        }
        if let Some((name, _)) = self.headers.iter().filter(|(name, _)| is_host(name)).nth(1) {
            return Err(HeaderError::Twice(name.clone()).into());
        }
        let protocols = self.all_protocols();
        for (index, protocol) in protocols.iter().enumerate() {
            check_protocol(protocol)?;
            if protocols[..index].contains(protocol) {
                return Err(RequestError::ProtocolTwice(protocol.clone()));
            }
        }
        Ok(())
    }

    /// The request's bytes, with [`generate_key`](super::generate_key)'s `key`. Sends only what
    /// [`check`](Self::check) has accepted.
    pub fn encode(&self, key: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        out.extend_from_slice(b"GET ");
        out.extend_from_slice(self.target.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        match self.headers.iter().find(|(name, _)| is_host(name)) {
            Some((name, value)) => write_header(&mut out, name, value),
            None => write_header(&mut out, "Host", self.host.as_bytes()),
        }
        write_header(&mut out, "Upgrade", b"websocket");
        write_header(&mut out, "Connection", b"Upgrade");
        write_header(&mut out, "Sec-WebSocket-Key", key.as_bytes());
        write_header(&mut out, "Sec-WebSocket-Version", b"13");
        let protocols = self.all_protocols();
        if !protocols.is_empty() {
            write_header(
                &mut out,
                "Sec-WebSocket-Protocol",
                protocols.join(", ").as_bytes(),
            );
        }
        if let Some(options) = &self.deflate {
            let offer = extensions::offer(options);
            write_header(&mut out, "Sec-WebSocket-Extensions", offer.as_bytes());
        }
        for (name, value) in self
            .headers
            .iter()
            .filter(|(name, _)| !is_host(name) && !is_protocol(name))
        {
            write_header(&mut out, name, value);
        }
        out.extend_from_slice(b"\r\n");
        out
    }

    /// The subprotocols asked for, those of a `Sec-WebSocket-Protocol` header included.
    pub fn all_protocols(&self) -> Vec<String> {
        let given = self.headers.iter().filter(|(name, _)| is_protocol(name));
        let given = given.flat_map(|(_, value)| elements(value)).map(lossy);
        self.protocols.iter().cloned().chain(given).collect()
    }
}

fn is_host(name: &str) -> bool {
    name.eq_ignore_ascii_case("Host")
}

fn is_protocol(name: &str) -> bool {
    name.eq_ignore_ascii_case("Sec-WebSocket-Protocol")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(protocols: &[&str], headers: &[(&str, &str)]) -> ClientRequest {
        ClientRequest {
            host: "h:8080".to_owned(),
            target: "/path?q".to_owned(),
            protocols: protocols.iter().map(|name| (*name).to_owned()).collect(),
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
                .collect(),
            ..ClientRequest::default()
        }
    }

    #[test]
    fn headers_go_out_as_spelled() {
        let request = request(
            &["a", "b"],
            &[("x-lower", "1"), ("X-lower", "2"), ("oRIGIN", "http://o")],
        );
        request.check().unwrap();
        assert_eq!(
            String::from_utf8(request.encode("dGhlIHNhbXBsZSBub25jZQ==")).unwrap(),
            "GET /path?q HTTP/1.1\r\nHost: h:8080\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Protocol: a, b\r\nx-lower: 1\r\nX-lower: 2\r\noRIGIN: http://o\r\n\r\n"
        );
    }

    #[test]
    fn host_is_replaced_and_protocols_are_merged() {
        let request = request(
            &["a"],
            &[("host", "virtual"), ("sec-websocket-protocol", "b,c")],
        );
        request.check().unwrap();
        assert_eq!(request.all_protocols(), ["a", "b", "c"]);
        let bytes = String::from_utf8(request.encode("k")).unwrap();
        assert!(
            bytes.starts_with("GET /path?q HTTP/1.1\r\nhost: virtual\r\n"),
            "{bytes}"
        );
        assert!(!bytes.contains("8080"), "{bytes}");
        assert_eq!(bytes.matches("otocol: ").count(), 1);
        assert!(
            bytes.contains("Sec-WebSocket-Protocol: a, b, c\r\n"),
            "{bytes}"
        );
    }

    #[test]
    fn refusals_name_what_is_wrong() {
        type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a str);
        let cases: [Case<'_>; 9] = [
            (
                &[],
                &[("X-A", "b\nc")],
                "header 'X-A' contains CR, LF or NUL",
            ),
            (
                &[],
                &[("X-A\r", "b")],
                "header 'X-A\\r' contains CR, LF or NUL",
            ),
            (&[], &[("X:A", "b")], "header 'X:A' has an invalid name"),
            (
                &[],
                &[("UPGRADE", "h2c")],
                "header 'UPGRADE' is set by the WebSocket handshake",
            ),
            (
                &[],
                &[("Sec-WebSocket-Key", "k")],
                "header 'Sec-WebSocket-Key' is set by",
            ),
            (
                &[],
                &[("Host", "a"), ("host", "b")],
                "header 'host' is given twice",
            ),
            (&["a b"], &[], "protocol 'a b' is not a token"),
            (&["a\r\nX: y"], &[], "protocol 'a\\r\\nX: y' is not a token"),
            (
                &["a"],
                &[("Sec-WebSocket-Protocol", "b, a")],
                "protocol 'a' is given twice",
            ),
        ];
        for (protocols, headers, text) in cases {
            let error = request(protocols, headers).check().unwrap_err().to_string();
            assert!(error.starts_with(text), "{error}");
        }
        let mut request = request(&[], &[]);
        request.target = "/a HTTP/1.1\r\nX: y".to_owned();
        assert!(request
            .check()
            .unwrap_err()
            .to_string()
            .starts_with("the path contains a space, CR"));
    }
}
