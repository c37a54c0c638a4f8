//! What a connection tells of the bytes that reach it, whichever way.

use evws_proto::frame::Header;
use evws_proto::{Connection, Received};

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

impl Event {
    /// Whether nothing may come behind it.
    pub fn is_last(&self) -> bool {
        matches!(self, Event::Close(..) | Event::Failed(..))
    }
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
    }
    events
}

/// All events of `wire` fed in portions that end at `cuts`. Between two reads a connection may lie idle.
pub fn feed_cut(mut connection: Connection, wire: &[u8], cuts: &[usize]) -> Vec<Event> {
    let mut events = Vec::new();
    let mut start = 0;
    for &cut in cuts.iter().chain([&wire.len()]) {
        events.extend(feed(&mut connection, &wire[start..cut]));
        connection.release();
        start = cut;
    }
    events
}

/// All events of `wire` when payloads are read behind the shared buffer wherever that is possible, in reads of
/// `read` bytes at most.
pub fn feed_direct(mut connection: Connection, wire: &[u8], read: usize) -> Vec<Event> {
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
pub fn feed_observed(
    mut connection: Connection,
    wire: &[u8],
    portion: usize,
) -> (Vec<Event>, Vec<Header>) {
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
