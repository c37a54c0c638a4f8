//! Ends of a connection, and every way in which bytes reach them.

use crate::plan::ways;
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
    pub fn is_last(&self) -> bool {
        matches!(self, Event::Close(..) | Event::Failed(..))
    }

    /// Without the text of a failure, which only we have.
    pub fn without_text(self) -> Self {
        match self {
            Event::Failed(code, _) => Event::Failed(code, ""),
            other => other,
        }
    }
}

fn own(received: Received<'_>) -> Option<Event> {
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
pub fn feed(connection: &mut Connection, portion: &[u8], events: &mut Vec<Event>) {
    let mut input = portion.to_vec();
    let mut at = 0;
    while at < input.len() {
        let (used, received) = connection.receive(&mut input[at..]);
        let event = own(received);
        at += used;
        match event {
            Some(event) => {
                let before = events.last();
                assert!(
                    !before.is_some_and(Event::is_last),
                    "an event behind the last"
                );
                events.push(event);
            }
            None => assert_eq!(at, input.len(), "NeedMore means that all was consumed"),
        }
    }
}

pub fn feed_whole(mut connection: Connection, wire: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    feed(&mut connection, wire, &mut events);
    events
}

fn feed_cut(mut connection: Connection, wire: &[u8], cuts: &[usize]) -> Vec<Event> {
    let mut events = Vec::new();
    let mut start = 0;
    for &cut in cuts.iter().chain([&wire.len()]) {
        feed(&mut connection, &wire[start..cut], &mut events);
        // Between two reads a connection may lie idle.
        connection.release();
        start = cut;
    }
    events
}

/// Payloads are read behind the shared buffer wherever that is possible, in reads of `read` bytes at most.
fn feed_direct(mut connection: Connection, wire: &[u8], read: usize) -> Vec<Event> {
    let mut events = Vec::new();
    let mut at = 0;
    while at < wire.len() {
        let wanted = connection.payload_wanted();
        if wanted == 0 {
            feed(&mut connection, &wire[at..at + 1], &mut events);
            at += 1;
            continue;
        }
        let buffer = connection.payload_buffer().expect("a buffer");
        let spare = buffer.capacity() - buffer.len();
        assert!(spare > 0, "a buffer must have room");
        let count = read.min(spare).min(wire.len() - at);
        let count = count.min(usize::try_from(wanted).unwrap());
        buffer.extend_from_slice(&wire[at..at + count]);
        at += count;
        events.extend(own(connection.payload_received(count)));
    }
    events
}

fn feed_observed(
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

/// The events of `wire`, which are the same ones however it comes to a connection that `make` makes.
pub fn one_sequence(seed: u8, wire: &[u8], make: impl Fn() -> Connection) -> Vec<Event> {
    let whole = feed_whole(make(), wire);
    for cuts in ways(seed, wire.len()) {
        assert_eq!(feed_cut(make(), wire, &cuts), whole, "cut at {cuts:?}");
    }
    let least = wire.len() / 500 + 1;
    for read in [least + usize::from(seed), 1 << 20] {
        let direct = feed_direct(make(), wire, read);
        assert_eq!(direct, whole, "direct reads of {read}");
    }
    let (observed, headers) = feed_observed(make(), wire, wire.len());
    assert_eq!(observed, whole, "observed");
    let cut = feed_observed(make(), wire, least + usize::from(seed >> 4));
    assert_eq!(cut, (observed, headers), "observed in portions");
    whole
}
