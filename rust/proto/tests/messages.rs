//! Messages, fragments, control frames and limits between two connections in memory.

mod common;

use common::*;
use evws_proto::connection::FrameKind;
use evws_proto::frame::Opcode;
use evws_proto::{Config, Connection, ReadyState, Received, Role};

const BOTH: [Role; 2] = [Role::Client, Role::Server];

fn peer_of(role: Role) -> Role {
    match role {
        Role::Client => Role::Server,
        Role::Server => Role::Client,
    }
}

/// What the peer of `receiver` puts on the wire.
fn sent_to(receiver: Role, say: impl FnOnce(&mut Connection, &mut Vec<u8>)) -> Vec<u8> {
    let mut wire = Vec::new();
    say(&mut Connection::new(&config(peer_of(receiver))), &mut wire);
    wire
}

#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn messages_of_every_length_class_arrive() {
    for role in BOTH {
        for length in [0, 1, 2, 125, 126, 127, 65535, 65536] {
            let payload: Vec<u8> = (0..length).map(|i| b'a' + (i % 23) as u8).collect();
            let wire = sent_to(role, |peer, out| {
                peer.send(FrameKind::Binary, &payload, KEY, out).unwrap();
                peer.send(FrameKind::Text, &payload, KEY, out).unwrap();
            });
            let expected = [Event::Binary(payload.clone()), Event::Text(payload)];
            assert_every_way(&config(role), &wire, &expected);
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn many_messages_in_one_portion_arrive_in_order() {
    for role in BOTH {
        let payloads: Vec<Vec<u8>> = (0..200).map(|i| vec![i as u8; i % 7]).collect();
        let wire = sent_to(role, |peer, out| {
            payloads
                .iter()
                .for_each(|payload| peer.send(FrameKind::Binary, payload, KEY, out).unwrap());
        });
        let expected: Vec<Event> = payloads.into_iter().map(Event::Binary).collect();
        assert_every_way(&config(role), &wire, &expected);
    }
}

/// Whole messages are delivered without their headers being looked at further: who observes sees those too, every
/// fragment, and what is consumed after our own Close.
#[test]
fn an_observer_sees_the_header_of_every_frame() {
    let wire = sent_to(Role::Server, |peer, out| {
        peer.send(FrameKind::Text, b"abc", KEY, out).unwrap();
        let (binary, last) = (true, false);
        peer.send(FrameKind::Fragment { binary, last }, &[0; 300], KEY, out)
            .unwrap();
        peer.send(FrameKind::Ping, b"?", KEY, out).unwrap();
        let (binary, last) = (true, true);
        peer.send(FrameKind::Fragment { binary, last }, b"", KEY, out)
            .unwrap();
        peer.close(Some(1000), b"", || KEY, out).unwrap();
    });
    let expected = [
        "text, FIN, masked, 3 bytes",
        "binary, masked, 300 bytes",
        "ping, FIN, masked, 1 bytes",
        "continuation, FIN, masked, 0 bytes",
        "close, FIN, masked, 2 bytes",
    ];
    for closes in [false, true] {
        let mut server = Connection::new(&config(Role::Server));
        if closes {
            server.close(None, b"", || KEY, &mut Vec::new()).unwrap();
        }
        let (mut wire, mut headers, mut at) = (wire.clone(), Vec::new(), 0);
        while at < wire.len() {
            at += server.receive_observed(&mut wire[at..], &mut headers).0;
        }
        let shown: Vec<String> = headers.iter().map(ToString::to_string).collect();
        assert_eq!(shown, expected);
    }
}

#[test]
fn control_frames_stand_between_fragments() {
    for role in BOTH {
        let wire = sent_to(role, |peer, out| {
            peer.send(
                FrameKind::Fragment {
                    binary: false,
                    last: false,
                },
                "gr\u{fc}".as_bytes(),
                KEY,
                out,
            )
            .unwrap();
            peer.send(FrameKind::Ping, b"are you there", KEY, out)
                .unwrap();
            peer.send(
                FrameKind::Fragment {
                    binary: true,
                    last: false,
                },
                b"",
                KEY,
                out,
            )
            .unwrap();
            peer.send(FrameKind::Pong, b"", KEY, out).unwrap();
            peer.send(FrameKind::Pong, &[0xFF; 125], KEY, out).unwrap();
            peer.send(
                FrameKind::Fragment {
                    binary: true,
                    last: true,
                },
                "\u{df}e".as_bytes(),
                KEY,
                out,
            )
            .unwrap();
            peer.send(FrameKind::Binary, b"next", KEY, out).unwrap();
        });
        let expected = [
            Event::Ping(b"are you there".to_vec()),
            Event::Pong(Vec::new()),
            Event::Pong(vec![0xFF; 125]),
            text("gr\u{fc}\u{df}e"),
            binary(b"next"),
        ];
        assert_every_way(&config(role), &wire, &expected);
    }
}

#[test]
fn a_character_may_be_spread_over_fragments() {
    let face = "\u{1f600}".as_bytes();
    let wire = sent_to(Role::Server, |client, out| {
        for (index, byte) in face.iter().enumerate() {
            client
                .send(
                    FrameKind::Fragment {
                        binary: false,
                        last: index == 3,
                    },
                    &[*byte],
                    KEY,
                    out,
                )
                .unwrap();
        }
        client
            .send(
                FrameKind::Fragment {
                    binary: false,
                    last: false,
                },
                b"",
                KEY,
                out,
            )
            .unwrap();
        client
            .send(
                FrameKind::Fragment {
                    binary: false,
                    last: true,
                },
                b"",
                KEY,
                out,
            )
            .unwrap();
    });
    assert_every_way(&config(Role::Server), &wire, &[text("\u{1f600}"), text("")]);
}

#[test]
fn control_payloads_are_cut_to_125_bytes() {
    let mut pair = Pair::new();
    let ping = pair.say(Role::Client, |client, out| {
        client.send(FrameKind::Ping, &[7; 300], KEY, out).unwrap()
    });
    assert_eq!(ping, [Event::Ping(vec![7; 125])]);
    let pong = pair.say(Role::Server, |server, out| {
        server.send(FrameKind::Pong, &[7; 126], KEY, out).unwrap()
    });
    assert_eq!(pong, [Event::Pong(vec![7; 125])]);
}

#[test]
fn invalid_text_fails_at_its_first_impossible_byte() {
    for role in BOTH {
        for (valid, bad) in [
            ("", 0xFF),
            ("plain ", 0xC0),
            ("\u{e9}\u{20ac}", 0x80),
            (&*"long ".repeat(50), 0xF5),
        ] {
            let mut payload = valid.as_bytes().to_vec();
            payload.push(bad);
            // The frame is longer than what has arrived of it.
            let claimed = [&payload[..], &[b'x'; 1000]].concat();
            let frame = frame_to(role, false, Opcode::Text, &claimed);
            let until_bad = frame.len() - 1000;
            for cuts in [vec![], (1..until_bad - 1).collect()] {
                let before = feed_cut(
                    Connection::new(&config(role)),
                    &frame[..until_bad - 1],
                    &cuts,
                );
                assert_eq!(before, [], "nothing before the bad byte");
                let events = feed_cut(Connection::new(&config(role)), &frame[..until_bad], &cuts);
                assert!(
                    matches!(events[..], [Event::Failed(1007, _)]),
                    "{valid:?}: {events:?}"
                );
            }
        }
    }
}

#[test]
fn text_that_ends_inside_a_character_fails() {
    let failed = [Event::Failed(
        1007,
        "peer sent a text message that is not UTF-8 (RFC 6455 section 8.1)",
    )];
    let whole = frame_to(Role::Server, true, Opcode::Text, b"\xE2\x82");
    assert_every_way(&config(Role::Server), &whole, &failed);
    let fragments = [
        frame_to(Role::Server, false, Opcode::Text, b"\xE2\x82"),
        frame_to(Role::Server, true, Opcode::Continuation, b""),
    ];
    assert_every_way(&config(Role::Server), &fragments.concat(), &failed);
}

#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn long_text_is_checked_to_its_end() {
    const LENGTH: usize = 100_000;
    let failed = Event::Failed(
        1007,
        "peer sent a text message that is not UTF-8 (RFC 6455 section 8.1)",
    );
    for role in BOTH {
        // Characters of three bytes, shifted, so that some lie across any border of an inner portion.
        for shift in 0..3 {
            let mut payload = "x".repeat(shift).into_bytes();
            payload.extend("\u{20ac}".repeat(LENGTH / 3).bytes());
            let wire = frame_to(role, true, Opcode::Text, &payload);
            let whole = feed_cut(Connection::new(&config(role)), &wire, &[]);
            assert!(
                whole == [Event::Text(payload.clone())],
                "shifted by {shift}"
            );
            let cut_short = frame_to(role, true, Opcode::Text, &payload[..payload.len() - 1]);
            let events = feed_cut(Connection::new(&config(role)), &cut_short, &[]);
            assert!(events == [failed.clone()], "a cut character at the end");
            for bad in [0, 16_383, 16_384, 50_000, payload.len() - 1] {
                let mut broken = payload.clone();
                broken[bad] = 0xFF;
                let events = feed_cut(
                    Connection::new(&config(role)),
                    &frame_to(role, true, Opcode::Text, &broken),
                    &[],
                );
                assert!(events == [failed.clone()], "a bad byte at {bad}");
            }
        }
    }
}

#[test]
fn text_is_not_checked_if_that_is_not_wanted() {
    let lenient = Config {
        validate_utf8: false,
        ..config(Role::Server)
    };
    let wire = [
        frame_to(Role::Server, true, Opcode::Text, b"\xFF"),
        frame_to(Role::Server, false, Opcode::Text, b"\xE2"),
        frame_to(Role::Server, true, Opcode::Continuation, b"\xE2"),
        frame_to(Role::Server, true, Opcode::Close, b"\x03\xE8\xFF"),
    ];
    let expected = [
        Event::Text(b"\xFF".to_vec()),
        Event::Text(b"\xE2\xE2".to_vec()),
        Event::Close(Some(1000), b"\xFF".to_vec()),
    ];
    assert_every_way(&lenient, &wire.concat(), &expected);
}

#[test]
fn binary_messages_may_hold_anything() {
    let payload: Vec<u8> = (0..=255).rev().collect();
    let wire = [
        frame_to(Role::Client, false, Opcode::Binary, &payload[..100]),
        frame_to(Role::Client, true, Opcode::Continuation, &payload[100..]),
    ];
    assert_every_way(
        &config(Role::Client),
        &wire.concat(),
        &[Event::Binary(payload)],
    );
}

#[test]
fn a_message_may_be_as_large_as_the_limit() {
    let limited = Config {
        max_message_size: 10,
        ..config(Role::Server)
    };
    let wire = [
        frame_to(Role::Server, true, Opcode::Binary, &[1; 10]),
        frame_to(Role::Server, false, Opcode::Binary, &[2; 5]),
        frame_to(Role::Server, true, Opcode::Continuation, &[2; 5]),
        frame_to(Role::Server, true, Opcode::Ping, &[3; 100]),
    ];
    let expected = [
        binary(&[1; 10]),
        binary(&[2; 10]),
        Event::Ping(vec![3; 100]),
    ];
    assert_every_way(&limited, &wire.concat(), &expected);
}

/// A million frames without payload were one message, which had no size that a limit could be for.
#[test]
fn a_message_may_come_in_as_many_frames_as_the_limit() {
    let limited = Config {
        max_fragments: 3,
        ..config(Role::Server)
    };
    let part = |last, opcode| frame_to(Role::Server, last, opcode, b"");
    let (first, more) = (part(false, Opcode::Text), part(false, Opcode::Continuation));
    let ping = part(true, Opcode::Ping);
    let allowed = [
        part(true, Opcode::Text),
        first.clone(),
        ping.clone(),
        more.clone(),
        ping.clone(),
        part(true, Opcode::Continuation),
        first.clone(),
        more.clone(),
        more.clone(),
    ]
    .concat();
    let messages = [
        text(""),
        Event::Ping(Vec::new()),
        Event::Ping(Vec::new()),
        text(""),
    ];
    assert_every_way(&limited, &allowed, &messages);
    for one_more in [part(true, Opcode::Continuation), more] {
        let wire = [&allowed[..], &one_more].concat();
        let mut events = messages.to_vec();
        events.push(Event::Failed(1009, "message exceeds max_fragments"));
        assert_every_way(&limited, &wire, &events);
    }
}

#[test]
fn the_limit_is_enforced_by_the_header() {
    let limited = Config {
        max_message_size: 10,
        ..config(Role::Server)
    };
    let too_big = Event::Failed(1009, "message exceeds max_message_size");
    // No byte of the payload is there.
    let header = &frame_to(Role::Server, true, Opcode::Text, &[b'a'; 11])[..6];
    assert_every_way(&limited, header, std::slice::from_ref(&too_big));
    let fragments = [
        frame_to(Role::Server, false, Opcode::Text, &[b'a'; 6]),
        frame_to(Role::Server, false, Opcode::Continuation, &[b'a'; 5])[..6].to_vec(),
    ];
    assert_every_way(
        &limited,
        &fragments.concat(),
        std::slice::from_ref(&too_big),
    );
    let claim = b"\x82\xFF\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01\x02\x03\x04";
    assert_every_way(&limited, claim, &[too_big]);
}

#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn a_claim_alone_reserves_little() {
    let mut server = Connection::new(&config(Role::Server));
    assert_eq!(
        feed(
            &mut server,
            b"\x82\xFF\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01\x02\x03\x04"
        ),
        []
    );
    assert_eq!(server.payload_wanted(), i64::MAX as u64);
    let mut arrived = 0;
    while arrived < 3 << 20 {
        let buffer = server.payload_buffer().unwrap();
        assert_eq!(buffer.len(), arrived);
        assert!(
            buffer.capacity() <= arrived * 2 + (arrived.max(1024) * 16).min(512 << 10) + 1,
            "{} for {arrived}",
            buffer.capacity()
        );
        let count = (buffer.capacity() - buffer.len()).min(100_000);
        buffer.resize(arrived + count, 0);
        arrived += count;
        assert_eq!(server.payload_received(count), Received::NeedMore);
    }
    // A second endless message behind what is there must not overflow any sum.
    assert_eq!(feed(&mut server, &[0; 1000]), []);
    assert_eq!(
        server.payload_wanted(),
        i64::MAX as u64 - arrived as u64 - 1000
    );
}

