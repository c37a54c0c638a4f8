//! Compressed messages between two connections, and from peers that do it their own way.

mod common;
#[path = "common/puff.rs"]
mod puff;

use common::*;
use evws_proto::connection::FrameKind;
use evws_proto::deflate::{Agreement, Codecs, Direction};
use evws_proto::frame::{self, Opcode, RSV1};
use evws_proto::{Config, Connection, Role};

const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];

fn agreement(no_context_takeover: bool, window_bits: u8) -> Agreement {
    let direction = Direction {
        no_context_takeover,
        window_bits,
    };
    Agreement {
        client: direction,
        server: direction,
        threshold: 0,
        level: 6,
    }
}

fn connection(role: Role, agreement: &Agreement) -> Connection {
    deflating(&config(role), agreement, &Codecs::default())
}

fn deflating(config: &Config, agreement: &Agreement, codecs: &Codecs) -> Connection {
    let mut connection = Connection::new(config);
    connection.use_deflate(agreement, codecs.clone());
    connection
}

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

/// Text that compresses, but not to nothing.
fn json(length: usize) -> Vec<u8> {
    let mut state = 9u32;
    let mut text = String::new();
    while text.len() < length {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text += &format!(
            "{{\"id\":{},\"price\":\"{}\"}},",
            state >> 16,
            state >> 8 & 0xFFF
        );
    }
    text.truncate(length);
    text.into_bytes()
}

