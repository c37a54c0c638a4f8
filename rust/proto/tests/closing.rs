//! The closing handshake (RFC 6455 section 7).

mod common;

use common::*;
use evws_proto::connection::FrameKind;
use evws_proto::frame::Opcode;
use evws_proto::{Config, Connection, FrameError, ReadyState, Role};

fn close(connection: &mut Connection, code: Option<u16>, reason: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    connection.close(code, reason, || KEY, &mut out).unwrap();
    out
}

#[test]
fn either_end_may_begin() {
    for role in [Role::Client, Role::Server] {
        let mut pair = Pair::new();
        let events = pair.say(role, |end, out| {
            end.close(Some(1001), b"bye", || KEY, out).unwrap()
        });
        assert_eq!(events, [Event::Close(Some(1001), b"bye".to_vec())]);
        let (first, second) = match role {
            Role::Client => (&mut pair.client, &mut pair.server),
            Role::Server => (&mut pair.server, &mut pair.client),
        };
        assert_eq!(first.state(), ReadyState::CloseSent);
        assert_eq!(second.state(), ReadyState::Closed);
        assert!(!second.close_sent());
        let mut out = Vec::new();
        assert_eq!(
            second.send(FrameKind::Binary, b"", KEY, &mut out),
            Err(FrameError::NotOpen)
        );
        let answer = close(second, Some(1001), b"");
        assert!(second.close_sent());
        assert_eq!(feed(first, &answer), [Event::Close(Some(1001), Vec::new())]);
        assert_eq!(first.state(), ReadyState::Closed);
    }
}

/// Whoever does not know the end of a message cannot have the peer take a part of it for the whole.
#[test]
fn a_message_that_is_cut_is_none() {
    let mut pair = Pair::new();
    let events = pair.say(Role::Server, |end, out| {
        let part = FrameKind::Fragment {
            binary: false,
            last: false,
        };
        end.send(part, b"half", KEY, out).unwrap();
        end.cut_message();
        assert!(!end.fragment_in_progress());
        end.close(Some(1001), b"", || KEY, out).unwrap();
    });
    assert_eq!(events, [Event::Close(Some(1001), Vec::new())]);
}

#[test]
fn every_close_payload_arrives() {
    for role in [Role::Client, Role::Server] {
        for (payload, expected) in [
            (&b""[..], Event::Close(None, Vec::new())),
            (b"\x03\xE8", Event::Close(Some(1000), Vec::new())),
            (b"\x0B\xB8ok", Event::Close(Some(3000), b"ok".to_vec())),
            (
                &[&b"\x13\x87"[..], &[b'r'; 123]].concat(),
                Event::Close(Some(4999), vec![b'r'; 123]),
            ),
        ] {
            assert_every_way(
                &config(role),
                &frame_to(role, true, Opcode::Close, payload),
                &[expected],
            );
        }
    }
}

#[test]
fn what_came_before_a_close_is_delivered_and_what_comes_after_is_not() {
    let wire = [
        frame_to(Role::Server, true, Opcode::Text, b"last"),
        frame_to(Role::Server, true, Opcode::Close, b"\x03\xE8"),
        frame_to(Role::Server, true, Opcode::Text, b"late"),
        b"garbage".to_vec(),
    ];
    let expected = [text("last"), Event::Close(Some(1000), Vec::new())];
    assert_every_way(&config(Role::Server), &wire.concat(), &expected);
}

#[test]
fn a_close_may_stand_between_fragments() {
    let wire = [
        frame_to(Role::Client, false, Opcode::Text, b"never "),
        frame_to(Role::Client, true, Opcode::Close, b"\x03\xE9"),
        frame_to(Role::Client, true, Opcode::Continuation, b"finished"),
    ];
    assert_every_way(
        &config(Role::Client),
        &wire.concat(),
        &[Event::Close(Some(1001), Vec::new())],
    );
}

