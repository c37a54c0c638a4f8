//! Compressed messages: bytes that are no deflate data, and what another compressor makes.

use crate::ends::one_sequence;
use crate::feeding::Event;
use crate::frames::role;
use crate::plan::Plan;
use evws_proto::deflate::{Agreement, Codecs, Direction};
use evws_proto::frame::{encode_with, Opcode, RSV1};
use evws_proto::{Config, Connection, Role};
use flate2::{Compress, Compression, FlushCompress};

/// Both directions alike, and everything is compressed.
pub fn agreement(no_context_takeover: bool, bits: u8) -> Agreement {
    let direction = Direction {
        no_context_takeover,
        window_bits: 9 + bits % 7,
    };
    Agreement {
        client: direction,
        server: direction,
        threshold: 0,
        level: 1 + bits / 7 % 9,
    }
}

/// Messages in fragments. Those that flate2 has compressed arrive as they were, up to the first that is no deflate data,
/// and everything is the same however it comes.
pub fn cuts(data: &[u8]) {
    let mut plan = Plan(data);
    let (flags, seed, bits) = (plan.byte(), plan.byte(), plan.byte());
    let receiver = role(flags);
    let no_context_takeover = flags & 2 != 0;
    let config = Config {
        role: receiver,
        max_message_size: 1 << 18,
        max_fragments: 0,
        validate_utf8: flags & 4 != 0,
    };
    let mut compress = Compress::new(Compression::new(u32::from(bits % 10)), false);
    let mut wire = Vec::new();
    let mut sent = Vec::new();
    let mut is_known = true;
    while !plan.is_empty() {
        let form = plan.byte();
        let length = usize::from(plan.byte());
        let content = plan.take(length);
        let is_raw = form & 1 != 0;
        let payload = match is_raw {
            true => content.to_vec(),
            false => {
                if no_context_takeover {
                    compress.reset();
                }
                deflated(&mut compress, content)
            }
        };
        is_known &= !is_raw;
        if is_known {
            sent.push(Event::Binary(content.to_vec()));
        }
        let opcode = if form & 2 != 0 && is_raw {
            Opcode::Text
        } else {
            Opcode::Binary
        };
        message(
            receiver,
            opcode,
            &payload,
            usize::from(form >> 2),
            &mut wire,
        );
    }
    let agreement = agreement(no_context_takeover, 6);
    let events = one_sequence(seed, &wire, || {
        let mut connection = Connection::new(&config);
        connection.use_deflate(&agreement, Codecs::default());
        connection
    });
    assert_eq!(events[..sent.len()], sent, "what flate2 has compressed");
}

/// Without the four bytes that a sender takes off (RFC 7692 section 7.2.1).
fn deflated(compress: &mut Compress, content: &[u8]) -> Vec<u8> {
    // zlib has nothing to flush then; RFC 7692 section 7.2.3.6 has an empty block for it.
    if content.is_empty() {
        return vec![0];
    }
    let mut out = Vec::with_capacity(content.len() + 200);
    let flush = FlushCompress::Sync;
    compress.compress_vec(content, &mut out, flush).unwrap();
    assert!(out.ends_with(&[0, 0, 0xFF, 0xFF]), "there was room for all");
    out.truncate(out.len() - 4);
    out
}

/// One message in fragments of `size` bytes; 0: in one.
fn message(to: Role, opcode: Opcode, payload: &[u8], size: usize, wire: &mut Vec<u8>) {
    let key = (to == Role::Server).then_some([9, 8, 7, 6]);
    let size = if size == 0 {
        payload.len().max(1)
    } else {
        size
    };
    let count = payload.len().div_ceil(size).max(1);
    for index in 0..count {
        let part = &payload[index * size..payload.len().min((index + 1) * size)];
        let (opcode, rsv) = match index {
            0 => (opcode, RSV1),
            _ => (Opcode::Continuation, 0),
        };
        encode_with(index + 1 == count, rsv, opcode, part, key, wire);
    }
}
