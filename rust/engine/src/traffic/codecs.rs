//! Connections that hold codecs because of context takeover, and when they give them back.
//!
//! A compressor takes some 380 KB and an inflater 48 KB, so a connection that has been idle for a while keeps at most
//! the window that its peer may refer to. There is one timer for all of a context, and only while one holds a codec.

use super::link::{Link, Links};
use super::lists::shrink;
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
        if is_worth_trimming(before, self.ids.len()) {
            sys::trim_memory();
        }
        shrink(&mut self.ids);
        if !self.ids.is_empty() {
            reactor.start(CONTEXT, Timer::IdleCodecs, Some(timeouts::IDLE_CODECS));
        }
    }
}

/// Whether malloc is told, of so many connections that had codecs before and so many that still have.
fn is_worth_trimming(before: usize, left: usize) -> bool {
    let idle = before - left;
    idle >= MANY && idle > left
}

#[cfg(test)]
mod tests {
    use evws_proto::connection::FrameKind;
    use evws_proto::Role;

    use super::*;
    use crate::traffic::bench::{compression, Bench};

    const INTERVAL: std::time::Duration = timeouts::IDLE_CODECS;

    /// A bench whose connections hold their codecs from one message to the next.
    fn with_takeover() -> Bench {
        Bench {
            deflate: compression(false),
            ..Bench::new()
        }
    }

    fn send(bench: &mut Bench, id: Id) {
        let kind = FrameKind::message(true);
        bench.with(|traffic, shared| traffic.send(id, kind, &[7; 1000], shared).unwrap());
    }

    /// Lets the time go by until the next look, if there is one to be. Whether there was.
    fn look(bench: &mut Bench) -> bool {
        bench.reactor.advance(INTERVAL);
        let due = bench.reactor.pop_due();
        assert!(due.is_none_or(|due| due == (CONTEXT, Timer::IdleCodecs)));
        if due.is_some() {
            bench.traffic.release_idle_codecs(&mut bench.reactor);
        }
        due.is_some()
    }

    fn owners(bench: &Bench) -> usize {
        bench.traffic.codec_owners.ids.len()
    }

    /// A connection that went on holding what it does not need would cost half a megabyte, and a timer that went on would
    /// wake an idle process.
    #[test]
    fn who_is_idle_gives_its_codecs_back_and_then_nobody_is_looked_at() {
        let mut bench = with_takeover();
        let (id, _peer) = bench.connected(Role::Server);
        let (busy, _its_peer) = bench.connected(Role::Server);
        for _ in 0..3 {
            send(&mut bench, id);
            send(&mut bench, busy);
        }
        assert_eq!(owners(&bench), 2, "each is on the list once");
        assert!(look(&mut bench));
        assert_eq!(owners(&bench), 2, "they were not idle for all of the time");
        send(&mut bench, busy);
        assert!(look(&mut bench));
        assert_eq!(bench.traffic.codec_owners.ids, [busy]);
        let holds = |bench: &Bench, id| bench.traffic.links.get(id).unwrap().proto.holds_codec();
        assert!(!holds(&bench, id) && holds(&bench, busy));
        assert!(look(&mut bench));
        assert_eq!(owners(&bench), 0);
        assert!(!look(&mut bench), "nobody holds one");
        // It begins anew, also with who has gone meanwhile.
        send(&mut bench, id);
        assert_eq!(bench.traffic.codec_owners.ids, [id]);
        bench.with(|traffic, shared| traffic.release(id, shared.reactor));
        assert!(look(&mut bench));
        assert!(!look(&mut bench));
    }

    #[test]
    fn who_does_not_compress_is_not_looked_at() {
        let mut bench = Bench::new();
        let (id, _peer) = bench.connected(Role::Server);
        send(&mut bench, id);
        assert_eq!(owners(&bench), 0);
        assert!(!look(&mut bench));
    }

    /// Telling malloc takes time for each connection there is: it has to be worth it.
    #[test]
    fn memory_goes_back_to_the_system_after_many_that_are_more_than_the_rest() {
        assert!(is_worth_trimming(MANY, 0) && !is_worth_trimming(MANY - 1, 0));
        assert!(is_worth_trimming(2 * MANY + 1, MANY) && !is_worth_trimming(2 * MANY, MANY));
        assert!(!is_worth_trimming(10 * MANY, 10 * MANY - 1));
    }
}
