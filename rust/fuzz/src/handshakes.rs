//! permessage-deflate as two ends agree on it.

use crate::heads::OPTIONS;
use crate::plan::Plan;
use evws_proto::deflate::Options;
use evws_proto::handshake::{
    accept_offer, encode_response, parse_request, parse_response, ClientRequest, HeadLimits,
    Negotiated,
};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

fn options(plan: &mut Plan<'_>) -> Options {
    let flags = plan.byte();
    let bits = |is_given: bool, value: u8| is_given.then_some(9 + value % 7);
    let options = Options {
        server_no_context_takeover: flags & 1 != 0,
        client_no_context_takeover: flags & 2 != 0,
        server_max_window_bits: bits(flags & 4 != 0, flags >> 4),
        client_max_window_bits: bits(flags & 8 != 0, flags >> 5),
        memory: u64::from(plan.byte()) * 2048,
        ..OPTIONS
    };
    options.check().expect("they are in their ranges");
    options
}

fn client(options: Options) -> ClientRequest {
    ClientRequest {
        host: "h".into(),
        target: "/".into(),
        deflate: Some(options),
        ..ClientRequest::default()
    }
}

/// Whatever is offered, what we accept of it is an answer that a client understands as we do; and our own client and
/// server come to the same agreement with any options of both.
pub fn extensions(data: &[u8]) {
    let mut plan = Plan(data);
    let (servers, clients) = (options(&mut plan), options(&mut plan));
    if let Ok(Some(chosen)) = accept_offer(plan.0, &servers) {
        assert_eq!(
            chosen.agreement.server.window_bits.clamp(9, 15),
            chosen.agreement.server.window_bits
        );
        answer(&client(OPTIONS), chosen);
    }
    let request = client(clients);
    request.check().expect("nothing is wrong with it");
    let sent = request.encode(KEY);
    let (_, upgrade) = parse_request(&sent, HeadLimits::default())
        .expect("our request is right")
        .expect("and whole");
    let chosen = accept_offer(&upgrade.extensions, &servers);
    if let Some(chosen) = chosen.expect("our offer is right") {
        answer(&request, chosen);
    }
    // As a server's choice, whatever it is.
    let said = [&b"HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Extensions: "[..], plan.0, b"\r\n\r\n"].concat();
    if let Ok(Some((_, response))) = parse_response(&said, KEY, &request) {
        if let Some(chosen) = response.deflate {
            let asked = clients.server_max_window_bits.unwrap_or(15);
            assert!(chosen.agreement.server.window_bits <= asked);
            let asked = clients.client_max_window_bits.unwrap_or(15);
            assert!(chosen.agreement.client.window_bits <= asked);
        }
    }
}

fn answer(request: &ClientRequest, chosen: Negotiated) {
    let sent = ClientRequest {
        deflate: None,
        ..request.clone()
    };
    let (_, upgrade) = parse_request(&client_head(&sent), HeadLimits::default())
        .expect("a request")
        .expect("a whole one");
    let answer = encode_response(&upgrade, None, Some(&chosen.text), &[]);
    let (_, heard) = parse_response(&answer, KEY, request)
        .expect("our answer is right")
        .expect("and whole");
    let heard = heard.deflate.expect("it agrees").agreement;
    assert_eq!(
        heard.server.no_context_takeover,
        chosen.agreement.server.no_context_takeover
    );
    assert_eq!(
        heard.server.window_bits, chosen.agreement.server.window_bits,
        "{}",
        chosen.text
    );
    assert!(
        heard.client.window_bits <= chosen.agreement.client.window_bits,
        "{}",
        chosen.text
    );
    // A client may do without context takeover unasked.
    assert!(heard.client.no_context_takeover || !chosen.agreement.client.no_context_takeover);
}

fn client_head(request: &ClientRequest) -> Vec<u8> {
    request.encode(KEY)
}
