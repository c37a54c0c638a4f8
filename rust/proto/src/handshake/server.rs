//! The server's answer to an upgrade it accepts (RFC 6455 section 4.2.2).

use super::headers::write_header;
use super::{accept_key, UpgradeRequest};

/// The first of the subprotocols a client asks for that the server speaks: its order is its preference.
pub fn choose_subprotocol(requested: &[String], allowed: &[String]) -> Option<String> {
    requested
        .iter()
        .find(|name| allowed.contains(name))
        .cloned()
}

/// The 101 response to `request`. `extensions` is the text that [`accept_offer`](super::accept_offer) gave, `extra` are headers that
/// [`check_response_headers`](super::check_response_headers) has accepted; their names go out as spelled.
pub fn encode_response(
    request: &UpgradeRequest,
    protocol: Option<&str>,
    extensions: Option<&str>,
    extra: &[(String, Vec<u8>)],
) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\n");
    write_header(&mut out, "Upgrade", b"websocket");
    write_header(&mut out, "Connection", b"Upgrade");
    write_header(
        &mut out,
        "Sec-WebSocket-Accept",
        accept_key(&request.key).as_bytes(),
    );
    if let Some(protocol) = protocol {
        write_header(&mut out, "Sec-WebSocket-Protocol", protocol.as_bytes());
    }
    if let Some(extensions) = extensions {
        write_header(&mut out, "Sec-WebSocket-Extensions", extensions.as_bytes());
    }
    for (name, value) in extra {
        write_header(&mut out, name, value);
    }
    out.extend_from_slice(b"\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handshake::{Headers, Host};

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_clients_first_choice_wins() {
        assert_eq!(
            choose_subprotocol(&names(&["a", "b"]), &names(&["b", "a"])).as_deref(),
            Some("a")
        );
        assert_eq!(
            choose_subprotocol(&names(&["x", "b"]), &names(&["a", "b"])).as_deref(),
            Some("b")
        );
        assert_eq!(choose_subprotocol(&names(&["A"]), &names(&["a"])), None);
        assert_eq!(choose_subprotocol(&names(&["a"]), &[]), None);
        assert_eq!(choose_subprotocol(&[], &names(&["a"])), None);
    }

    #[test]
    fn answers_the_example_of_the_rfc() {
        let request = UpgradeRequest {
            target: "/".to_owned(),
            host: Host::default(),
            key: "dGhlIHNhbXBsZSBub25jZQ==".to_owned(),
            protocols: names(&["chat"]),
            extensions: Vec::new(),
            headers: Headers::new(),
        };
        let extra = [("x-own".to_owned(), b"1".to_vec())];
        assert_eq!(
            String::from_utf8(encode_response(&request, Some("chat"), None, &extra)).unwrap(),
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\nx-own: 1\r\n\r\n"
        );
    }
}
