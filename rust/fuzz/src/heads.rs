//! Heads of HTTP, as a server and as a client reads them, and bodies behind them.

use crate::plan::{cuts, one_verdict, Plan};
use evws_proto::deflate::Options;
use evws_proto::handshake::{
    accept_key, accept_offer, check_ended_response, encode_response, parse_request, parse_response,
    readable_headers, ClientRequest, HeadLimits, UpgradeRefusal, UpgradeResponseError,
};
use evws_proto::http::{self, Incoming};
use evws_proto::proxy::connect;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const UPGRADE: &[u8] = b"Host: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

/// So long that every cut can be looked at.
const LONGEST: usize = 700;

/// What is accepted when nothing is asked for in particular.
pub const OPTIONS: Options = Options {
    server_no_context_takeover: false,
    client_no_context_takeover: false,
    server_max_window_bits: None,
    client_max_window_bits: None,
    threshold: 0,
    level: 6,
    memory: 0,
};

fn limits(flags: u8) -> HeadLimits {
    match flags & 4 {
        0 => HeadLimits::default(),
        _ => HeadLimits {
            size: 300,
            headers: 7,
        },
    }
}

/// A request for an upgrade: what is wrong with it does not depend on how it comes, and what is right is answered so
/// that our client understands.
pub fn request(data: &[u8]) {
    let mut plan = Plan(data);
    let (flags, seed) = (plan.byte(), plan.byte());
    let rest = plan.take(LONGEST);
    let bytes = match flags & 3 {
        0 | 1 => rest.to_vec(),
        2 => [b"GET / HTTP/1.1\r\n", UPGRADE, rest, b"\r\n"].concat(),
        _ => [b"GET /", rest, b"\r\n", UPGRADE, b"\r\n"].concat(),
    };
    let limits = limits(flags);
    let plain = one_verdict(seed, &bytes, |seen| http::parse(seen, limits).transpose());
    let found = one_verdict(seed, &bytes, |seen| parse_request(seen, limits).transpose());
    readable_headers(&bytes, limits);
    let Some(Ok((length, request))) = found else {
        return;
    };
    assert!(length <= bytes.len().min(limits.size));
    match plain.expect("both find the end") {
        Ok((other, Incoming::Upgrade(same))) => {
            assert_eq!((other, same), (length, request.clone()))
        }
        Ok((_, Incoming::Plain(..))) => panic!("a plain request"),
        // Beside plain requests it is strict about the ends of lines.
        Err(rejection) => assert_eq!(rejection.status, 400),
    }
    let chosen = accept_offer(&request.extensions, &OPTIONS).ok().flatten();
    let text = chosen.as_ref().map(|chosen| &chosen.text[..]);
    let protocol = request
        .protocols
        .first()
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let answer = encode_response(&request, protocol.map(|name| &name[..]), text, &[]);
    let asked = ClientRequest {
        protocols: request.protocols.clone(),
        deflate: Some(OPTIONS),
        ..ClientRequest::default()
    };
    let (end, heard) = parse_response(&answer, &request.key, &asked)
        .expect("our answer is right")
        .expect("and whole");
    assert_eq!(end, answer.len());
    assert_eq!(heard.protocol.as_ref(), protocol);
    let agreed = |found: Option<evws_proto::handshake::Negotiated>| {
        found.map(|found| (found.agreement.client, found.agreement.server))
    };
    assert_eq!(agreed(heard.deflate), agreed(chosen));
}

