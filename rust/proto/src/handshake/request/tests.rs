//! What a server reads, and what it refuses.

use super::*;

const REST: &str = "Host: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

fn parse_request(buf: &[u8]) -> Result<Option<(usize, UpgradeRequest)>, Rejection> {
    super::parse_request(buf, HeadLimits::default())
}

fn accepted(text: &str) -> UpgradeRequest {
    let (length, request) = parse_request(text.as_bytes()).unwrap().unwrap();
    assert_eq!(length, text.len());
    request
}

fn status(text: &str) -> u16 {
    parse_request(text.as_bytes()).unwrap_err().status
}

fn header<'a>(request: &'a UpgradeRequest, name: &str) -> Option<&'a [u8]> {
    request
        .headers
        .iter()
        .find(|(seen, _)| seen == name)
        .map(|(_, value)| &value[..])
}

#[test]
fn an_upgrade_is_accepted_in_every_spelling() {
    let request = accepted(&format!("GET / HTTP/1.1\r\n{REST}\r\n"));
    assert_eq!(request.key, "dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(request.protocols, [""; 0]);
    accepted(
        "GET / HTTP/1.1\r\nhost:h\r\nUPGRADE: h2c, WebSocket\r\nconnection: keep-alive\r\nconnection: upgrade\r\n\
         sec-websocket-key:   dGhlIHNhbXBsZSBub25jZQ==  \r\nSec-Websocket-Version: 13\r\n\r\n",
    );
    accepted(&format!(
        "GET / HTTP/1.1\r\nContent-Length: 0\r\n{REST}\r\n"
    ));
}

#[test]
fn headers_of_a_refused_request_can_be_read() {
    let text = format!("GET /a?b HTTP/1.0\r\n{REST}\r\n");
    assert_eq!(status(&text), 426);
    let seen = readable_headers(text.as_bytes(), HeadLimits::default());
    assert!(seen.contains(&("Query".to_owned(), b"b".to_vec())));
    assert!(seen.contains(&("Host".to_owned(), b"h".to_vec())));
    let seen = readable_headers(b"GET * HTTP/1.1\r\nX: 1\r\n\r\n", HeadLimits::default());
    assert_eq!(seen, [("X".to_owned(), b"1".to_vec())]);
    for text in ["", "GET / HTTP/1.1\r\nX: 1\r\n", "garbage\r\n\r\n"] {
        assert_eq!(readable_headers(text.as_bytes(), HeadLimits::default()), []);
    }
}

#[test]
fn it_is_incomplete_until_its_last_byte() {
    let text = format!("GET /chat?x HTTP/1.1\r\n{REST}\r\n");
    for cut in 0..text.len() {
        assert_eq!(
            parse_request(&text.as_bytes()[..cut]),
            Ok(None),
            "{cut} bytes"
        );
    }
    let (length, _) = parse_request(format!("{text}frames").as_bytes())
        .unwrap()
        .unwrap();
    assert_eq!(length, text.len());
}

#[test]
fn the_request_line_is_in_the_view() {
    let request = accepted(&format!(
        "GET /a%20b%2Fc%zz%?q=%20&r HTTP/1.1\r\n{REST}\r\n"
    ));
    assert_eq!(header(&request, "Path"), Some(&b"/a b/c%zz%"[..]));
    assert_eq!(header(&request, "Query"), Some(&b"q=%20&r"[..]));
    assert_eq!(
        header(&request, "URI"),
        Some(&b"/a%20b%2Fc%zz%?q=%20&r"[..])
    );
    assert_eq!(header(&request, "Host"), Some(&b"h"[..]));
    let request = accepted(&format!("GET /? HTTP/1.1\r\n{REST}\r\n"));
    assert_eq!(header(&request, "Query"), Some(&b""[..]));
    for (target, path, query) in [
        ("/", "/", None),
        ("ws://h/x?y", "/x", Some("y")),
        ("HTTP://h:80", "/", None),
        ("http://h?y/z", "/", Some("y/z")),
    ] {
        let request = accepted(&format!("GET {target} HTTP/1.1\r\n{REST}\r\n"));
        assert_eq!(header(&request, "Path"), Some(path.as_bytes()), "{target}");
        assert_eq!(
            header(&request, "Query"),
            query.map(str::as_bytes),
            "{target}"
        );
        assert_eq!(header(&request, "URI"), Some(target.as_bytes()));
    }
}

#[test]
fn a_peer_cannot_forge_the_request_line() {
    let request = accepted(&format!(
        "GET /true HTTP/1.1\r\npath: /forged\r\nQuery: forged\r\n{REST}\r\n"
    ));
    assert_eq!(header(&request, "Path"), Some(&b"/true"[..]));
    assert_eq!(header(&request, "Query"), None);
    assert_eq!(
        request
            .headers
            .iter()
            .filter(|(name, _)| name == "Path")
            .count(),
        1
    );
}

#[test]
fn a_head_in_pieces_is_judged_like_a_whole_one() {
    let headers = |list: &[(&str, &str)]| -> Vec<(String, Vec<u8>)> {
        list.iter()
            .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
            .collect()
    };
    let mut parts = RequestParts {
        method: "GET".to_owned(),
        target: "/a%20b?q".to_owned(),
        version: "HTTP/1.1".to_owned(),
        headers: headers(&[
            ("HOST", "h"),
            ("UPGRADE", "websocket"),
            ("CONNECTION", "Upgrade"),
            ("SEC-WEBSOCKET-KEY", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("SEC-WEBSOCKET-VERSION", "13"),
        ]),
    };
    let whole = accepted(&format!("GET /a%20b?q HTTP/1.1\r\n{REST}\r\n"));
    assert_eq!(parts.upgrade(), Ok(whole));
    parts.version = "HTTP/1.0".to_owned();
    assert_eq!(parts.upgrade().unwrap_err().status, 426);
    parts.version = "HTTP/1.1".to_owned();
    parts.headers[3].1.pop();
    assert_eq!(parts.upgrade().unwrap_err().status, 400);
}

#[test]
fn subprotocols_of_all_headers_are_listed() {
    let protocols = "Sec-WebSocket-Protocol: a ,b\r\nsec-websocket-protocol: , c\r\n";
    assert_eq!(
        accepted(&format!("GET / HTTP/1.1\r\n{protocols}{REST}\r\n")).protocols,
        ["a", "b", "c"]
    );
}

#[test]
fn what_is_no_upgrade_gets_426() {
    assert_eq!(status("GET / HTTP/1.1\r\nHost: h\r\n\r\n"), 426);
    assert_eq!(status(&format!("POST / HTTP/1.1\r\n{REST}\r\n")), 426);
    assert_eq!(status(&format!("GET / HTTP/1.0\r\n{REST}\r\n")), 426);
    assert_eq!(
        status(&format!(
            "GET / HTTP/1.1\r\n{}\r\n",
            REST.replace("websocket", "h2c")
        )),
        426
    );
    assert_eq!(
        status(&format!(
            "GET / HTTP/1.1\r\n{}\r\n",
            REST.replace(": Upgrade", ": close")
        )),
        426
    );
    for version in ["8", "14", "013", "13, 8", ""] {
        assert_eq!(
            status(&format!(
                "GET / HTTP/1.1\r\n{}\r\n",
                REST.replace("13", version)
            )),
            426,
            "{version}"
        );
    }
    assert_eq!(
        status(&format!(
            "GET / HTTP/1.1\r\nSec-WebSocket-Version: 13\r\n{REST}\r\n"
        )),
        426
    );
}

#[test]
fn malformed_requests_get_400() {
    let with_key = |key: &str| {
        status(&format!(
            "GET / HTTP/1.1\r\n{}\r\n",
            REST.replace("dGhlIHNhbXBsZSBub25jZQ==", key)
        ))
    };
    for key in [
        "",
        "dGhl",
        "dGhlIHNhbXBsZSBub25jZR==",
        "dGhlIHNhbXBsZSBub25jZQ=",
        "dGhlIHNhbXBsZSBub25jZ???",
        // Digits and padding, but of fewer bytes, of more, and no digits.
        "dGhlIA==",
        "dGhlIHNhbXBsZSBub25jZHNhbXBsZQ==",
        "dGhl!HNhbXBsZSBub25jZQ==",
    ] {
        assert_eq!(with_key(key), 400, "key {key:?}");
    }
    assert_eq!(
        status(&format!(
            "GET / HTTP/1.1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{REST}\r\n"
        )),
        400
    );
    assert_eq!(
        status(&format!(
            "GET / HTTP/1.1\r\n{}\r\n",
            REST.replace("Sec-WebSocket-Key", "X-Key")
        )),
        400
    );
    assert_eq!(
        status(&format!(
            "GET / HTTP/1.1\r\n{}\r\n",
            REST.replace("Host", "X-Host")
        )),
        400
    );
    assert_eq!(
        status(&format!("GET / HTTP/1.1\r\nHost: i\r\n{REST}\r\n")),
        400
    );
    assert_eq!(
        status(&format!(
            "GET / HTTP/1.1\r\nContent-Length: 5\r\n{REST}\r\n"
        )),
        400
    );
    assert_eq!(
        status(&format!(
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n{REST}\r\n"
        )),
        400
    );
    assert_eq!(status(&format!("GET x HTTP/1.1\r\n{REST}\r\n")), 400);
    assert_eq!(status(&format!("GET ftp://h/ HTTP/1.1\r\n{REST}\r\n")), 400);
    assert_eq!(
        status(&format!("GET / HTTP/1.1\r\n{REST}no colon\r\n\r\n")),
        400
    );
}

#[test]
fn garbage_is_refused_at_its_first_byte() {
    for garbage in [
        &b"\x16\x03\x01\x02\x00"[..],
        b"\x00",
        b"\x81\x85",
        b"\xff\xfe",
    ] {
        assert_eq!(
            parse_request(garbage).unwrap_err().status,
            400,
            "{garbage:?}"
        );
    }
    assert_eq!(status("GET / HTTP/2.0"), 400);
}

#[test]
fn oversized_heads_get_431_before_they_end() {
    let limits = HeadLimits::default();
    let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(limits.size));
    assert_eq!(parse_request(&long.as_bytes()[..limits.size - 1]), Ok(None));
    assert_eq!(status(&long[..limits.size]), 431);
    assert_eq!(status(&format!("{long}\r\n{REST}\r\n")), 431);
    assert_eq!(
        status(&format!(
            "GET / HTTP/1.1\r\n{}{REST}\r\n",
            "X: y\r\n".repeat(limits.headers)
        )),
        431
    );
    assert_eq!(
        status(&format!("GET /{} HTTP/1.1\r\n", "x".repeat(limits.size))),
        431
    );
}

/// What is exactly as large as the limit is accepted, and one byte or one header more is not.
#[test]
fn the_limits_of_a_head_are_exact() {
    let head = format!("GET / HTTP/1.1\r\n{REST}X: y\r\n\r\n");
    let parse = |size: usize, headers: usize| {
        super::parse_request(head.as_bytes(), HeadLimits { size, headers })
            .map(|found| found.map(|(length, _)| length))
            .map_err(|rejection| rejection.status)
    };
    let length = head.len();
    assert_eq!(parse(length, 6), Ok(Some(length)));
    assert_eq!(parse(length - 1, 6), Err(431));
    assert_eq!(parse(length, 5), Err(431));
    assert_eq!(parse(usize::MAX, usize::MAX), Ok(Some(length)));
    // Without limits, however many there are. In Miri each takes its time.
    let count = if cfg!(miri) { 300 } else { 5_000 };
    let many = head.replace("X: y", "X: y\r\n".repeat(count).trim_end());
    let limits = HeadLimits {
        size: usize::MAX,
        headers: usize::MAX,
    };
    let (length, _) = super::parse_request(many.as_bytes(), limits)
        .unwrap()
        .unwrap();
    assert_eq!(length, many.len());
}
