//! What a peer sends that is no message: Pings, Pongs, its Close, and what fails the connection.

use evws_proto::connection::{FrameKind, Received};

use super::send::Unfinished;
use super::Traffic;
use crate::event::{Event, Id};
use crate::log::Topic;
use crate::reactor::Timer;
use crate::shared::Shared;
use crate::timeouts;

/// An RFC 6455 control frame carries no more than this.
const CONTROL_PAYLOAD: usize = 125;

/// A Ping's payload, to be sent back.
type Echo = ([u8; CONTROL_PAYLOAD], usize);

/// What was received if it is no message, without the borrow of the bytes.
pub enum Control {
    Nothing,
    Pong(Vec<u8>),
    Ping(Echo),
    Close { code: Option<u16>, reason: Vec<u8> },
    Failed { code: u16, text: &'static str },
}

impl From<Received<'_>> for Control {
    fn from(received: Received<'_>) -> Control {
        match received {
            Received::NeedMore | Received::Message { .. } => Control::Nothing,
            Received::Ping(payload) => {
                let mut echo = [0; CONTROL_PAYLOAD];
                echo[..payload.len()].copy_from_slice(payload);
                Control::Ping((echo, payload.len()))
            }
            Received::Pong(payload) => Control::Pong(payload.to_vec()),
            Received::Close { code, reason } => Control::Close {
                code,
                reason: reason.to_vec(),
            },
            Received::Failed(failure) => Control::Failed {
                code: failure.code,
                text: failure.text,
            },
        }
    }
}

impl Traffic {
    /// Follows up what has come.
    pub(super) fn handle_control(
        &mut self,
        id: Id,
        control: Control,
        shared: &mut Shared<'_>,
    ) -> Option<Event> {
        let link = self.links.get_mut(id)?;
        match control {
            Control::Nothing => None,
            Control::Pong(payload) => {
                let now = shared.reactor.clock().now();
                if link.pulse.take_pong(self.ping_tag, &payload, now) {
                    self.put_off_look(id, shared.reactor);
                    return None;
                }
                if !link.wants.pong || link.state.is_closing() {
                    return None;
                }
                shared.outbox.data_mut().payload = payload;
                Some(Event::Pong { id })
            }
            Control::Ping((echo, length)) => {
                self.answer_ping(id, &echo[..length], shared);
                None
            }
            Control::Close { code, reason } => {
                if let Some(code) = code {
                    self.log.write(
                        Topic::State,
                        id,
                        format_args!("the peer closes with code {code}"),
                    );
                }
                let unread = self.input.has_batch();
                let is_clean = !unread && link.unparsed.is_empty();
                self.input.end_batch();
                shared.outbox.data_mut().payload = reason;
                // Nothing goes out if this answers our own.
                self.queue_close(id, code, &[], Unfinished::IsCut, shared.reactor);
                let code = code.unwrap_or(1005);
                self.linger(id, code, is_clean, shared.reactor);
                Some(Event::Close { id, code })
            }
            Control::Failed { code, text } => {
                self.input.end_batch();
                shared.outbox.data_mut().payload = text.into();
                self.fail(id, code, text, shared);
                Some(Event::Error { id })
            }
        }
    }

    /// Every Ping gets its own Pong. A peer that takes none is not read from for a while.
    fn answer_ping(&mut self, id: Id, payload: &[u8], shared: &mut Shared<'_>) {
        self.queue_control(id, FrameKind::Pong, payload);
        if self.links.get(id).is_some_and(|link| link.pongs.throttle()) {
            self.log.write(
                Topic::State,
                id,
                format_args!("reading waits: the peer does not take the Pongs"),
            );
            shared
                .reactor
                .start(id, Timer::Pongs, Some(timeouts::PONGS));
            shared.reactor.touch(id);
        }
    }
}
