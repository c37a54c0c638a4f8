//! Connections that compress, and what is compressed.

use super::config;
use evws_proto::deflate::{Agreement, Codecs, Direction};
use evws_proto::frame::{self, Opcode};
use evws_proto::{Config, Connection, Role};

/// What a sender takes off, and a receiver appends.
pub const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];

/// Both directions alike, and everything is compressed.
pub fn agreement(no_context_takeover: bool, window_bits: u8) -> Agreement {
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

/// A connection with codecs of its own.
pub fn connection(role: Role, agreement: &Agreement) -> Connection {
    deflating(&config(role), agreement, &Codecs::default())
}

pub fn deflating(config: &Config, agreement: &Agreement, codecs: &Codecs) -> Connection {
    let mut connection = Connection::new(config);
    connection.use_deflate(agreement, codecs.clone());
    connection
}

/// Numbers without a pattern.
pub fn numbers(seed: u32) -> impl Iterator<Item = u32> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 16
    })
}

/// Bytes that do not become fewer.
pub fn noise(length: usize) -> Vec<u8> {
    numbers(2).map(|number| number as u8).take(length).collect()
}

/// Text that compresses, but not to nothing.
pub fn json(length: usize) -> Vec<u8> {
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
pub fn frames(wire: &[u8]) -> Vec<(bool, u8, Opcode, Vec<u8>)> {
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
