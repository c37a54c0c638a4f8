//! Connections in memory, and every way in which bytes can reach them.
#![allow(dead_code, reason = "each test binary uses its part")]

pub mod deflate;

use evws_proto::frame::{self, Header, Opcode};
use evws_proto::{Config, Connection, Received, Role};

/// The mask key of all frames here.
pub const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// An event, owning its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, Vec<u8>),
    Failed(u16, &'static str),
}

pub fn text(payload: &str) -> Event {
    Event::Text(payload.as_bytes().to_vec())
}

pub fn binary(payload: &[u8]) -> Event {
    Event::Binary(payload.to_vec())
}

/// The event in `received`, if there is one.
pub fn own(received: Received<'_>) -> Option<Event> {
    Some(match received {
        Received::NeedMore => return None,
        Received::Message {
            binary: true,
            payload,
        } => Event::Binary(payload.to_vec()),
        Received::Message {
            binary: false,
            payload,
        } => Event::Text(payload.to_vec()),
        Received::Ping(payload) => Event::Ping(payload.to_vec()),
        Received::Pong(payload) => Event::Pong(payload.to_vec()),
        Received::Close { code, reason } => Event::Close(code, reason.to_vec()),
        Received::Failed(failure) => Event::Failed(failure.code, failure.text),
    })
}

pub fn config(role: Role) -> Config {
    Config {
        role,
        max_message_size: 0,
        max_fragments: 0,
        validate_utf8: true,
    }
}

/// All events in one portion of input.
pub fn feed(connection: &mut Connection, portion: &[u8]) -> Vec<Event> {
    let mut input = portion.to_vec();
    let mut events = Vec::new();
    let mut at = 0;
    while at < input.len() {
        let (used, received) = connection.receive(&mut input[at..]);
        let event = own(received);
        at += used;
        match event {
            Some(event) => events.push(event),
            None => assert_eq!(at, input.len(), "NeedMore means that all was consumed"),
        }
        if matches!(events.last(), Some(Event::Failed(..))) {
            break;
        }
    }
    events
}

/// All events of `wire` fed in portions that end at `cuts`.
pub fn feed_cut(config: &Config, wire: &[u8], cuts: &[usize]) -> Vec<Event> {
    let mut connection = Connection::new(config);
    let mut events = Vec::new();
    let mut start = 0;
    for &cut in cuts.iter().chain([&wire.len()]) {
        events.extend(feed(&mut connection, &wire[start..cut]));
        start = cut;
    }
    events
}

/// All events of `wire` when payloads are read behind the shared buffer wherever that is possible, in reads of
/// `read` bytes at most.
pub fn feed_direct(config: &Config, wire: &[u8], read: usize) -> Vec<Event> {
    let mut connection = Connection::new(config);
    let mut events = Vec::new();
    let mut at = 0;
    while at < wire.len() {
        let wanted = connection.payload_wanted();
        if wanted == 0 {
            events.extend(feed(&mut connection, &wire[at..at + 1]));
            at += 1;
            continue;
        }
        let buffer = connection
            .payload_buffer()
            .expect("a buffer for what is wanted");
        let spare = buffer.capacity() - buffer.len();
        assert!(spare > 0, "a buffer must have room");
        let count = read
            .min(spare)
            .min(wire.len() - at)
            .min(usize::try_from(wanted).unwrap());
        buffer.extend_from_slice(&wire[at..at + count]);
        at += count;
        events.extend(own(connection.payload_received(count)));
    }
    events
}

/// All events of `wire` fed in portions of `portion` bytes to a connection whose frames are observed, and the headers of
/// those.
pub fn feed_observed(config: &Config, wire: &[u8], portion: usize) -> (Vec<Event>, Vec<Header>) {
    let mut connection = Connection::new(config);
    let (mut events, mut headers) = (Vec::new(), Vec::new());
    for portion in wire.to_vec().chunks_mut(portion.max(1)) {
        let mut at = 0;
        while at < portion.len() {
            let (used, received) = connection.receive_observed(&mut portion[at..], &mut headers);
            events.extend(own(received));
            at += used;
        }
    }
    (events, headers)
}

/// Every place in a wire of this length. In Miri, where each takes its time, a few.
pub fn every_place(length: usize) -> impl Iterator<Item = usize> {
    (0..length).step_by(if cfg!(miri) { 1 + length / 3 } else { 1 })
}

/// Asserts that `wire` gives `expected` fed whole, byte by byte, at every split into two, and read directly.
/// Long wires are split at some places only: around every header's worth of bytes at both ends.
pub fn assert_every_way(config: &Config, wire: &[u8], expected: &[Event]) {
    assert_eq!(feed_cut(config, wire, &[]), expected, "whole");
    let (observed, headers) = feed_observed(config, wire, wire.len());
    assert_eq!(observed, expected, "whole, observed");
    assert_eq!(feed_observed(config, wire, 1), (observed, headers));
    let each: Vec<usize> = (1..wire.len()).collect();
    assert_eq!(feed_cut(config, wire, &each), expected, "byte by byte");
    let near_an_end = |cut: &usize| wire.len() < 500 || *cut < 40 || cut + 40 > wire.len();
    for cut in every_place(wire.len()).filter(near_an_end) {
        assert_eq!(feed_cut(config, wire, &[cut]), expected, "split at {cut}");
    }
    let reads: &[usize] = if cfg!(miri) {
        &[3]
    } else {
        &[1, 2, 3, 7, 1 << 20]
    };
    for &read in reads {
        assert_eq!(
            feed_direct(config, wire, read),
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