#[test]
fn lengths_that_add_up_beyond_all_memory_are_too_big() {
    let endless = b"\x00\x7F\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF";
    let wire = [&b"\x02\x01a"[..], endless].concat();
    let events = feed_cut(Connection::new(&config(Role::Client)), &wire, &[]);
    assert_eq!(
        events,
        [Event::Failed(1009, "message exceeds max_message_size")]
    );
}

#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn an_assembled_message_is_taken_with_room_for_one_byte() {
    for length in [1usize, 100, 70_000, 300_000, 1 << 20] {
        let wire = frame_to(Role::Server, true, Opcode::Binary, &vec![9; length]);
        let mut server = Connection::new(&config(Role::Server));
        for portion in wire.chunks(wire.len() / 3 + 1) {
            feed(&mut server, portion);
        }
        let message = server.take_message().expect("it came in portions");
        assert_eq!(message, vec![9; length]);
        assert!(message.capacity() > length);
        assert!(
            message.capacity() <= length * 2 + 16,
            "{} for {length}",
            message.capacity()
        );
        assert_eq!(server.take_message(), None);
    }
}

#[test]
fn an_unfinished_message_cannot_be_taken() {
    let mut server = Connection::new(&config(Role::Server));
    feed(
        &mut server,
        &frame_to(Role::Server, false, Opcode::Binary, b"abc"),
    );
    assert_eq!(server.take_message(), None);
    let rest = feed(
        &mut server,
        &frame_to(Role::Server, true, Opcode::Continuation, b"def"),
    );
    assert_eq!(rest, [binary(b"abcdef")]);
}

