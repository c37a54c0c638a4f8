//! Compressed messages from peers that do it their own way.

mod common;

use common::deflate::*;
use common::*;
use evws_proto::deflate::Codecs;
use evws_proto::frame::{self, Opcode, RSV1};
use evws_proto::{Config, Role};

/// A frame to a client.
fn frame_of(fin: bool, rsv: u8, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::encode_with(fin, rsv, opcode, payload, None, &mut out);
    out
}

/// A compressed text in one frame to a client.
fn message(payload: &[u8]) -> Vec<u8> {
    frame_of(true, RSV1, Opcode::Text, payload)
}

/// What a client with and without context takeover makes of `wire`, which must be the same however it is cut.
fn received(wire: &[u8]) -> Vec<Event> {
    let mut seen = Vec::new();
    for no_context_takeover in [true, false] {
        let agreement = agreement(no_context_takeover, 15);
        for step in [wire.len(), 1, 2, 3, 7] {
            let mut client = connection(Role::Client, &agreement);
            let mut events = Vec::new();
            for portion in wire.chunks(step) {
                events.extend(feed(&mut client, portion));
            }
            seen.push(events);
        }
    }
    assert!(seen.iter().all(|events| *events == seen[0]), "{seen:?}");
    seen.swap_remove(0)
}

#[test]
fn the_examples_of_the_rfc_are_understood() {
    // RFC 7692 section 7.2.3: a compressed "Hello", one in two frames, two with a shared window, one uncompressed
    // block, one with BFINAL, and one of two blocks.
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    assert_eq!(received(&message(&hello)), [text("Hello")]);
    let two_frames = [
        frame_of(false, RSV1, Opcode::Text, &hello[..3]),
        frame_of(true, 0, Opcode::Continuation, &hello[3..]),
    ];
    assert_eq!(received(&two_frames.concat()), [text("Hello")]);
    let stored = [
        0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00,
    ];
    assert_eq!(received(&message(&stored)), [text("Hello")]);
    let bfinal = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
    assert_eq!(received(&message(&bfinal)), [text("Hello")]);
    let two_blocks = [
        0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
    ];
    assert_eq!(received(&message(&two_blocks)), [text("Hello")]);
    let mut client = connection(Role::Client, &agreement(false, 15));
    let shared = [message(&hello), message(&[0xf2, 0x00, 0x11, 0x00, 0x00])].concat();
    assert_eq!(feed(&mut client, &shared), [text("Hello"), text("Hello")]);
}

#[test]
fn senders_that_cut_the_tail_their_own_way_are_understood() {
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let bfinal = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let cases: [(&str, Vec<u8>); 7] = [
        ("BFINAL and nothing behind it", message(&bfinal)),
        ("two streams", message(&[bfinal, hello].concat())),
        ("the tail left on", message(&[&hello[..], &TAIL].concat())),
        ("an empty message of one byte", message(&[0])),
        ("an empty message of none", message(&[])),
        ("an empty last fragment of one byte", {
            let first = [&hello[..], &TAIL].concat();
            let first = frame_of(false, RSV1, Opcode::Text, &first);
            [first, frame_of(true, 0, Opcode::Continuation, &[0])].concat()
        }),
        ("an empty last fragment of none", {
            let first = [&hello[..], &TAIL].concat();
            let first = frame_of(false, RSV1, Opcode::Text, &first);
            [first, frame_of(true, 0, Opcode::Continuation, &[])].concat()
        }),
    ];
    let expected = ["Hello", "HelloHello", "Hello", "", "", "Hello", "Hello"];
    for ((what, wire), expected) in cases.iter().zip(expected) {
        // Nothing is left behind that the next message could stumble over.
        let twice = [&wire[..], b"\x81\x01x", wire].concat();
        let events = [text(expected), text("x"), text(expected)];
        assert_eq!(received(&twice), events, "{what}");
    }
}

