//! Round trips with every agreement, judged by an inflater that is not zlib's; and any bytes at all from a peer.

mod common;
#[path = "common/puff.rs"]
mod puff;

use common::*;
use evws_proto::connection::FrameKind;
use evws_proto::deflate::{Agreement, Codecs, Direction};
use evws_proto::frame::{self, Opcode, RSV1};
use evws_proto::{Config, Connection, Role};
use proptest::prelude::*;

/// A message: its fragments, and whether the ends rest before it.
type Message = (bool, Vec<Vec<u8>>, bool);

fn any_direction() -> impl Strategy<Value = Direction> {
    (any::<bool>(), 9u8..=15).prop_map(|(no_context_takeover, window_bits)| Direction {
        no_context_takeover,
        window_bits,
    })
}

fn any_agreement() -> impl Strategy<Value = Agreement> {
    let threshold = prop::sample::select(vec![0, 1, 50, 1000]);
    (any_direction(), any_direction(), threshold, 1u8..=9).prop_map(
        |(client, server, threshold, level)| Agreement {
            client,
            server,
            threshold,
            level,
        },
    )
}

/// By how much messages are smaller in Miri, where a kilobyte takes its time.
const SMALLER: usize = if cfg!(miri) { 20 } else { 1 };

/// From nothing to more than the largest window; with what repeats at every distance, and what does not.
fn any_part() -> impl Strategy<Value = Vec<u8>> {
    let noise = prop::collection::vec(any::<u8>(), 0..600 / SMALLER);
    let words = prop::collection::vec("[a-f]{1,3}", 0..400 / SMALLER)
        .prop_map(|words| words.concat().into_bytes());
    let long = (
        prop::collection::vec(any::<u8>(), 1..900 / SMALLER),
        1usize..80 / SMALLER,
    )
        .prop_map(|(piece, times)| piece.repeat(times));
    prop_oneof![3 => words, 2 => noise, 1 => long]
}

fn any_message() -> impl Strategy<Value = Message> {
    (
        any::<bool>(),
        prop::collection::vec(any_part(), 1..4),
        any::<bool>(),
    )
}

fn end(role: Role, agreement: &Agreement, codecs: &Codecs) -> Connection {
    let config = Config {
        validate_utf8: false,
        ..config(role)
    };
    let mut connection = Connection::new(&config);
    connection.use_deflate(agreement, codecs.clone());
    connection
}

fn send(sender: &mut Connection, binary: bool, parts: &[Vec<u8>]) -> Vec<u8> {
    let mut wire = Vec::new();
    match parts {
        [whole] => sender
            .send(FrameKind::message(binary), whole, KEY, &mut wire)
            .unwrap(),
        _ => {
            for (index, part) in parts.iter().enumerate() {
                let last = index + 1 == parts.len();
                sender
                    .send(FrameKind::Fragment { binary, last }, part, KEY, &mut wire)
                    .unwrap();
            }
        }
    }
    wire
}

/// The payload of the message in `wire`, and whether it is compressed.
fn payload(wire: &[u8]) -> (bool, Vec<u8>) {
    let (mut rest, mut whole, mut compressed) = (wire.to_vec(), Vec::new(), false);
    while let Some((header, start)) = frame::parse_header(&rest).unwrap() {
        let mut payload = rest.split_off(start);
        rest = payload.split_off(header.payload_len as usize);
        if let Some(key) = header.mask {
            evws_proto::mask::apply(key, 0, &mut payload);
        }
        compressed |= header.rsv == RSV1;
        whole.extend(payload);
    }
    (compressed, whole)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 192 }))]

    #[test]
    fn messages_survive_any_agreement(
        agreement in any_agreement(), from_client: bool,
        messages in prop::collection::vec(any_message(), 1..6), step in 1usize..3000 / SMALLER,
    ) {
        let (from, to) = if from_client { (Role::Client, Role::Server) } else { (Role::Server, Role::Client) };
        let direction = if from_client { agreement.client } else { agreement.server };
        let codecs = Codecs::default();
        let (mut sender, mut receiver) = (end(from, &agreement, &codecs), end(to, &agreement, &codecs));
        let mut history = Vec::new();
        for (binary, parts, rest) in messages {
            if rest {
                for end in [&mut sender, &mut receiver] {
                    end.release_idle_codecs();
                    prop_assert!(!end.release_idle_codecs() && !end.holds_codec());
                }
            }
            let wire = send(&mut sender, binary, &parts);
            let whole = parts.concat();
            let events: Vec<Event> = wire.chunks(step).flat_map(|part| feed(&mut receiver, part)).collect();
            let expected = if binary { Event::Binary(whole.clone()) } else { Event::Text(whole.clone()) };
            prop_assert!(events == [expected]);
            let (compressed, mut stream) = payload(&wire);
            let worth_it = parts[0].len() as u64 >= agreement.threshold.max(1);
            prop_assert!(!compressed || worth_it);
            if compressed {
                stream.extend([0, 0, 0xFF, 0xFF]);
                let known: &[u8] = if direction.no_context_takeover { &[] } else { &history };
                let (inflated, farthest) = puff::inflate(&stream, known);
                prop_assert!(inflated == whole);
                prop_assert!(farthest <= 1 << direction.window_bits);
                history.extend(whole);
            } else if worth_it {
                prop_assert!(direction.no_context_takeover && parts.len() == 1);
                prop_assert_eq!(stream, whole);
            }
        }
    }

    #[test]
    fn any_bytes_are_an_event_or_nothing(
        no_context_takeover: bool, noise in prop::collection::vec(any::<u8>(), 0..300),
        good in any_part(), at: prop::sample::Index, byte: u8, step in 1usize..40,
    ) {
        let direction = Direction { no_context_takeover, window_bits: 15 };
        let agreement = Agreement { client: direction, server: direction, threshold: 0, level: 1 };
        let codecs = Codecs::default();
        let mut sender = end(Role::Server, &agreement, &codecs);
        let (_, mut broken) = payload(&send(&mut sender, true, &[good]));
        if !broken.is_empty() {
            let at = at.index(broken.len());
            broken[at] = byte;
        }
        for payload in [broken, noise] {
            let mut wire = Vec::new();
            frame::encode_with(true, RSV1, Opcode::Binary, &payload, None, &mut wire);
            wire.extend(wire.clone());
            let mut limited = Connection::new(&Config { max_message_size: 100_000, ..config(Role::Client) });
            limited.use_deflate(&agreement, codecs.clone());
            for part in wire.chunks(step) {
                for event in feed(&mut limited, part) {
                    let is_allowed = match event {
                        Event::Binary(whole) => whole.len() <= 100_000,
                        Event::Failed(code, _) => matches!(code, 1007 | 1009),
                        _ => false,
                    };
                    prop_assert!(is_allowed);
                }
                limited.release_idle_codecs();
            }
        }
    }
}
