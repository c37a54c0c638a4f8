//! Codecs: kept while they are needed, given back, shared.

mod common;
#[path = "common/puff.rs"]
mod puff;

use common::deflate::*;
use common::*;
use evws_proto::connection::FrameKind;
use evws_proto::deflate::Codecs;
use evws_proto::frame::{self, Opcode, RSV1};
use evws_proto::Role;
use flate2::{Compress, Compression, FlushCompress};

#[test]
fn codecs_rest_between_messages_and_go_on_where_they_were() {
    // In Miri a kilobyte takes its time.
    let (largest, lengths) = if cfg!(miri) {
        (9, &[300, 1, 700][..])
    } else {
        (15, &[300, 1, 5000, 40_000, 700][..])
    };
    for window_bits in 9..=largest {
        let agreement = agreement(false, window_bits);
        let codecs = Codecs::default();
        let mut server = deflating(&config(Role::Server), &agreement, &codecs);
        let mut client = deflating(&config(Role::Client), &agreement, &codecs);
        let mut history = Vec::new();
        for &length in lengths {
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
fn shared_codecs_serve_many_connections_in_turn() {
    let codecs = Codecs::default();
    let agreement = agreement(true, 15);
    let mut ends: Vec<_> = (0..if cfg!(miri) { 3 } else { 50 })
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

/// Who ends streams all the time is not given the window each time, and then less is there to refer to, and to keep, than
/// the message has. The next one is understood all the same.
#[test]
fn a_window_that_was_not_given_is_not_kept_either() {
    let stream = |payload: &[u8]| {
        let mut compressor = Compress::new(Compression::best(), false);
        let mut out = Vec::with_capacity(1000);
        compressor
            .compress_vec(payload, &mut out, FlushCompress::Sync)
            .unwrap();
        out
    };
    let message = |compressed: &[u8]| {
        let mut wire = Vec::new();
        frame::encode_with(true, RSV1, Opcode::Binary, compressed, None, &mut wire);
        wire
    };
    let cut = |mut compressed: Vec<u8>| {
        compressed.truncate(compressed.len() - TAIL.len());
        compressed
    };
    let mut client = connection(Role::Client, &agreement(false, 15));
    // A whole window; in Miri, where a kilobyte takes its time, a part of it.
    let window = vec![b'a'; if cfg!(miri) { 1000 } else { 32768 }];
    // Empty blocks with BFINAL.
    let ends = b"\x03\x00".repeat(4);
    let first = [stream(&window), ends, cut(stream(b"x"))].concat();
    let expected = [&window[..], b"x"].concat();
    assert!(feed(&mut client, &message(&first)) == [Event::Binary(expected)]);
    client.release_idle_codecs();
    assert!(!client.release_idle_codecs());
    let second = message(&cut(stream(b"y")));
    assert_eq!(feed(&mut client, &second), [binary(b"y")]);
}