/// A server's answer, and a refusal's body.
pub fn response(data: &[u8]) {
    let mut plan = Plan(data);
    let (flags, seed) = (plan.byte(), plan.byte());
    let rest = plan.take(LONGEST);
    let accept = accept_key(KEY);
    let good = format!(
        "HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n"
    );
    let bytes = match flags & 3 {
        0 | 1 => rest.to_vec(),
        2 => [good.as_bytes(), rest, b"\r\n"].concat(),
        _ => [b"HTTP/1.1 ", rest].concat(),
    };
    let request = ClientRequest {
        protocols: vec!["chat".into(), "p".into()],
        deflate: (flags & 8 != 0).then_some(OPTIONS),
        limits: limits(flags),
        ..ClientRequest::default()
    };
    let found = one_verdict(seed, &bytes, |seen| {
        parse_response(seen, KEY, &request).transpose()
    });
    // Whoever shows a first line may have to wait for it; the stream's end ends that.
    match (&found, check_ended_response(&bytes, &request)) {
        (Some(Err(UpgradeResponseError::Malformed(..))), ended) => assert!(ended.is_err()),
        (Some(_), ended) => {
            let is_refused = matches!(
                ended,
                Err(UpgradeResponseError::TooLarge(_) | UpgradeResponseError::TooMany(_))
            );
            let whole = matches!(
                found,
                Some(Err(
                    UpgradeResponseError::TooLarge(_) | UpgradeResponseError::TooMany(_)
                ))
            );
            assert_eq!(is_refused, whole);
        }
        (None, _) => {}
    }
    if let Some(Ok((length, _))) = &found {
        assert!(*length <= bytes.len().min(request.limits.size));
    }
    let Some((length, refusal)) = UpgradeRefusal::parse(&bytes, request.limits) else {
        return;
    };
    let body = &bytes[length..];
    let mut whole = refusal.clone();
    let is_enough = whole.take(&mut body.to_vec());
    let mut parts = refusal;
    let mut input = Vec::new();
    let mut is_enough_in_parts = parts.take(&mut input);
    let mut start = 0;
    for cut in cuts(seed, body.len()).into_iter().chain([body.len()]) {
        if is_enough_in_parts {
            break;
        }
        input.extend_from_slice(&body[start..cut]);
        start = cut;
        is_enough_in_parts = parts.take(&mut input);
    }
    assert_eq!(is_enough_in_parts, is_enough);
    assert_eq!(parts.into_body(), whole.into_body());
}

/// What a server reads from one connection, request after request.
#[derive(Debug, PartialEq, Eq)]
enum Read {
    Upgrade(String),
    Plain(String, String, Vec<u8>),
    Rejected(u16),
}

fn serve(bytes: &[u8], cuts: &[usize], limits: HeadLimits) -> Vec<Read> {
    let mut read = Vec::new();
    let mut input = Vec::new();
    let mut current = None;
    let mut start = 0;
    for &cut in cuts.iter().chain([&bytes.len()]) {
        input.extend_from_slice(&bytes[start..cut]);
        start = cut;
        loop {
            let (request, mut body): (http::HttpRequest, http::Body) = match current.take() {
                Some(current) => current,
                None => match http::parse(&input, limits) {
                    Ok(None) => break,
                    Ok(Some((_, Incoming::Upgrade(request)))) => {
                        read.push(Read::Upgrade(request.target));
                        return read;
                    }
                    Ok(Some((length, Incoming::Plain(request, body)))) => {
                        input.drain(..length);
                        (request, body)
                    }
                    Err(rejection) => {
                        read.push(Read::Rejected(rejection.status));
                        return read;
                    }
                },
            };
            match body.take(&mut input) {
                Ok(true) => {
                    let bytes = body.into_bytes();
                    read.push(Read::Plain(request.method, request.target, bytes));
                }
                Ok(false) => {
                    current = Some((request, body));
                    break;
                }
                Err(rejection) => {
                    read.push(Read::Rejected(rejection.status));
                    return read;
                }
            }
        }
    }
    read
}

/// Requests with bodies, one behind the other, and a proxy's answer to CONNECT.
pub fn http(data: &[u8]) {
    let mut plan = Plan(data);
    let (flags, seed) = (plan.byte(), plan.byte());
    let rest = plan.take(2 * LONGEST);
    let bytes = match flags & 3 {
        0 | 1 => rest.to_vec(),
        2 => [
            b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
            rest,
        ]
        .concat(),
        _ => [
            b"POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n",
            rest,
        ]
        .concat(),
    };
    let limits = limits(flags);
    let whole = serve(&bytes, &[], limits);
    for cuts in crate::plan::ways(seed, bytes.len()) {
        assert_eq!(serve(&bytes, &cuts, limits), whole, "cut at {cuts:?}");
    }
    one_verdict(seed, plan.take(LONGEST), |seen| {
        connect::parse_response(seen, limits).transpose()
    });
}