#[test]
fn what_is_no_deflate_data_fails_with_1007() {
    const INVALID: &str =
        "peer sent a compressed message that is no deflate data (RFC 7692 section 7.2.2)";
    for (what, payload) in [
        ("a block type that does not exist", &b"\x06\x00"[..]),
        (
            "a stored block with a wrong complement",
            b"\x00\x05\x00\xfa\xfeHello\x00",
        ),
        ("a stored block that is cut", b"\x00\x05\x00\xfa\xffHel"),
        ("nothing but a tail", &TAIL),
        ("a distance before the first byte", b"\xf2\x00\x11\x00\x00"),
        (
            "code lengths that are too many",
            b"\xfc\xff\xff\xff\xff\xff\xff\xff",
        ),
        ("text", b"{\"plain\":\"text\"}"),
    ] {
        let events = received(&frame_of(true, RSV1, Opcode::Binary, payload));
        assert_eq!(events, [Event::Failed(1007, INVALID)], "{what}");
    }
    // The tail is no part of the text, though a block that was cut takes it for its bytes.
    let cut = message(b"\x00\x06\x00\xf9\xffHel");
    assert_eq!(received(&cut), [Event::Failed(1007, INVALID)]);
    let not_utf8 = [0x00, 0x02, 0x00, 0xfd, 0xff, b'a', 0xC0, 0x00];
    for wire in [
        message(&not_utf8),
        // The end of the message cuts a character.
        message(&[0x00, 0x02, 0x00, 0xfd, 0xff, 0xE2, 0x82, 0x00]),
    ] {
        let expected = "peer sent a text message that is not UTF-8 (RFC 6455 section 8.1)";
        assert_eq!(received(&wire), [Event::Failed(1007, expected)]);
    }
    let binary = frame_of(true, RSV1, Opcode::Binary, &not_utf8);
    assert_eq!(received(&binary), [Event::Binary(vec![b'a', 0xC0])]);
}

/// What a frame of a compressed message has is not what the message comes to: the limit is one of that.
#[test]
fn a_frame_may_be_larger_than_what_is_left_of_the_limit() {
    let limited = Config {
        max_message_size: 10,
        ..config(Role::Client)
    };
    let mut client = deflating(&limited, &agreement(false, 15), &Codecs::default());
    let stored = b"\x00\x05\x00\xfa\xffHello";
    let wire = [
        frame_of(false, RSV1, Opcode::Text, stored),
        frame_of(
            true,
            0,
            Opcode::Continuation,
            &[&stored[..], b"\0"].concat(),
        ),
    ];
    assert_eq!(feed(&mut client, &wire.concat()), [text("HelloHello")]);
}

#[test]
fn rsv1_stands_on_the_first_frame_of_a_message_alone() {
    let misplaced = "peer set RSV1 on a frame that begins no message (RFC 7692 section 6.1)";
    let begun = frame_of(false, RSV1, Opcode::Text, &[0]);
    for wire in [
        [begun, frame_of(true, RSV1, Opcode::Continuation, &[0])].concat(),
        frame_of(true, RSV1, Opcode::Ping, b""),
        frame_of(true, RSV1, Opcode::Pong, b""),
        frame_of(true, RSV1, Opcode::Close, b""),
    ] {
        assert_eq!(received(&wire), [Event::Failed(1002, misplaced)]);
    }
    let reserved = "peer sent a frame with reserved bits set (RFC 6455 section 5.2)";
    for rsv in [1, 2, 3, 5, 6, 7] {
        let wire = frame_of(true, rsv, Opcode::Text, &[0]);
        assert_eq!(received(&wire), [Event::Failed(1002, reserved)], "{rsv}");
    }
    assert_every_way(
        &config(Role::Client),
        &message(&[0]),
        &[Event::Failed(1002, reserved)],
    );
}

/// What is compressed must not be read straight into the message, where what it inflates to has its place.
#[test]
fn a_compressed_message_wants_nothing_directly() {
    let mut client = connection(Role::Client, &agreement(false, 15));
    let payload = [&[0x00, 0x64, 0x00, 0x9b, 0xff][..], &[b'a'; 100], &[0x00]].concat();
    let wire = frame_of(true, RSV1, Opcode::Text, &payload);
    for cut in every_place(wire.len()).skip(1) {
        let mut client = connection(Role::Client, &agreement(false, 15));
        assert_eq!(feed(&mut client, &wire[..cut]), []);
        assert_eq!(client.payload_wanted(), 0, "{cut} octets");
        assert!(client.payload_buffer().is_none());
        assert_eq!(feed(&mut client, &wire[cut..]), [text(&"a".repeat(100))]);
    }
    // One that is not compressed may be, though others could.
    let plain = frame_of(true, 0, Opcode::Text, &[b'b'; 100]);
    assert_eq!(feed(&mut client, &plain[..50]), []);
    assert_eq!(client.payload_wanted(), 52);
}
