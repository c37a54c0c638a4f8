//! URLs, proxies and the rules for them, and the bytes of text.

use crate::plan::{ways, Plan};
use evws_proto::forwarded::Trusted;
use evws_proto::handshake::{parse_request, ClientRequest, HeadLimits, Host, Hosts, Origins};
use evws_proto::proxy::rules::{is_excepted, Environment, Rules};
use evws_proto::proxy::{connect, Proxy};
use evws_proto::url::Url;
use evws_proto::utf8::{is_valid, Validator};
use evws_proto::{close, mask};

/// A URL that is accepted makes a request that a server reads as what was meant, and is found again in its own text.
pub fn url(data: &[u8]) {
    let mut plan = Plan(data);
    let bytes = match plan.byte() & 3 {
        0 | 1 => plan.0.to_vec(),
        2 => [b"ws://", plan.0].concat(),
        _ => [b"ws+unix:/", plan.0].concat(),
    };
    let Ok(url) = Url::parse(&bytes) else {
        return;
    };
    assert!(url.target.starts_with('/'), "{url:?}");
    let request = ClientRequest {
        host: url.host_header(),
        target: url.target.clone(),
        ..ClientRequest::default()
    };
    request.check().expect("a URL has nothing that ends a line");
    let head = request.encode("dGhlIHNhbXBsZSBub25jZQ==");
    let limits = HeadLimits {
        size: 1 << 20,
        headers: 100,
    };
    let (_, read) = parse_request(&head, limits)
        .unwrap_or_else(|rejection| panic!("{url:?} gives {rejection:?}"))
        .expect("a whole request");
    assert_eq!(read.target, url.target);
    if url.socket.is_none() {
        let scheme = if url.secure { "wss" } else { "ws" };
        let again = format!("{scheme}://{}{}", url.host_header(), url.target);
        assert_eq!(Url::parse(&again).as_ref(), Ok(&url), "{again}");
    }
}

/// Texts that a program or its environment gives.
pub fn proxy_rules(data: &[u8]) {
    let mut plan = Plan(data);
    let flags = plan.byte();
    let length = usize::from(plan.byte());
    let (text, list) = (plan.take(length), plan.0);
    if let Ok(proxy) = Proxy::parse(text, None) {
        assert!(!proxy.host.is_empty() && proxy.port > 0);
        let shown = proxy.to_string();
        let again = shown.strip_prefix("proxy ").expect("a proxy is called one");
        let again = Proxy::parse(again.as_bytes(), None).expect("what is shown can be given");
        assert_eq!((&again.host, again.port), (&proxy.host, proxy.port));
        let head = connect::encode_request("h", 80, proxy.credentials.as_ref());
        assert_eq!(
            head.iter().filter(|byte| **byte == b'\n').count(),
            if proxy.credentials.is_some() { 4 } else { 3 }
        );
    }
    let host = ["h.example", "10.1.2.3", "localhost", "::1"][usize::from(flags & 3)];
    let entries = |bytes: &[u8]| {
        String::from_utf8_lossy(bytes)
            .split(',')
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    // A list excepts what one of its entries does.
    let single = entries(list)
        .iter()
        .any(|entry| is_excepted(entry.as_bytes(), host, 80));
    assert_eq!(is_excepted(list, host, 80), single);
    let environment = Environment {
        https_proxy: (flags & 4 != 0).then(|| text.to_vec()),
        http_proxy: (flags & 8 != 0).then(|| text.to_vec()),
        all_proxy: (flags & 16 != 0).then(|| text.to_vec()),
        no_proxy: Some(list.to_vec()),
    };
    let shown_host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    let url = Url::parse(format!("ws://{shown_host}/")).expect("a URL");
    match Rules::Environment(environment).choose(&url) {
        Ok(Some(_)) => assert!(!single, "it is excepted"),
        Ok(None) => {}
        Err(text) => assert!(text.starts_with("environment variable "), "{text}"),
    }
    let asked = Host {
        name: host.to_owned(),
        port: None,
    };
    if let Ok(hosts) = Hosts::parse(&entries(list)) {
        hosts.allow(Some(&asked));
        assert!(!hosts.allow(None));
    }
    if let Ok(origins) = Origins::parse(&entries(list)) {
        origins.allow(text, &asked);
        assert!(!origins.allow(b"\xFF", &asked));
    }
    let _ = Trusted::parse(&entries(list));
}

/// Text in pieces, reasons that are cut, and masks.
pub fn utf8(data: &[u8]) {
    let mut plan = Plan(data);
    let seed = plan.byte();
    let key = [plan.byte(), plan.byte(), plan.byte(), plan.byte()];
    let text = plan.0;
    let theirs = std::str::from_utf8(text);
    assert_eq!(is_valid(text), theirs.is_ok());
    let is_begun = theirs.is_ok_and(|_| true) || theirs.is_err_and(|e| e.error_len().is_none());
    for cuts in ways(seed, text.len()) {
        let mut validator = Validator::new();
        let mut start = 0;
        let mut good = true;
        for &cut in cuts.iter().chain([&text.len()]) {
            good = good && validator.feed(&text[start..cut]).is_ok();
            // It is told as soon as it is wrong.
            let seen = std::str::from_utf8(&text[..cut]);
            let wrong = seen.is_err_and(|error| error.error_len().is_some());
            assert_eq!(good, !wrong, "at {cut}");
            start = cut;
        }
        assert_eq!(good, is_begun);
        assert_eq!(good && validator.is_complete(), theirs.is_ok());
    }
    let reason = close::cut_reason(text);
    assert!(reason.len() <= close::MAX_REASON && text.starts_with(reason));
    if theirs.is_ok() {
        assert!(is_valid(reason) && text.len().min(120) <= reason.len());
    }
    masks(seed, key, text);
}

fn masks(seed: u8, key: [u8; 4], text: &[u8]) {
    let masked = |(at, byte): (usize, &u8)| byte ^ key[at % 4];
    let expected: Vec<u8> = text.iter().enumerate().map(masked).collect();
    let mut copied = vec![seed];
    mask::copy_masked(key, text, &mut copied);
    assert_eq!(copied[1..], expected);
    for cuts in ways(seed, text.len()) {
        let mut bytes = text.to_vec();
        let mut start = 0;
        for &cut in cuts.iter().chain([&text.len()]) {
            mask::apply(key, start, &mut bytes[start..cut]);
            start = cut;
        }
        assert_eq!(bytes, expected);
    }
}
