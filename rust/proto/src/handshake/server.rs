//! The server's answer to an upgrade it accepts (RFC 6455 section 4.2.2).

use super::headers::write_header;
use super::{accept_key, Request};

/// The first of the subprotocols a client asks for that the server speaks: its order is its preference.
pub fn choose_subprotocol(requested: &[String], allowed: &[String]) -> Option<String> {
    requested.iter().find(|name| allowed.contains(name)).cloned()
}

/// The 101 response to `request`. `extra` are headers that
/// [`check_response_headers`](super::check_response_headers) has accepted; their names go out as spelled.
pub fn encode_response(request: &Request, protocol: Option<&str>, extra: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\n");
    write_header(&mut out, "Upgrade", b"websocket");
    write_header(&mut out, "Connection", b"Upgrade");
    write_header(&mut out, "Sec-WebSocket-Accept", accept_key(&request.key).as_bytes());
    if let Some(protocol) = protocol {
        write_header(&mut out, "Sec-WebSocket-Protocol", protocol.as_bytes());
    }
    for (name, value) in extra {
        write_header(&mut out, name, value);
    }
    out.extend_from_slice(b"\r\n");
    out
}
