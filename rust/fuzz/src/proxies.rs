//! What proxies say: before a client's bytes, in a request's headers, and to us as their client.

use crate::plan::{one_verdict, Plan};
use evws_proto::forwarded::{client, parse_head, Peer, ProxyHead, Trusted, MAX_HEAD};
use evws_proto::handshake::HeadLimits;
use evws_proto::proxy::connect;
use evws_proto::proxy::socks5::{
    encode_request, parse_method, parse_password_status, parse_reply, SocksTarget,
};
use std::net::{IpAddr, SocketAddr};

/// Heads of the PROXY protocol, and the headers that name a client.
pub fn head(data: &[u8]) {
    let mut plan = Plan(data);
    let (flags, seed) = (plan.byte(), plan.byte());
    let named = plan.byte();
    let fields = plan.take(usize::from(named));
    let bytes = match flags & 3 {
        0 | 1 => plan.0.to_vec(),
        2 => [b"\r\n\r\n\0\r\nQUIT\n\x21", plan.0].concat(),
        _ => [b"PROXY TCP", plan.0].concat(),
    };
    let found = one_verdict(seed, &bytes, |seen| parse_head(seen).transpose());
    match found {
        Some(Ok((length, ProxyHead::Absent))) => assert_eq!(length, 0),
        Some(Ok((length, _))) => assert!(0 < length && length <= bytes.len().min(MAX_HEAD)),
        Some(Err(_)) | None => assert!(found.is_some() || bytes.len() < MAX_HEAD),
    }
    forwarded(flags, fields);
}

fn forwarded(flags: u8, fields: &[u8]) {
    let name = if flags & 4 != 0 {
        "Forwarded"
    } else {
        "X-Forwarded-For"
    };
    let mut headers = vec![(name.to_owned(), fields.to_vec())];
    if flags & 8 != 0 {
        headers.push(("X-Forwarded-For".to_owned(), b"192.0.2.9".to_vec()));
    }
    let entries = ["127.0.0.1".into(), "10.0.0.0/8".into(), "fd00::/8".into()];
    let trusted = Trusted::parse(&entries).expect("they are networks");
    let near = Peer::Address("127.0.0.1:1".parse().expect("an address"));
    let far = Peer::Address("192.0.2.1:1".parse().expect("an address"));
    assert_eq!(
        client(far, &headers, &trusted),
        Ok(far),
        "who is not trusted is not heard"
    );
    if let Ok(found) = client(near, &headers, &trusted) {
        if let (Some(ip), true) = (found.ip(), found != near) {
            named_in(ip, &headers);
        }
    }
}

/// An address was not made up: its digits, in one of its forms, stand there.
fn named_in(ip: IpAddr, headers: &[(String, Vec<u8>)]) {
    let words = headers.iter().flat_map(|(_, value)| {
        value
            .split(|byte| b",;=\"[] \t".contains(byte))
            // In a quoted string a digit may have a backslash before it (RFC 9110, 5.6.4).
            .map(|word| word.iter().filter(|byte| **byte != b'\\'))
            .map(|word| String::from_utf8_lossy(&word.copied().collect::<Vec<u8>>()).into_owned())
    });
    let is = |word: &str| {
        let address: Option<IpAddr> = word.parse().ok();
        let socket: Option<SocketAddr> = word.parse().ok();
        let found = address.or(socket.map(|socket| socket.ip()));
        // A port that is written another way than Rust reads it.
        let before_port = word
            .rsplit_once(':')
            .and_then(|(host, _)| host.parse().ok());
        [found, before_port]
            .iter()
            .flatten()
            .any(|found: &IpAddr| found.to_canonical() == ip)
    };
    assert!(
        words.into_iter().any(|word| is(&word)),
        "{ip} is not in {headers:?}"
    );
}

/// What a SOCKS 5 or an HTTP proxy answers, and what we ask the former.
pub fn answers(data: &[u8]) {
    let mut plan = Plan(data);
    let (flags, seed) = (plan.byte(), plan.byte());
    match flags & 3 {
        0 => {
            let bytes = plan.take(700);
            one_verdict(seed, bytes, |seen| {
                connect::parse_response(seen, HeadLimits::default()).transpose()
            });
            let _ = connect::check_ended_response(bytes, HeadLimits::default());
        }
        1 => dialogue(&mut plan, flags & 4 != 0),
        _ => {
            let name = String::from_utf8_lossy(plan.0).into_owned();
            let asked = encode_request(&SocksTarget::Name(name.clone(), 258));
            let expected = u8::try_from(name.len())
                .ok()
                .map(|length| [&[5, 1, 0, 3, length], name.as_bytes(), &[1, 2]].concat());
            assert_eq!(asked.ok(), expected);
        }
    }
}

/// Every answer is understood or refused, in words that can be shown.
fn dialogue(plan: &mut Plan<'_>, with_password: bool) {
    let shown = |text: String| {
        assert!(
            !text.is_empty() && !text.contains(char::is_control),
            "{text:?}"
        );
    };
    match parse_method([plan.byte(), plan.byte()], with_password) {
        Ok(true) => {
            assert!(with_password, "a password that nobody has");
            if let Err(text) = parse_password_status([plan.byte(), plan.byte()]) {
                return shown(text);
            }
        }
        Ok(false) => {}
        Err(text) => return shown(text),
    }
    let head = std::array::from_fn(|_| plan.byte());
    match parse_reply(head) {
        // What RFC 1928 says of the whole reply, less the five that were read.
        Ok(more) => assert_eq!(
            more + 5,
            6 + match head[3] {
                1 => 4,
                4 => 16,
                _ => 1 + usize::from(head[4]),
            }
        ),
        Err(text) => shown(text),
    }
}
