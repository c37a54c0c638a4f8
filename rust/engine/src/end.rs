//! The end of an established connection: failed, closed, cut or timed out, and what is left of it.

use crate::context::Context;
use crate::event::{Id, Queued};
use crate::link::{Stage, LINGER_TIMEOUT, PONG_BACKLOG};

impl Context {
    /// The peer's stream ended without a Close frame (RFC 6455 section 7.1.5: code 1006).
    pub(crate) fn end_of_stream(&mut self, id: Id) {
        let Some(link) = self.slots.link_mut(id) else {
            return;
        };
        let failure = link.tls.as_mut().and_then(|tls| tls.take_failure());
        if let (Some(why), Stage::Open | Stage::Announced) = (failure, link.stage) {
            let text = format!("TLS: {why}").into();
            self.events.push_back(Queued::Error { id, text });
        }
        self.end(id, 1006);
    }

    /// Ends a connection towards the program; nothing more is read from it.
    pub(crate) fn end(&mut self, id: Id, code: u16) {
        let Some(link) = self.slots.link_mut(id) else {
            return;
        };
        if !matches!(link.stage, Stage::Open | Stage::Announced) {
            return;
        }
        link.stage = Stage::Ended;
        if code == 1006 {
            link.write_dead = true;
        }
        self.events.push_back(Queued::Close { id, code });
        self.mark_changed(id);
    }

    /// Fails a connection (RFC 6455 section 7.1.7): the peer gets the code, the program the text.
    pub(crate) fn fail(&mut self, id: Id, code: u16, text: &str) {
        self.queue_close(id, Some(code), text.as_bytes());
        self.current.owned = text.into();
        self.end(id, code);
    }

    /// The program is told that a connection is closed; its last bytes may still be on their way.
    pub(crate) fn part(&mut self, id: Id) {
        let Some(link) = self.slots.link_mut(id) else {
            return;
        };
        link.stage = Stage::Lingering;
        link.rest = Vec::new();
        link.direct = 0;
        link.protocol = None;
        link.paused = false;
        self.slots.set_deadline(id, Some(LINGER_TIMEOUT));
        self.mark_changed(id);
        self.finish_writing(id);
    }

    /// A deadline of an established connection has passed.
    pub(crate) fn expire_link(&mut self, id: Id) {
        let Some(link) = self.slots.link(id) else {
            return;
        };
        if link.stage == Stage::Lingering {
            self.release_link(id);
        } else if link.is_closing() {
            self.end(id, 1006);
        } else if link.pong_backlog > PONG_BACKLOG {
            let text = "the peer sends Pings and does not read the Pongs";
            self.queue_close(id, Some(1008), text.as_bytes());
            let text = text.into();
            self.events.push_back(Queued::Error { id, text });
            self.end(id, 1008);
        }
    }
}
