//! Connections in memory, and every way in which bytes can reach them.
#![allow(dead_code, reason = "each test binary uses its part")]

pub mod deflate;
pub mod feeding;

use evws_proto::frame::{self, Opcode};
use evws_proto::{Config, Connection, Role};
pub use feeding::*;

/// The mask key of all frames here.
pub const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

pub fn text(payload: &str) -> Event {
    Event::Text(payload.as_bytes().to_vec())
}

pub fn binary(payload: &[u8]) -> Event {
    Event::Binary(payload.to_vec())
}

pub fn config(role: Role) -> Config {
    Config {
        role,
        max_message_size: 0,
        max_fragments: 0,
        validate_utf8: true,
    }
}

/// Every place in a wire of this length. In Miri, where each takes its time, a few.
pub fn every_place(length: usize) -> impl Iterator<Item = usize> {
    (0..length).step_by(if cfg!(miri) { 1 + length / 3 } else { 1 })
}

/// Asserts that `wire` gives `expected` fed whole, byte by byte, at every split into two, and read directly.
/// Long wires are split at some places only: around every header's worth of bytes at both ends.
pub fn assert_every_way(config: &Config, wire: &[u8], expected: &[Event]) {
    let new = || Connection::new(config);
    assert_eq!(feed_cut(new(), wire, &[]), expected, "whole");
    let (observed, headers) = feed_observed(new(), wire, wire.len());
    assert_eq!(observed, expected, "whole, observed");
    assert_eq!(feed_observed(new(), wire, 1), (observed, headers));
    let each: Vec<usize> = (1..wire.len()).collect();
    assert_eq!(feed_cut(new(), wire, &each), expected, "byte by byte");
    let near_an_end = |cut: &usize| wire.len() < 500 || *cut < 40 || cut + 40 > wire.len();
    for cut in every_place(wire.len()).filter(near_an_end) {
        assert_eq!(feed_cut(new(), wire, &[cut]), expected, "split at {cut}");
    }
    let reads: &[usize] = if cfg!(miri) {
        &[3]
    } else {
        &[1, 2, 3, 7, 1 << 20]
    };
    for &read in reads {
        assert_eq!(
            feed_direct(new(), wire, read),
            expected,
            "direct reads of {read}"
        );
    }
}

/// A frame as the peer of `receiver` sends it.
pub fn frame_to(receiver: Role, fin: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::encode(
        fin,
        opcode,
        payload,
        (receiver == Role::Server).then_some(KEY),
        &mut out,
    );
    out
}

/// Two connections, each the other's peer.
pub struct Pair {
    pub client: Connection,
    pub server: Connection,
}

impl Pair {
    pub fn new() -> Self {
        Self {
            client: Connection::new(&config(Role::Client)),
            server: Connection::new(&config(Role::Server)),
        }
    }

    /// What arrives at the other end when `say` runs on the end of `role`.
    pub fn say(
        &mut self,
        role: Role,
        say: impl FnOnce(&mut Connection, &mut Vec<u8>),
    ) -> Vec<Event> {
        let (from, to) = match role {
            Role::Client => (&mut self.client, &mut self.server),
            Role::Server => (&mut self.server, &mut self.client),
        };
        let mut wire = Vec::new();
        say(from, &mut wire);
        feed(to, &wire)
    }
}
