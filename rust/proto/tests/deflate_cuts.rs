//! Compressed messages that are cut short, and the order in which what is wrong with one is found.

mod common;
#[path = "common/puff.rs"]
mod puff;

use common::deflate::{agreement, deflating, noise, numbers};
use common::*;
use evws_proto::deflate::Codecs;
use evws_proto::frame::{self, Opcode, RSV1};
use evws_proto::{Config, Connection, Role};
use proptest::prelude::*;
use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Strategy as Manner};

const INVALID: &str =
    "peer sent a compressed message that is no deflate data (RFC 7692 section 7.2.2)";
const NOT_UTF8: &str = "peer sent a text message that is not UTF-8 (RFC 6455 section 8.1)";
const TOO_BIG: &str = "message exceeds max_message_size";

fn client(no_context_takeover: bool, max_message_size: u64) -> Connection {
    let limited = Config {
        max_message_size,
        ..config(Role::Client)
    };
    let agreement = agreement(no_context_takeover, 15);
    deflating(&limited, &agreement, &Codecs::default())
}

fn compressed(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    frame::encode_with(true, RSV1, opcode, payload, None, &mut wire);
    wire
}

/// Letters and punctuation, which need dynamic codes of many lengths.
fn letters(length: usize) -> Vec<u8> {
    let alphabet = b"abcdefghijkl, .";
    let pick = |number: u32| alphabet[number as usize % alphabet.len()];
    numbers(1).map(pick).take(length).collect()
}

/// Each part of `parts`, compressed up to `flush`.
fn compress(level: i32, bits: i32, manner: Manner, parts: &[(&[u8], DeflateFlush)]) -> Vec<u8> {
    let mut deflate = Deflate::new_with_config(DeflateConfig {
        level,
        window_bits: -bits,
        strategy: manner,
        ..DeflateConfig::default()
    });
    let mut out = Vec::new();
    let mut room = vec![0; 50_000];
    for (part, flush) in parts {
        let before = deflate.total_out();
        deflate.compress(part, &mut room, *flush).unwrap();
        out.extend(&room[..(deflate.total_out() - before) as usize]);
        if *flush == DeflateFlush::Finish {
            deflate.reset();
        }
    }
    out
}

/// How much a message may deliver whose compressed bytes are the first `cut` of a stream with these blocks. `None`: it
/// ends where none may end.
fn allowed(blocks: &[puff::Block], cut: usize) -> Option<usize> {
    let mut before = 0;
    if cut == 0 {
        return Some(0);
    }
    for block in blocks {
        let header = (block.start + 3).div_ceil(8);
        let is_empty = block.length == before;
        if block.stored && header == cut {
            return Some(before);
        }
        let tail_is_left_on = block.stored && is_empty && block.end == cut * 8;
        if tail_is_left_on || block.last && block.end.div_ceil(8) == cut {
            return Some(block.length);
        }
        before = block.length;
    }
    None
}

// 190 of 1,677 cuts of one message of 3,000 letters were delivered, with a few octets at the end that nobody had sent:
// the tail that a receiver adds had gone for codes of the block that was cut.
#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn a_message_that_is_cut_is_not_delivered() {
    use DeflateFlush::{Finish, NoFlush, PartialFlush, SyncFlush};
    let (letters, noise) = (letters(3000), noise(700));
    let mut streams = Vec::new();
    for (level, bits, manner) in [
        (0, 15, Manner::Default),
        (1, 15, Manner::Default),
        (2, 9, Manner::Default),
        (4, 12, Manner::Default),
        (6, 9, Manner::Default),
        (6, 15, Manner::Filtered),
        (6, 15, Manner::HuffmanOnly),
        (1, 15, Manner::Rle),
        (6, 15, Manner::Fixed),
        (9, 15, Manner::Default),
    ] {
        let one = |plain| compress(level, bits, manner, &[(plain, SyncFlush)]);
        streams.push(one(if level == 9 {
            &letters
        } else {
            &letters[..900]
        }));
        streams.push(one(&letters[..20]));
        streams.push(one(&noise[..200]));
        let several = [
            (&letters[..200], SyncFlush),
            (&noise[..50], PartialFlush),
            (&letters[700..900], Finish),
            (&letters[900..901], Finish),
            (&b""[..], Finish),
            (&noise[50..100], NoFlush),
            (&letters[..40], SyncFlush),
        ];
        streams.push(compress(level, bits, manner, &several));
    }
    let mut delivered = 0;
    for (number, stream) in streams.iter().enumerate() {
        let (blocks, plain) = puff::blocks(stream);
        for cut in 0..=stream.len() {
            let expected = match allowed(&blocks, cut) {
                Some(length) => binary(&plain[..length]),
                None => Event::Failed(1007, INVALID),
            };
            delivered += usize::from(matches!(expected, Event::Binary(_)));
            for no_context_takeover in [true, false] {
                // What came before is of no importance, but it is there to be referred to.
                let mut client = client(no_context_takeover, 0);
                let first = compressed(Opcode::Binary, &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0]);
                assert_eq!(feed(&mut client, &first), [binary(b"Hello")]);
                let events = feed(&mut client, &compressed(Opcode::Binary, &stream[..cut]));
                assert!(
                    events == [expected.clone()],
                    "stream {number}, {cut} of {} bytes",
                    stream.len()
                );
            }
        }
    }
    assert!(delivered > 3 * streams.len(), "{delivered}");
}

