//! Everything a peer must not send, and the close code that it gets for it.

mod common;

use common::*;
use evws_proto::frame::Opcode;
use evws_proto::{Connection, Role};

struct Case {
    what: &'static str,
    receiver: Role,
    wire: Vec<u8>,
    code: u16,
    /// A part of the error's text.
    text: &'static str,
}

fn case(what: &'static str, receiver: Role, wire: &[u8], code: u16, text: &'static str) -> Case {
    Case {
        what,
        receiver,
        wire: wire.to_vec(),
        code,
        text,
    }
}

fn check(cases: Vec<Case>) {
    for Case {
        what,
        receiver,
        wire,
        code,
        text,
    } in cases
    {
        let config = config(receiver);
        let events = feed_cut(Connection::new(&config), &wire, &[]);
        match events[..] {
            [Event::Failed(failed, says)] if failed == code && says.contains(text) => {
                assert_every_way(&config, &wire, &[Event::Failed(failed, says)]);
            }
            _ => panic!("{what} {wire:02x?}: {events:?}"),
        }
        // The last byte decides: no earlier, and no later.
        let before = feed_cut(Connection::new(&config), &wire[..wire.len() - 1], &[]);
        assert!(
            before
                .iter()
                .all(|event| !matches!(event, Event::Failed(..))),
            "{what}: early {before:?}"
        );
    }
}

/// Headers that are wrong by themselves, up to the byte that makes them so, with a part of the error's text.
const HEADERS: [(Role, &[u8], &str); 16] = [
    (Role::Client, b"\xC1", "reserved bits set"),
    (Role::Client, b"\xA1", "reserved bits set"),
    (Role::Client, b"\x91", "reserved bits set"),
    (Role::Client, b"\xC9", "reserved bits set"),
    (Role::Client, b"\x09", "fragmented control"),
    (Role::Client, b"\x0A", "fragmented control"),
    (Role::Client, b"\x08", "fragmented control"),
    (Role::Client, b"\x89\x7E", "more than 125 bytes"),
    (Role::Client, b"\x88\x7F", "more than 125 bytes"),
    (
        Role::Client,
        b"\x82\x7E\x00\x7D",
        "more bytes than it needs",
    ),
    (
        Role::Client,
        b"\x82\x7E\x00\x00",
        "more bytes than it needs",
    ),
    (
        Role::Client,
        b"\x82\x7F\0\0\0\0\0\0\xFF\xFF",
        "more bytes than it needs",
    ),
    (Role::Client, b"\x82\x7F\x80", "highest bit set"),
    (Role::Client, b"\x82\x80", "masked frame"),
    (Role::Server, b"\x82\x00", "unmasked frame"),
    (Role::Server, b"\x89\x00", "unmasked frame"),
];

#[test]
fn headers() {
    let cases = HEADERS
        .iter()
        .map(|(receiver, wire, text)| case("a header", *receiver, wire, 1002, text));
    check(cases.collect());
}

#[test]
fn reserved_opcodes() {
    let opcodes = [3, 4, 5, 6, 7, 11, 12, 13, 14, 15];
    let firsts = opcodes.iter().flat_map(|opcode| [0x80 | opcode, *opcode]);
    let cases =
        firsts.map(|first| case("an opcode", Role::Server, &[first], 1002, "reserved opcode"));
    check(cases.collect());
}

#[test]
fn sequences() {
    let mut cases = Vec::new();
    for receiver in [Role::Client, Role::Server] {
        let frame = |fin, opcode, payload: &[u8]| frame_to(receiver, fin, opcode, payload);
        let start = |fin, opcode| {
            frame_to(receiver, fin, opcode, b"")[..if receiver == Role::Server { 6 } else { 2 }]
                .to_vec()
        };
        let inside = "inside a fragmented one";
        let without = "without a message";
        let first = frame(false, Opcode::Text, b"a");
        for opcode in [Opcode::Text, Opcode::Binary] {
            for fin in [false, true] {
                let wire = [first.clone(), start(fin, opcode)].concat();
                cases.push(case(
                    "a message inside another",
                    receiver,
                    &wire,
                    1002,
                    inside,
                ));
            }
        }
        for fin in [false, true] {
            let wire = start(fin, Opcode::Continuation);
            cases.push(case(
                "a continuation of nothing",
                receiver,
                &wire,
                1002,
                without,
            ));
        }
        cases.push(Case {
            what: "an empty first fragment is a first fragment",
            receiver,
            wire: [frame(false, Opcode::Binary, b""), start(true, Opcode::Text)].concat(),
            code: 1002,
            text: inside,
        });
    }
    check(cases);
}

#[test]
fn a_continuation_after_the_last_one() {
    for receiver in [Role::Client, Role::Server] {
        let frame = |fin, opcode, payload: &[u8]| frame_to(receiver, fin, opcode, payload);
        let wire = [
            frame(false, Opcode::Text, b"a"),
            frame(true, Opcode::Continuation, b"b"),
            frame(true, Opcode::Continuation, b""),
        ];
        let failed = "peer sent a continuation frame without a message (RFC 6455 section 5.4)";
        assert_every_way(
            &config(receiver),
            &wire.concat(),
            &[text("ab"), Event::Failed(1002, failed)],
        );
    }
}

#[test]
fn closes() {
    let mut cases = Vec::new();
    for receiver in [Role::Client, Role::Server] {
        let close = |payload: &[u8]| frame_to(receiver, true, Opcode::Close, payload);
        cases.push(case(
            "a close of one byte",
            receiver,
            &close(b"\x03"),
            1002,
            "Close frame of one byte",
        ));
        for code in [
            0u16, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535,
        ] {
            let wire = close(&code.to_be_bytes());
            cases.push(case(
                "an invalid close code",
                receiver,
                &wire,
                1002,
                "invalid close code",
            ));
        }
        for reason in [&b"\xFF"[..], b"half \xE2\x82", b"\xED\xA0\x80"] {
            let wire = close(&[b"\x03\xE8", reason].concat());
            cases.push(case(
                "a reason that is not UTF-8",
                receiver,
                &wire,
                1007,
                "reason that is not UTF-8",
            ));
        }
    }
    check(cases);
}

#[test]
fn what_came_before_is_delivered() {
    let wire = [
        frame_to(Role::Server, true, Opcode::Text, b"fine"),
        b"\xFF\xFF\xFF".to_vec(),
    ]
    .concat();
    let failed = "peer sent a frame with reserved bits set (RFC 6455 section 5.2)";
    assert_every_way(
        &config(Role::Server),
        &wire,
        &[text("fine"), Event::Failed(1002, failed)],
    );
}