#[test]
fn a_close_ends_our_fragmented_message() {
    let mut pair = Pair::new();
    let events = pair.say(Role::Client, |client, out| {
        client
            .send(
                FrameKind::Fragment {
                    binary: false,
                    last: false,
                },
                b"half",
                KEY,
                out,
            )
            .unwrap();
        client
            .close(Some(4000), "\u{e9}".repeat(100).as_bytes(), || KEY, out)
            .unwrap();
        assert!(!client.fragment_in_progress());
    });
    assert_eq!(
        events,
        [
            text("half"),
            Event::Close(Some(4000), "\u{e9}".repeat(61).into_bytes())
        ]
    );
}

#[test]
fn messages_after_our_close_are_dropped_until_the_peers_close() {
    let wire = [
        frame_to(Role::Server, true, Opcode::Text, b"dropped"),
        frame_to(Role::Server, true, Opcode::Text, b"\xFF not even checked"),
        frame_to(Role::Server, false, Opcode::Binary, &[1; 300]),
        frame_to(Role::Server, true, Opcode::Ping, b"?"),
        frame_to(Role::Server, true, Opcode::Continuation, &[1; 300]),
        frame_to(Role::Server, true, Opcode::Close, b"\x03\xE8"),
    ]
    .concat();
    let expected = [
        Event::Ping(b"?".to_vec()),
        Event::Close(Some(1000), Vec::new()),
    ];
    for cut in every_place(wire.len()) {
        let mut server = Connection::new(&config(Role::Server));
        close(&mut server, None, b"");
        let mut events = feed(&mut server, &wire[..cut]);
        assert_eq!(server.payload_wanted(), 0);
        events.extend(feed(&mut server, &wire[cut..]));
        assert_eq!(events, expected, "split at {cut}");
        assert_eq!(server.take_message(), None);
    }
}

#[test]
fn what_is_dropped_may_be_of_any_size() {
    let limited = Config {
        max_message_size: 10,
        ..config(Role::Server)
    };
    let mut server = Connection::new(&limited);
    close(&mut server, Some(1000), b"");
    let wire = [
        frame_to(Role::Server, true, Opcode::Binary, &[1; 100_000]),
        frame_to(Role::Server, true, Opcode::Close, b"\x03\xE8"),
    ];
    let expected = [Event::Close(Some(1000), Vec::new())];
    assert_eq!(feed(&mut server, &wire.concat()), expected);
}

#[test]
fn our_close_may_come_at_any_byte_of_a_message() {
    let wire = [
        frame_to(Role::Server, false, Opcode::Text, &[b'a'; 40]),
        frame_to(Role::Server, true, Opcode::Ping, &[b'p'; 10]),
        frame_to(Role::Server, true, Opcode::Continuation, &[b'b'; 40]),
        frame_to(Role::Server, true, Opcode::Close, b"\x03\xE8"),
    ]
    .concat();
    let whole_message = wire.len() - 8;
    for cut in every_place(wire.len() - 1) {
        let mut server = Connection::new(&config(Role::Server));
        let mut events = feed(&mut server, &wire[..cut]);
        close(&mut server, Some(1000), b"");
        assert_eq!(server.payload_wanted(), 0);
        events.extend(feed(&mut server, &wire[cut..]));
        let messages = events
            .iter()
            .filter(|event| matches!(event, Event::Text(_)))
            .count();
        assert_eq!(
            messages,
            usize::from(cut >= whole_message),
            "closed at byte {cut}"
        );
        assert_eq!(
            events
                .iter()
                .filter(|event| matches!(event, Event::Ping(_)))
                .count(),
            1
        );
        assert_eq!(events.last(), Some(&Event::Close(Some(1000), Vec::new())));
        assert_eq!(server.state(), ReadyState::Closed);
    }
}

#[test]
fn a_failed_connection_can_still_say_why() {
    let mut server = Connection::new(&config(Role::Server));
    let events = feed(&mut server, b"\x83\x80");
    assert!(matches!(events[..], [Event::Failed(1002, _)]));
    assert_eq!(server.state(), ReadyState::Closed);
    assert_eq!(
        close(&mut server, Some(1002), b"why"),
        b"\x88\x05\x03\xEAwhy"
    );
    assert_eq!(
        feed(
            &mut server,
            &frame_to(Role::Server, true, Opcode::Text, b"more")
        ),
        []
    );
}