/// The events of `wire` however it is cut: whole, at each place, and byte by byte.
fn every_way(wire: &[u8], limit: u64) -> Vec<Event> {
    let fed = |cuts: &[usize]| feed_cut(client(false, limit), wire, cuts);
    let whole = fed(&[]);
    let each: Vec<usize> = (1..wire.len()).collect();
    assert!(fed(&each) == whole, "byte by byte");
    let places = if cfg!(miri) { 3 } else { 300 };
    let step = wire.len() / places + 1;
    for cut in (1..wire.len()).step_by(step) {
        assert!(fed(&[cut]) == whole, "cut at {cut}");
    }
    whole
}

// Text that is wrong early and too much later failed with 1009 when it came at once, and with 1007 in two pieces.
#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn what_is_wrong_first_is_what_the_message_fails_with() {
    use DeflateFlush::SyncFlush;
    let text = |length: usize, wrong: Option<usize>| {
        let mut text = vec![b'a'; length];
        if let Some(at) = wrong {
            text[at] = 0xFF;
        }
        let mut stream = compress(6, 15, Manner::Default, &[(&text, SyncFlush)]);
        stream.truncate(stream.len() - 4);
        stream
    };
    let wire = |stream: &[u8]| compressed(Opcode::Text, stream);
    // A block of a type that does not exist.
    let broken = |mut stream: Vec<u8>| {
        stream.extend([0, 0, 0xFF, 0xFF]);
        stream.extend([0x06; 20]);
        stream
    };
    let not_utf8 = [Event::Failed(1007, NOT_UTF8)];
    let too_big = [Event::Failed(1009, TOO_BIG)];
    let invalid = [Event::Failed(1007, INVALID)];
    for (length, limit) in [(50_000, 10_000), (3000, 1000)] {
        let last = limit - 1;
        for (wrong, expected) in [
            (Some(5), &not_utf8),
            (Some(last), &not_utf8),
            (Some(limit), &too_big),
            (Some(length - 1), &too_big),
            (None, &too_big),
        ] {
            let events = every_way(&wire(&text(length, wrong)), limit as u64);
            assert_eq!(events, *expected, "{wrong:?} of {length}, limit {limit}");
        }
        // Bytes that are no deflate data come last, or first.
        let events = every_way(&wire(&broken(text(length, Some(5)))), limit as u64);
        assert_eq!(events, not_utf8);
        assert_eq!(
            every_way(&wire(&broken(text(length, None))), limit as u64),
            too_big
        );
        assert_eq!(
            every_way(&wire(&broken(text(last, Some(5)))), limit as u64),
            not_utf8
        );
        assert_eq!(
            every_way(&wire(&broken(text(last, None))), limit as u64),
            invalid
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 64 }) })]

    #[test]
    fn however_a_message_is_cut_it_ends_the_same(
        plain in prop::collection::vec(prop_oneof![9 => 97u8..110, 1 => any::<u8>()], 1..if cfg!(miri) { 50 } else { 900 }),
        times in 1usize..20, limit in 1u64..9000, level in 0i32..=9, finish: bool,
        broken in prop::option::of((any::<prop::sample::Index>(), any::<u8>())), text: bool,
    ) {
        use DeflateFlush::{Finish, SyncFlush};
        let first = if finish { Finish } else { SyncFlush };
        let again = plain.repeat(times);
        let parts = [(&plain[..], first), (&again[..], SyncFlush)];
        let mut stream = compress(level, 15, Manner::Default, &parts);
        stream.truncate(stream.len() - 4);
        if let Some((at, byte)) = broken {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        let opcode = if text { Opcode::Text } else { Opcode::Binary };
        // A second one shows that the first has left the same behind.
        let wire = compressed(opcode, &stream).repeat(2);
        every_way(&wire, limit);
    }
}

// Each `03 00`, an empty block with BFINAL, had 32 KiB of window copied: more than a second of work for a megabyte.
#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn streams_that_end_all_the_time_lose_the_window() {
    let plain = noise(20_000);
    let start = compress(6, 15, Manner::Default, &[(&plain, DeflateFlush::Finish)]);
    // Three bytes as far back as four, from a sender that has kept its window.
    let back = [0x02, 0x62, 0x00, 0x00];
    let content = |ends: usize, behind_each: &[u8]| {
        let mut stream = start.clone();
        for _ in 0..ends {
            stream.extend([3, 0]);
            stream.extend(behind_each);
        }
        stream.extend(back);
        let mut client = client(true, 0);
        match &feed(&mut client, &compressed(Opcode::Binary, &stream))[..] {
            [Event::Binary(content)] => Some(content.clone()),
            [Event::Failed(1007, INVALID)] => None,
            other => panic!("{other:?}"),
        }
    };
    let expected = [&plain[..], &plain[19_996..19_999]].concat();
    assert!(content(0, &[]).as_ref() == Some(&expected));
    assert!(content(50, &[]).as_ref() == Some(&expected));
    // It is not to be had for nothing for ever, and is there again when enough has come.
    assert!(content(100_000, &[]).is_none());
    assert!(content(500, &[0, 0, 0, 0xFF, 0xFF].repeat(70)) == Some(expected));
}