/// The header and the payload of each frame in `wire`, unmasked.
fn frames(wire: &[u8]) -> Vec<(bool, u8, Opcode, Vec<u8>)> {
    let mut rest = wire.to_vec();
    let mut found = Vec::new();
    while let Some((header, start)) = frame::parse_header(&rest).unwrap() {
        let mut payload = rest.split_off(start);
        rest = payload.split_off(header.payload_len as usize);
        if let Some(key) = header.mask {
            evws_proto::mask::apply(key, 0, &mut payload);
        }
        found.push((header.fin, header.rsv, header.opcode, payload));
    }
    found
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

#[test]
fn plain_and_compressed_messages_and_control_frames_mix() {
    let codecs = Codecs::default();
    for role in [Role::Client, Role::Server] {
        for no_context_takeover in [false, true] {
            let agreement = Agreement {
                threshold: 100,
                ..agreement(no_context_takeover, 15)
            };
            let other = if role == Role::Client {
                Role::Server
            } else {
                Role::Client
            };
            let mut sender = deflating(&config(role), &agreement, &codecs);
            let mut receiver = deflating(&config(other), &agreement, &codecs);
            let (long, short) = (json(5000), json(99));
            let mut wire = Vec::new();
            sender.send(FrameKind::Text, &long, KEY, &mut wire).unwrap();
            sender
                .send(FrameKind::Binary, &short, KEY, &mut wire)
                .unwrap();
            sender
                .send(
                    FrameKind::Fragment {
                        binary: true,
                        last: false,
                    },
                    &long,
                    KEY,
                    &mut wire,
                )
                .unwrap();
            sender.send(FrameKind::Ping, b"p", KEY, &mut wire).unwrap();
            sender
                .send(
                    FrameKind::Fragment {
                        binary: true,
                        last: false,
                    },
                    b"",
                    KEY,
                    &mut wire,
                )
                .unwrap();
            sender
                .send(
                    FrameKind::Fragment {
                        binary: true,
                        last: true,
                    },
                    &short,
                    KEY,
                    &mut wire,
                )
                .unwrap();
            sender
                .send(
                    FrameKind::Fragment {
                        binary: true,
                        last: false,
                    },
                    &short,
                    KEY,
                    &mut wire,
                )
                .unwrap();
            sender
                .send(
                    FrameKind::Fragment {
                        binary: true,
                        last: true,
                    },
                    &long,
                    KEY,
                    &mut wire,
                )
                .unwrap();
            sender.send(FrameKind::Text, &long, KEY, &mut wire).unwrap();
            let bits: Vec<u8> = frames(&wire).iter().map(|frame| frame.1).collect();
            assert_eq!(bits, [RSV1, 0, RSV1, 0, 0, 0, 0, 0, RSV1]);
            let text = Event::Text(long.clone());
            let expected = [
                text.clone(),
                Event::Binary(short.clone()),
                Event::Ping(b"p".to_vec()),
                Event::Binary([&long[..], &short].concat()),
                Event::Binary([&short[..], &long].concat()),
                text,
            ];
            let events: Vec<Event> = wire
                .chunks(700)
                .flat_map(|part| feed(&mut receiver, part))
                .collect();
            assert!(events == expected);
            assert_eq!(sender.holds_codec(), !no_context_takeover);
            assert_eq!(receiver.holds_codec(), !no_context_takeover);
        }
    }
}

#[test]
fn what_would_grow_goes_out_as_it_is_where_it_may() {
    let noise: Vec<u8> = json(400)
        .iter()
        .enumerate()
        .map(|(i, byte)| byte ^ (i * i * 131 % 251) as u8)
        .collect();
    for (no_context_takeover, threshold, rsv) in [
        // The window has moved on.
        (false, 1, RSV1),
        (true, 1, 0),
        // The program wants all compressed.
        (true, 0, RSV1),
    ] {
        let agreement = Agreement {
            threshold,
            ..agreement(no_context_takeover, 15)
        };
        let mut sender = connection(Role::Server, &agreement);
        let mut wire = Vec::new();
        sender
            .send(FrameKind::Binary, &noise, KEY, &mut wire)
            .unwrap();
        assert_eq!(frames(&wire)[0].1, rsv);
        let mut receiver = connection(Role::Client, &agreement);
        assert!(feed(&mut receiver, &wire) == [Event::Binary(noise.clone())]);
    }
}

#[test]
fn close_ends_a_compressed_message_as_it_must() {
    for no_context_takeover in [false, true] {
        let agreement = agreement(no_context_takeover, 15);
        let mut sender = connection(Role::Server, &agreement);
        let mut wire = Vec::new();
        sender
            .send(
                FrameKind::Fragment {
                    binary: false,
                    last: false,
                },
                b"half a message",
                KEY,
                &mut wire,
            )
            .unwrap();
        sender.close(Some(1000), b"", || KEY, &mut wire).unwrap();
        assert_eq!(frames(&wire)[1], (true, 0, Opcode::Continuation, vec![0]));
        let expected = [text("half a message"), Event::Close(Some(1000), Vec::new())];
        let mut receiver = connection(Role::Client, &agreement);
        assert_eq!(feed(&mut receiver, &wire), expected);
    }
}

#[test]
fn our_own_close_drops_a_compressed_message_half_way() {
    let mut client = connection(Role::Client, &agreement(false, 15));
    let mut wire = Vec::new();
    let mut server = connection(Role::Server, &agreement(false, 15));
    server
        .send(FrameKind::Text, &json(1000), KEY, &mut wire)
        .unwrap();
    server
        .send(FrameKind::Text, &json(1000), KEY, &mut wire)
        .unwrap();
    server.close(Some(1001), b"", || KEY, &mut wire).unwrap();
    assert_eq!(feed(&mut client, &wire[..50]), []);
    client
        .close(Some(1000), b"", || KEY, &mut Vec::new())
        .unwrap();
    assert!(!client.holds_codec());
    assert_eq!(
        feed(&mut client, &wire[50..]),
        [Event::Close(Some(1001), Vec::new())]
    );
}

#[test]
fn codecs_rest_between_messages_and_go_on_where_they_were() {
    for window_bits in 9..=15 {
        let agreement = agreement(false, window_bits);
        let codecs = Codecs::default();
        let mut server = deflating(&config(Role::Server), &agreement, &codecs);
        let mut client = deflating(&config(Role::Client), &agreement, &codecs);
        let mut history = Vec::new();
        for length in [300, 1, 5000, 40_000, 700] {
            let payload = json(length);
            let mut wire = Vec::new();
            server
                .send(FrameKind::Binary, &payload, KEY, &mut wire)
                .unwrap();
            assert!(feed(&mut client, &wire) == [Event::Binary(payload.clone())]);
            let compressed = [&frames(&wire)[0].3[..], &TAIL].concat();
            let (plain, farthest) = puff::inflate(&compressed, &history);
            assert!(plain == payload);
            assert!(farthest <= 1 << window_bits, "{farthest} at {window_bits}");
            history.extend(payload);
            // The receiver keeps the window alone, the sender keeps everything: the next message refers back.
            assert!(client.release_idle_codecs(), "it was just used");
            assert!(!client.release_idle_codecs());
            assert!(!client.holds_codec() && server.holds_codec());
        }
        // A sender that has rested begins anew, which needs no agreement.
        server.release_idle_codecs();
        assert!(!server.release_idle_codecs());
        let mut wire = Vec::new();
        server
            .send(FrameKind::Binary, &history, KEY, &mut wire)
            .unwrap();
        assert!(feed(&mut client, &wire) == [Event::Binary(history)]);
    }
}

#[test]
fn a_message_in_progress_keeps_its_codec() {
    for no_context_takeover in [false, true] {
        let agreement = agreement(no_context_takeover, 15);
        let mut server = connection(Role::Server, &agreement);
        let mut client = connection(Role::Client, &agreement);
        let (mut wire, part) = (Vec::new(), json(500));
        let expected = Event::Binary(part.repeat(4));
        for last in [false, false, false, true] {
            wire.clear();
            server
                .send(
                    FrameKind::Fragment { binary: true, last },
                    &part,
                    KEY,
                    &mut wire,
                )
                .unwrap();
            let events = feed(&mut client, &wire);
            assert!(events == if last { vec![expected.clone()] } else { vec![] });
            for end in [&mut server, &mut client] {
                end.release_idle_codecs();
                assert_eq!(end.release_idle_codecs(), !last);
            }
        }
    }
}

#[test]
fn a_window_that_zlib_cannot_keep_to_means_that_nothing_is_compressed() {
    let mut sender = connection(Role::Client, &agreement(false, 8));
    let mut wire = Vec::new();
    sender
        .send(FrameKind::Binary, &json(3000), KEY, &mut wire)
        .unwrap();
    assert_eq!(frames(&wire)[0].1, 0);
    let mut receiver = connection(Role::Server, &agreement(false, 8));
    assert!(feed(&mut receiver, &wire) == [Event::Binary(json(3000))]);
}

#[test]
fn shared_codecs_serve_many_connections_in_turn() {
    let codecs = Codecs::default();
    let agreement = agreement(true, 15);
    let mut ends: Vec<_> = (0..50)
        .map(|_| {
            let server = deflating(&config(Role::Server), &agreement, &codecs);
            let client = deflating(&config(Role::Client), &agreement, &codecs);
            (server, client)
        })
        .collect();
    for round in 0..4 {
        let mut wires = Vec::new();
        for (index, (server, _)) in ends.iter_mut().enumerate() {
            let mut wire = Vec::new();
            let part = json(200 + index);
            server
                .send(
                    FrameKind::Fragment {
                        binary: true,
                        last: round % 2 == 1,
                    },
                    &part,
                    KEY,
                    &mut wire,
                )
                .unwrap();
            wires.push(wire);
        }
        // All of their messages are in progress at the same time.
        for half in 0..2 {
            for ((index, (_, client)), wire) in ends.iter_mut().enumerate().zip(&wires) {
                let (first, second) = wire.split_at(wire.len() / 2);
                let events = feed(client, if half == 0 { first } else { second });
                let whole = round % 2 == 1 && half == 1;
                let expected = whole.then(|| Event::Binary(json(200 + index).repeat(2)));
                assert!(events.iter().eq(expected.iter()));
            }
        }
    }
    assert!(ends
        .iter()
        .all(|(server, client)| !server.holds_codec() && !client.holds_codec()));
}
