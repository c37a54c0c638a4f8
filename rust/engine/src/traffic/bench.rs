//! Connections without a context and without the time that passes by itself, for the tests of this folder.

use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use evws_proto::deflate::{Agreement, Direction};
use evws_proto::handshake::Negotiated;
use evws_proto::Role;

use super::{Traffic, Upgraded};
use crate::event::{Event, Id, Settings, Wants};
use crate::limits::Limits;
use crate::outbox::Outbox;
use crate::reactor::Reactor;
use crate::shared::Shared;

pub const SECOND: Duration = Duration::from_secs(1);
/// What the peers of these connections have to close.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// What was agreed on where each message is compressed, with what was in those before or without.
pub fn compression(no_context_takeover: bool) -> Option<Negotiated> {
    let direction = Direction {
        no_context_takeover,
        window_bits: 15,
    };
    Some(Negotiated {
        text: "permessage-deflate".into(),
        agreement: Agreement {
            client: direction,
            server: direction,
            threshold: 0,
            level: 1,
        },
    })
}

/// A traffic with what it works with.
#[derive(Default)]
pub struct Bench {
    pub traffic: Traffic,
    pub reactor: Reactor,
    pub outbox: Outbox,
    /// Those of the connections that are made next.
    pub limits: Limits,
    pub wants: Wants,
    pub deflate: Option<Negotiated>,
}

impl Bench {
    /// With the `close_timeout` of a program that says nothing.
    pub fn new() -> Self {
        Bench {
            limits: Limits {
                close_timeout: Some(CLOSE_TIMEOUT),
                ..Limits::default()
            },
            ..Bench::default()
        }
    }

    /// An open connection, and its peer.
    pub fn connected(&mut self, role: Role) -> (Id, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let id = self.reactor.claim();
        let upgraded = Upgraded {
            fd: ours.into(),
            role,
            settings: Settings {
                limits: Rc::new(self.limits.clone()),
                wants: self.wants,
                ..Settings::default()
            },
            tls: None,
            protocol: None,
            deflate: self.deflate.clone(),
            unparsed: Vec::new(),
            is_shared: false,
            guest: None,
            listener: None,
        };
        self.traffic.add(id, upgraded, &mut self.reactor);
        assert!(self.traffic.open(id, &mut self.reactor));
        (id, theirs)
    }

    pub fn with<T>(&mut self, act: impl FnOnce(&mut Traffic, &mut Shared<'_>) -> T) -> T {
        let shared = &mut Shared {
            reactor: &mut self.reactor,
            outbox: &mut self.outbox,
        };
        act(&mut self.traffic, shared)
    }

    /// Lets time go by. The events.
    pub fn pass(&mut self, time: Duration) -> Vec<Event> {
        self.reactor.advance(time);
        self.traffic.begin_turn();
        while let Some((id, timer)) = self.reactor.pop_due() {
            self.with(|traffic, shared| traffic.expire(id, timer, shared));
        }
        self.events()
    }

    /// Reads once, and parses what has been read. The events of that.
    pub fn receive(&mut self, id: Id) -> Vec<Event> {
        self.with(|traffic, shared| traffic.handle_io(id, true, false, shared));
        self.parse()
    }

    /// Parses all that has been read. The events of that.
    pub fn parse(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while self.traffic.has_input() {
            events.extend(self.with(Traffic::parse_next));
        }
        events
    }

    /// The events that wait.
    pub fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.outbox.pop().map(|queued| queued.event)).collect()
    }
}
