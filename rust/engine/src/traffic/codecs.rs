//! Connections that hold codecs because of context takeover, and when they give them back.
//!
//! A compressor takes some 380 KB and an inflater 48 KB, so a connection that has been idle for a while keeps at most
//! the window that its peer may refer to. There is one timer for all of a context, and only while one holds a codec.

use super::link::{Link, Links};
use crate::event::Id;
use crate::reactor::{Reactor, Timer, CONTEXT};
use crate::{sys, timeouts};

/// From so many connections on that gave their codecs back at once, if they are more than those that still hold one,
/// malloc(3) is told to give memory back, too. By itself it keeps what lies between the windows that stay, some 15 KB a
/// connection. Telling it takes 3 to 5 microseconds for each connection.
const MANY: usize = 64;

/// The connections that hold a codec.
#[derive(Default)]
pub struct CodecOwners {
    ids: Vec<Id>,
}

impl CodecOwners {
    /// Puts a connection on the list if it holds a codec.
    #[inline]
    pub fn note(&mut self, link: &mut Link, reactor: &mut Reactor) {
        if !link.is_codec_owner && link.proto.holds_codec() {
            self.add(link, reactor);
        }
    }

    #[cold]
    fn add(&mut self, link: &mut Link, reactor: &mut Reactor) {
        if self.ids.is_empty() {
            reactor.start(CONTEXT, Timer::IdleCodecs, Some(timeouts::IDLE_CODECS));
        }
        link.is_codec_owner = true;
        self.ids.push(link.id);
    }

    /// Connections that were idle since the last call give their codecs back.
    pub fn release_idle(&mut self, links: &mut Links, reactor: &mut Reactor) {
        let before = self.ids.len();
        self.ids.retain(|&id| {
            let Some(link) = links.get_mut(id) else {
                return false;
            };
            link.is_codec_owner = link.proto.release_idle_codecs();
            link.is_codec_owner
        });
        let idle = before - self.ids.len();
        if idle >= MANY && idle > self.ids.len() {
            sys::trim_memory();
        }
        self.ids.shrink_to(2 * self.ids.len());
        if !self.ids.is_empty() {
            reactor.start(CONTEXT, Timer::IdleCodecs, Some(timeouts::IDLE_CODECS));
        }
    }
}
