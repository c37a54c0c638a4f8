//! Events that wait to be delivered, and the data of the event that was delivered last.

use std::collections::VecDeque;
use std::ops::Range;

use evws_proto::forwarded::Peer;
use evws_proto::handshake::Headers;
use evws_proto::http::HttpRequest;

use crate::event::{Event, Id};

/// An event that waits, with what it carries.
#[derive(Debug)]
pub struct Queued {
    /// The event.
    pub event: Event,
    /// The event's data.
    pub data: EventData,
}

/// The data of an event.
#[derive(Debug, Default)]
pub struct EventData {
    /// Headers of a request or a response.
    pub headers: Headers,
    /// A payload, a reason or a text.
    pub payload: Vec<u8>,
    /// What the event is about, beside that.
    pub subject: Subject,
}

/// What an event is about that not every event has.
#[derive(Debug, Default)]
pub enum Subject {
    /// There is no such thing.
    #[default]
    None,
    /// A request that is no upgrade, and whether it came by TLS.
    Request(Box<HttpRequest>, bool),
    /// The response that has refused a client of ours its upgrade: its status, and the body, as far as it was read.
    Refusal(u16, Box<[u8]>),
    /// A client that was rejected: its id, and who it is.
    Client(Box<(Id, Peer)>),
}

/// The events of a context.
#[derive(Debug, Default)]
pub struct Outbox {
    waiting: VecDeque<Queued>,
    data: EventData,
    /// Somebody has put something into `data`, which a message in the receive buffer does not need.
    is_used: bool,
    /// Where the payload lies in the receive buffer; `None`: it is that of `data`.
    received: Option<Range<usize>>,
}

impl Outbox {
    /// Puts an event that carries nothing behind the others.
    pub fn push(&mut self, event: Event) {
        self.push_with(event, EventData::default());
    }

    /// Puts an event with a text behind the others.
    pub fn push_text(&mut self, event: Event, text: impl Into<String>) {
        let payload = text.into().into_bytes();
        self.push_with(
            event,
            EventData {
                payload,
                ..EventData::default()
            },
        );
    }

    /// Puts an event behind the others.
    pub fn push_with(&mut self, event: Event, data: EventData) {
        self.waiting.push_back(Queued { event, data });
    }

    /// Takes the first event, which may be out of date.
    #[inline]
    pub fn pop(&mut self) -> Option<Queued> {
        self.waiting.pop_front()
    }

    /// Whether events wait.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What the last event carries is not needed any more.
    #[inline]
    pub fn clear_data(&mut self) {
        self.received = None;
        if self.is_used {
            self.drop_data();
        }
    }

    #[cold]
    fn drop_data(&mut self) {
        self.data = EventData::default();
        self.is_used = false;
    }

    /// The payload of the last event, if it lies in the receive buffer.
    #[inline]
    pub fn received(&self) -> Option<&Range<usize>> {
        self.received.as_ref()
    }

    /// The payload of the event that is delivered next lies in the receive buffer.
    #[inline]
    pub fn set_received(&mut self, range: Range<usize>) {
        self.received = Some(range);
    }

    /// What the last event carries.
    #[inline]
    pub fn data(&self) -> &EventData {
        &self.data
    }

    /// The same, for the part that delivers an event, and for what is given away of it.
    #[inline]
    pub fn data_mut(&mut self) -> &mut EventData {
        self.is_used = true;
        &mut self.data
    }
}
