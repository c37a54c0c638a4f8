//! Codecs that connections hold because of context takeover, and when they give them back.
//!
//! A compressor takes some 380 KB and an inflater 48 KB, so a connection that has been idle for a while keeps at most
//! the window that its peer may refer to. There is one deadline for all of a context, and only while one holds a codec.

use std::time::{Duration, Instant};

use crate::context::Context;
use crate::event::Id;
use crate::link::Link;
use crate::sys;

/// How often the connections that hold codecs are looked at. One that was idle from one look to the next, which is
/// between once and twice this long, gives them back.
const INTERVAL: Duration = Duration::from_secs(5);

/// When so many connections have given theirs back at a look, and more than still hold one, malloc(3) is told to do the
/// same. By itself it keeps what lies between the windows that stay, some 15 KB a connection. That takes 3 to 5
/// microseconds for each.
const MANY: usize = 64;

/// The connections that hold a codec.
#[derive(Default)]
pub struct Holders {
    ids: Vec<Id>,
    next_look: Option<Instant>,
}

impl Holders {
    /// Puts a connection that holds a codec on the list.
    #[inline]
    pub fn note(&mut self, id: Id, link: &mut Link) {
        if link.extensions.is_some() && !link.holder && link.proto.holds_codec() {
            self.add(id, link);
        }
    }

    #[cold]
    fn add(&mut self, id: Id, link: &mut Link) {
        link.holder = true;
        self.ids.push(id);
        self.next_look
            .get_or_insert_with(|| Instant::now() + INTERVAL);
    }

    /// Time until the next look.
    pub fn until_due(&self) -> Option<Duration> {
        let at = self.next_look?;
        Some(at.saturating_duration_since(Instant::now()))
    }
}

impl Context {
    /// Looks at the holders if it is time to.
    pub(crate) fn rest_codecs(&mut self, now: Instant) {
        let Context { holders, slots, .. } = self;
        if holders.next_look.is_none_or(|at| at > now) {
            return;
        }
        let before = holders.ids.len();
        holders.ids.retain(|&id| {
            let Some(link) = slots.link_mut(id) else {
                return false;
            };
            link.holder = link.proto.rest_codecs();
            link.holder
        });
        let idle = before - holders.ids.len();
        if idle >= MANY && idle > holders.ids.len() {
            sys::trim_memory();
        }
        holders.ids.shrink_to(2 * holders.ids.len());
        holders.next_look = (!holders.ids.is_empty()).then(|| now + INTERVAL);
    }
}
