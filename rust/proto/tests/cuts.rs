//! What is wrong has one code and one text, however the bytes are cut: corpora of wrong input, at every split into two and
//! byte by byte.

mod common;

use common::*;
use evws_proto::handshake::{parse_request, parse_response, ClientRequest, HeadLimits};
use evws_proto::http;
use evws_proto::proxy::connect;
use evws_proto::{Connection, Role};

/// What `judge` says of the first portion of `bytes` that it has something to say about, portions ending at `cuts`.
fn verdict<T>(bytes: &[u8], cuts: &[usize], judge: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
    cuts.iter()
        .chain([&bytes.len()])
        .find_map(|&cut| judge(&bytes[..cut]))
}

fn assert_one_verdict<T: PartialEq + std::fmt::Debug>(
    bytes: &[u8],
    judge: impl Fn(&[u8]) -> Option<T>,
) {
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
    let whole = verdict(bytes, &[], &judge);
    let each: Vec<usize> = (1..bytes.len()).collect();
    if bytes.len() < 2000 {
        assert_eq!(verdict(bytes, &each, &judge), whole, "bytewise: {shown:?}");
    }
    // Of what is long the beginning, the end, and some places between, the limits' among them.
    let (edge, step) = if bytes.len() < 2000 {
        (1000, 1)
    } else {
        (10, 9973)
    };
    let near_end = bytes.len().saturating_sub(edge);
    let limits = [16_384, 65_536];
    for cut in each
        .iter()
        .filter(|cut| **cut < edge || **cut > near_end || **cut % step == 0 || limits.contains(cut))
    {
        assert_eq!(
            verdict(bytes, &[*cut], &judge),
            whole,
            "at {cut}: {shown:?}"
        );
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn frames() {
    let lengths: [&[u8]; 6] = [
        &[0; 8],
        &[0, 5, 0, 0, 0, 0, 0, 0],
        &[0, 0, 0, 0, 0, 0, 0, 9],
        &[0x80, 0, 0, 0, 0, 0, 0, 0],
        &[0xFF; 8],
        &[0, 0, 0, 0, 0, 1, 0, 0],
    ];
    let mut failures = std::collections::BTreeSet::new();
    for role in [Role::Client, Role::Server] {
        for first in 0..=255 {
            for second in [0, 1, 125, 126, 127, 0x80, 0x81, 0xFD, 0xFE, 0xFF] {
                for length in lengths {
                    let wire = [&[first, second], length, &[1, 2, 3, 4]].concat();
                    let config = config(role);
                    let first_failure = |cuts: &[usize]| {
                        let events = feed_cut(Connection::new(&config), &wire, cuts);
                        let mut failed = events.into_iter();
                        failed.find(|event| matches!(event, Event::Failed(..)))
                    };
                    let whole = first_failure(&[]);
                    let each: Vec<usize> = (1..wire.len()).collect();
                    assert_eq!(first_failure(&each), whole, "{role:?} {wire:02x?}");
                    for cut in 1..wire.len() {
                        assert_eq!(first_failure(&[cut]), whole, "{role:?} {wire:02x?} {cut}");
                    }
                    if let Some(Event::Failed(_, text)) = whole {
                        failures.insert(text);
                    }
                }
            }
        }
    }
    assert!(failures.len() >= 9, "{failures:?}");
}

/// Both errors stand in the second byte or behind it: the one that comes first on the wire is told.
#[test]
fn the_mask_is_looked_at_before_the_length() {
    let unmasked = "client sent an unmasked frame (RFC 6455 section 5.1)";
    let wires: [&[u8]; 5] = [
        &[0x81, 0x7F, 0x80, 0, 0, 0, 0, 0, 0, 0],
        &[0x82, 0x7F, 0, 0, 0, 0, 0, 0, 0, 1],
        &[0x82, 0x7E, 0, 1],
        &[0x89, 0x7E, 0, 126],
        &[0x81, 0x05],
    ];
    for wire in wires {
        let failed = [Event::Failed(1002, unmasked)];
        assert_every_way(&config(Role::Server), wire, &failed);
    }
    let overflow = "peer sent a payload length with its highest bit set (RFC 6455 section 5.2)";
    let wire = [0x81, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0];
    let failed = [Event::Failed(1002, overflow)];
    assert_every_way(&config(Role::Server), &wire, &failed);
}

const UPGRADE: &str = "Host: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

/// Wrong in one way or in several, good lines before and behind.
const WRONG_LINES: [&str; 24] = [
    "X-A: \0\r\n",
    "X-A: 1\r2\r\n",
    "X-A: 1\r\r\n",
    "X-A : 1\r\n",
    "X A: 1\r\n",
    ": 1\r\n",
    "no colon\r\n",
    " folded\r\n",
    "X-A: 1\r\n\tfolded: 1\r\n",
    "\x0b\r\n",
    "\r",
    "\n",
    "X-A: 1\n",
    "X-A: \x7f\r\n",
    "X-\u{e9}: 1\r\n",
    "Host: a b\r\n",
    "Host: h\r\n",
    "Upgrade: h2c\r\n",
    "Sec-WebSocket-Version: 8\r\n",
    "Sec-WebSocket-Key: x\r\n",
    "Content-Length: x\r\nTransfer-Encoding: y\r\n",
    "Expect: x\r\nContent-Length: 99999999\r\n",
    "Sec-WebSocket-Extensions: ;;\r\n",
    "Sec-WebSocket-Protocol: ,\r\n",
];

fn requests() -> Vec<Vec<u8>> {
    let lines = [
        "GET / HTTP/1.1",
        "GET / HTTP/1.0",
        "GET / HTTP/2.0",
        "GET  / HTTP/1.1",
        "GET x HTTP/1.1",
        "GET /\x01 HTTP/1.1",
        "G\x00T / HTTP/1.1",
        "GET /",
        "GET / HTTP/1.1 ",
        "GET / http/1.1",
        "\r\nGET / HTTP/1.1",
        "\rGET / HTTP/1.1",
        "GET /\u{e9} HTTP/1.1",
        "POST http://i/ HTTP/1.1",
        "",
        " GET / HTTP/1.1",
        "\x16\x03\x01\x02",
        "GET / HTTP/1.1\r",
    ];
    let mut all: Vec<String> = Vec::new();
    for line in lines {
        all.push(format!("{line}\r\n{UPGRADE}\r\n"));
        all.push(format!(
            "{line}\r\n{}X-A: \0\r\n\r\n",
            UPGRADE.replace("Host: h", "Host: a b")
        ));
    }
    for wrong in WRONG_LINES {
        all.push(format!("GET / HTTP/1.1\r\n{wrong}{UPGRADE}\r\n"));
        all.push(format!("GET / HTTP/1.1\r\n{UPGRADE}{wrong}\r\n"));
        all.push(format!(
            "POST / HTTP/1.0\r\n{UPGRADE}{wrong}X A: \0\r\n\r\n"
        ));
        all.push(format!("GET / HTTP/1.1\r\nHost: h\r\n{wrong}\r\nGET"));
    }
    // Too large, or too many headers, and wrong behind that.
    let long = "x".repeat(17_000);
    let many = "X: y\r\n".repeat(130);
    for tail in ["\r\n", "\0", "X A: 1\r\n\r\n"] {
        all.push(format!("GET / HTTP/1.1\r\n{UPGRADE}X: {long}\r\n{tail}"));
        all.push(format!(
            "GET / HTTP/1.1\r\n{UPGRADE}X: {}{tail}",
            &long[..16_384 - 155 - 20]
        ));
        all.push(format!("GET /{long}{tail}"));
        all.push(format!("GET / HTTP/1.1\r\n{UPGRADE}{many}{tail}"));
        all.push(format!("GET / HTTP/1.1\r\n{many}{}{tail}", &long[..16_384]));
    }
    let mut all: Vec<Vec<u8>> = all.into_iter().map(String::into_bytes).collect();
    all.push(
        [
            b"GET / HTTP/1.1\r\nHost: \xFF\r\n",
            UPGRADE.as_bytes(),
            b"\r\n",
        ]
        .concat(),
    );
    all
}

#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn requests_as_a_server_reads_them() {
    for request in requests() {
        assert_one_verdict(&request, |seen| {
            parse_request(seen, HeadLimits::default()).transpose()
        });
        assert_one_verdict(&request, |seen| {
            http::parse(seen, HeadLimits::default()).transpose()
        });
    }
}

fn responses() -> Vec<Vec<u8>> {
    const GOOD: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    let lines = [
        "HTTP/1.1 101 OK",
        "HTTP/1.0 101 OK",
        "HTTP/1.1 200 Fine",
        "HTTP/1.1 1",
        "HTTP/1.1 10x OK",
        "HTTP/1.1  101 OK",
        "HTTP/2 101 OK",
        "HTTP/1.1 418 \x1bteapot",
        "HTTP/1.1 404 \u{e9}",
        "SSH-2.0-OpenSSH_9.6",
        "220 mail ESMTP",
        "\x05\x00",
        "",
        "\r\nHTTP/1.1 101 OK",
        "\rHTTP",
        "garbage",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403 No",
        "HTTP/1.1 100 Continue\r\n\r\ngarbage and more of it",
        "\x15\x03\x03\x00\x02\x02\x46",
    ];
    let mut all: Vec<String> = Vec::new();
    for line in lines {
        all.push(format!("{line}\r\n{GOOD}\r\n"));
        all.push(format!("{line}\r\nX-A: \0\r\n{GOOD}\r\n"));
    }
    for wrong in WRONG_LINES {
        all.push(format!("HTTP/1.1 101 OK\r\n{wrong}{GOOD}\r\n"));
        all.push(format!("HTTP/1.1 101 OK\r\n{GOOD}{wrong}\r\n"));
        all.push(format!("HTTP/1.1 200 OK\r\n{wrong}X A: 1\r\n\r\n"));
    }
    for value in [
        "foo",
        "permessage-deflate; x",
        "permessage-deflate;;",
        "permessage-deflate, permessage-deflate",
        "\"",
        "a b",
    ] {
        all.push(format!("HTTP/1.1 101 OK\r\n{GOOD}Sec-WebSocket-Extensions: {value}\r\nSec-WebSocket-Protocol: q\r\n\r\n"));
    }
    let long = "x".repeat(17_000);
    let many = "X: y\r\n".repeat(130);
    for tail in ["\r\n", "\0", "X A: 1\r\n\r\n"] {
        all.push(format!("HTTP/1.1 101 OK\r\n{GOOD}X: {long}{tail}"));
        all.push(format!(
            "HTTP/1.1 101 OK\r\n{GOOD}X: {}{tail}",
            &long[..16_384 - 130]
        ));
        all.push(format!("HTTP/1.1 101 OK\r\n{GOOD}{many}{tail}"));
        all.push(format!(
            "{}{tail}",
            "HTTP/1.1 100 Continue\r\n\r\n".repeat(2700)
        ));
        all.push(format!("{long}{tail}"));
    }
    all.into_iter().map(String::into_bytes).collect()
}

#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn responses_as_a_client_reads_them() {
    let request = ClientRequest::default();
    for response in responses() {
        assert_one_verdict(&response, |seen| {
            let found = parse_response(seen, "dGhlIHNhbXBsZSBub25jZQ==", &request);
            found.map_err(|error| error.to_string()).transpose()
        });
        assert_one_verdict(&response, |seen| {
            connect::parse_response(seen, HeadLimits::default()).transpose()
        });
    }
}