#[test]
fn direct_reading_stops_at_the_end_of_the_frame() {
    let mut server = Connection::new(&config(Role::Server));
    assert_eq!(server.payload_wanted(), 0);
    assert!(server.payload_buffer().is_none());
    let frame = frame_to(Role::Server, false, Opcode::Binary, &[1; 50]);
    feed(&mut server, &frame[..20]);
    assert_eq!(server.payload_wanted(), 36);
    server
        .payload_buffer()
        .unwrap()
        .extend_from_slice(&frame[20..]);
    assert_eq!(server.payload_received(36), Received::NeedMore);
    assert_eq!(server.payload_wanted(), 0);
    // A control frame is no part of the message.
    feed(
        &mut server,
        &frame_to(Role::Server, true, Opcode::Ping, &[2; 50])[..20],
    );
    assert_eq!(server.payload_wanted(), 0);
    assert!(server.payload_buffer().is_none());
    assert_eq!(server.state(), ReadyState::Open);
}

// A program may close between reading and counting what was read: that is no framing error. The
// bytes are thrown away, and the peer's Close behind them is still found.
#[test]
fn a_close_between_direct_reading_and_its_end() {
    let mut server = Connection::new(&config(Role::Server));
    let frame = frame_to(Role::Server, true, Opcode::Binary, &[1; 50]);
    feed(&mut server, &frame[..20]);
    server
        .payload_buffer()
        .unwrap()
        .extend_from_slice(&frame[20..40]);
    let mut out = Vec::new();
    server.close(Some(1000), b"", || [0; 4], &mut out).unwrap();
    assert_eq!(server.payload_received(20), Received::NeedMore);
    let close = frame_to(Role::Server, true, Opcode::Close, &[3, 232]);
    let events = feed(&mut server, &[&frame[40..], &close[..]].concat());
    assert_eq!(events, [Event::Close(Some(1000), Vec::new())]);
    assert_eq!(server.state(), ReadyState::Closed);
}
