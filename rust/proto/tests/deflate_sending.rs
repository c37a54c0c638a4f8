//! Compressed messages between two connections: what is compressed, and how a message ends.

mod common;

use common::deflate::*;
use common::*;
use evws_proto::connection::FrameKind;
use evws_proto::deflate::{Agreement, Codecs};
use evws_proto::frame::{Opcode, RSV1};
use evws_proto::Role;

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
            // In Miri a kilobyte takes its time.
            let (length, portion) = if cfg!(miri) { (500, 70) } else { (5000, 700) };
            let (long, short) = (json(length), json(99));
            let mut wire = Vec::new();
            let mut send = |kind, payload: &[u8]| {
                sender.send(kind, payload, KEY, &mut wire).unwrap();
            };
            let part = |last| FrameKind::Fragment { binary: true, last };
            send(FrameKind::Text, &long);
            send(FrameKind::Binary, &short);
            send(part(false), &long);
            send(FrameKind::Ping, b"p");
            send(part(false), b"");
            send(part(true), &short);
            send(part(false), &short);
            send(part(true), &long);
            send(FrameKind::Text, &long);
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
                .chunks(portion)
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
fn a_compressed_message_that_is_cut_needs_no_codec() {
    let agreement = agreement(false, 15);
    let mut sender = connection(Role::Server, &agreement);
    let mut wire = Vec::new();
    let part = FrameKind::Fragment {
        binary: false,
        last: false,
    };
    sender
        .send(part, b"half a message", KEY, &mut wire)
        .unwrap();
    assert!(sender.holds_codec());
    sender.cut_message();
    assert!(!sender.holds_codec());
    sender.close(Some(1000), b"", || KEY, &mut wire).unwrap();
    assert_eq!(frames(&wire).len(), 2);
    let mut receiver = connection(Role::Client, &agreement);
    let expected = [Event::Close(Some(1000), Vec::new())];
    assert_eq!(feed(&mut receiver, &wire), expected);
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
