//! What must hold for any bytes: round trips, independence of how they are cut, and no panic.

mod common;

use common::*;
use evws_proto::connection::FrameKind;
use evws_proto::frame::{self, Header, Opcode};
use evws_proto::handshake::{
    encode_response, parse_request, parse_response, ClientRequest, HeadLimits,
};
use evws_proto::url::Url;
use evws_proto::utf8::Validator;
use evws_proto::{close, mask, utf8, Config, Connection, Role};
use proptest::prelude::*;

fn any_role() -> impl Strategy<Value = Role> {
    prop::sample::select(vec![Role::Client, Role::Server])
}

/// Text with some bytes broken: most of the ways to be almost UTF-8.
fn almost_text() -> impl Strategy<Value = Vec<u8>> {
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    ("\\PC{0,90}", edits).prop_map(|(text, edits)| {
        let mut bytes = text.into_bytes();
        for (at, byte) in edits
            .into_iter()
            .filter(|_| !bytes.is_empty())
            .collect::<Vec<_>>()
        {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

/// Positions in `length` bytes, in order.
fn places(indexes: &[prop::sample::Index], length: usize) -> Vec<usize> {
    let mut places: Vec<usize> = indexes
        .iter()
        .map(|index| index.index(length + 1))
        .collect();
    places.sort_unstable();
    places
}

fn any_cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    prop::collection::vec(any::<prop::sample::Index>(), 0..8)
}

/// The position of the first byte that no valid text can have there, by the standard library's verdict on every prefix.
fn first_impossible(bytes: &[u8]) -> Option<usize> {
    (0..bytes.len()).find(|&end| {
        matches!(std::str::from_utf8(&bytes[..=end]), Err(error) if error.error_len().is_some())
    })
}

proptest! {
    #[test]
    fn headers_survive(fin: bool, rsv in 0u8..8, opcode in 0u8..3, mask: Option<[u8; 4]>,
                       payload_len in prop_oneof![0u64..130, 65530u64..65540, 0..=i64::MAX as u64]) {
        let opcode = Opcode::from_bits(opcode).unwrap();
        let header = Header { fin, rsv, opcode, mask, payload_len };
        let mut bytes = Vec::new();
        frame::encode_header(&header, &mut bytes);
        prop_assert_eq!(frame::parse_header(&bytes), Ok(Some((header, bytes.len()))));
        prop_assert_eq!(frame::sent_header_len([bytes[0], bytes[1]]), bytes.len());
        prop_assert_eq!(frame::sent_payload_len(&bytes), payload_len);
        for cut in 0..bytes.len() {
            prop_assert_eq!(frame::parse_header(&bytes[..cut]), Ok(None));
        }
    }

    #[test]
    fn masks_agree_with_the_definition(key: [u8; 4], offset in 0usize..20, data: Vec<u8>, before: Vec<u8>) {
        let expected: Vec<u8> = data.iter().enumerate().map(|(i, byte)| byte ^ key[(offset + i) % 4]).collect();
        let mut masked = data.clone();
        mask::apply(key, offset, &mut masked);
        prop_assert_eq!(&masked, &expected);
        let mut copy = before.clone();
        mask::copy_masked(key, &data, &mut copy);
        mask::apply(key, 0, &mut copy[before.len()..]);
        prop_assert_eq!(copy, [before, data].concat());
    }

    #[test]
    fn utf8_agrees_with_the_standard_library(bytes in almost_text(), cuts in any_cuts()) {
        prop_assert_eq!(utf8::is_valid(&bytes), std::str::from_utf8(&bytes).is_ok());
        let impossible = first_impossible(&bytes);
        let mut one_by_one = Validator::new();
        let refused = bytes.iter().position(|byte| one_by_one.feed(&[*byte]).is_err());
        prop_assert_eq!(refused, impossible);
        // In larger pieces: the piece with the impossible byte is refused, and none before it.
        let mut validator = Validator::new();
        let mut start = 0;
        for end in places(&cuts, bytes.len()).into_iter().chain([bytes.len()]) {
            let has_impossible = impossible.is_some_and(|at| at < end);
            prop_assert_eq!(validator.feed(&bytes[start..end]).is_err(), has_impossible);
            if has_impossible {
                return Ok(());
            }
            start = end;
        }
        prop_assert_eq!(validator.is_complete(), std::str::from_utf8(&bytes).is_ok());
    }

    #[test]
    fn messages_survive_fragments_and_cuts(role in any_role(), is_binary: bool, payload in "\\PC{0,300}",
                                           fragments in any_cuts(), cuts in any_cuts()) {
        let sender = if role == Role::Client { Role::Server } else { Role::Client };
        let mut peer = Connection::new(&config(sender));
        let payload = payload.into_bytes();
        let mut wire = Vec::new();
        let mut start = 0;
        for end in places(&fragments, payload.len()) {
            peer.send(FrameKind::Fragment { binary: is_binary, last: false }, &payload[start..end], KEY, &mut wire).unwrap();
            peer.send(FrameKind::Ping, &[end as u8], KEY, &mut wire).unwrap();
            start = end;
        }
        peer.send(FrameKind::Fragment { binary: is_binary, last: true }, &payload[start..], KEY, &mut wire).unwrap();
        let events = feed_cut(Connection::new(&config(role)), &wire, &places(&cuts, wire.len()));
        prop_assert_eq!(events.len(), fragments.len() + 1);
        let message = if is_binary { Event::Binary(payload) } else { Event::Text(payload) };
        prop_assert_eq!(events.last(), Some(&message));
    }

    #[test]
    fn cuts_change_nothing_whatever_the_bytes(role in any_role(), validate_utf8: bool,
                                              max_message_size in prop_oneof![Just(0u64), 0u64..100],
                                              parts in prop::collection::vec(any_part(), 0..10), cuts in any_cuts()) {
        let config = Config { role, max_message_size, max_fragments: 0, validate_utf8 };
        let wire = parts.concat();
        let whole = feed_cut(Connection::new(&config), &wire, &[]);
        prop_assert_eq!(&feed_cut(Connection::new(&config), &wire, &places(&cuts, wire.len())), &whole);
        prop_assert_eq!(&feed_direct(Connection::new(&config), &wire, 3), &whole);
    }

    #[test]
    fn reasons_are_cut_to_text(reason in "\\PC{0,200}") {
        let cut = close::cut_reason(reason.as_bytes());
        prop_assert!(cut.len() <= 123 && reason.as_bytes().starts_with(cut));
        prop_assert!(std::str::from_utf8(cut).is_ok());
        prop_assert!(cut.len() == reason.len() || cut.len() > 119);
    }

    #[test]
    fn no_url_panics_and_what_is_accepted_is_safe(tail in prop_oneof!["\\PC*", "[a-z:/?#@%.0-9\\[\\]]*"], secure: bool) {
        let url = format!("{}{tail}", if secure { "wss://" } else { "ws://" });
        if let Ok(parsed) = Url::parse(&url) {
            let request = ClientRequest { host: parsed.host_header(), target: parsed.target.clone(), ..Default::default() };
            prop_assert!(request.check().is_ok());
            prop_assert!(parsed.target.starts_with('/') && parsed.target.is_ascii());
            let again = format!("{}://{}{}", if secure { "wss" } else { "ws" }, parsed.host_header(), parsed.target);
            prop_assert_eq!(Url::parse(&again).unwrap(), parsed);
        }
    }

    #[test]
    fn no_head_panics(bytes: Vec<u8>, insert in any::<prop::sample::Index>(), noise: Vec<u8>) {
        let request = ClientRequest { host: "h".into(), target: "/".into(), ..Default::default() };
        let _ = parse_request(&bytes, HeadLimits::default());
        let _ = parse_response(&bytes, "key", &request);
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        let mut head = request.encode(key);
        let (_, parsed) = parse_request(&head, HeadLimits::default()).unwrap().unwrap();
        let mut answer = encode_response(&parsed, None, None, &[]);
        for head in [&mut head, &mut answer] {
            let at = insert.index(head.len());
            head.splice(at..at, noise.iter().copied());
        }
        let _ = parse_request(&head, HeadLimits::default());
        let _ = parse_response(&answer, key, &request);
    }

    #[test]
    fn what_a_client_asks_for_a_server_reads(path in "/[!-~&&[^#]]{0,50}", names in prop::collection::hash_set("[a-z.]{1,8}", 0..4),
                                             value in "[!-~]([ -~]{0,30}[!-~])?") {
        let request = ClientRequest {
            host: "h:1".to_owned(),
            target: path.clone(),
            protocols: names.into_iter().collect(),
            headers: vec![("x-value".to_owned(), value.clone().into_bytes())],
            ..ClientRequest::default()
        };
        prop_assert_eq!(request.check(), Ok(()));
        let (_, parsed) = parse_request(&request.encode("dGhlIHNhbXBsZSBub25jZQ=="), HeadLimits::default()).unwrap().unwrap();
        prop_assert_eq!(&parsed.target, &path);
        prop_assert_eq!(&parsed.protocols, &request.protocols);
        prop_assert!(parsed.headers.contains(&("X-Value".to_owned(), value.into_bytes())));
        let answer = encode_response(&parsed, parsed.protocols.first().map(|name| &name[..]), None, &[]);
        let (length, response) = parse_response(&answer, &parsed.key, &request).unwrap().unwrap();
        prop_assert_eq!(length, answer.len());
        prop_assert_eq!(response.protocol.as_ref(), parsed.protocols.first());
    }
}

/// Something to put on a wire: a right frame for one of the roles, or noise.
fn any_part() -> impl Strategy<Value = Vec<u8>> {
    let frame = (any_role(), any::<bool>(), 0u8..11, almost_text()).prop_map(
        |(role, fin, opcode, payload)| {
            let opcode = Opcode::from_bits(opcode).unwrap_or(Opcode::Text);
            frame_to(role, fin || opcode.is_control(), opcode, &payload)
        },
    );
    prop_oneof![8 => frame, 1 => prop::collection::vec(any::<u8>(), 0..20)]
}
