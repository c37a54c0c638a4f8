//! From publications to queues and the kernel: all of a turn together, run by run.

use std::io::IoSlice;
use std::os::fd::AsFd;
use std::rc::Rc;

use evws_proto::close;
use evws_proto::connection::{Encoding, SharedFrame};
use evws_proto::deflate::{Codecs, DeflateWay};

use super::slow::{Behind, OfferOutcome, OnSlow, Post};
use super::{Fanout, Publication};
use crate::event::{Event, Id};
use crate::outbox::EventData;
use crate::reactor::Reactor;
use crate::shared::Shared;
use crate::sys;
use crate::traffic::link::Link;
use crate::traffic::send::QUEUE_FULL;
use crate::traffic::Traffic;

/// Frames of one topic are joined for one write up to so many bytes.
const RUN: usize = 128 * 1024;

/// Publications of one topic that follow each other, and what they are on the wire.
struct Run<'a> {
    publications: &'a [Publication],
    encoded: Vec<Encoded>,
    /// Octets of payload as the program sees it.
    payload: u64,
}

/// The frames of a run, for all connections that compress in the same way.
struct Encoded {
    way: Option<DeflateWay>,
    frames: Vec<SharedFrame>,
    /// All of them, one behind the other.
    joined: SharedFrame,
}

impl<'a> Run<'a> {
    fn new(publications: &'a [Publication]) -> Self {
        let payload = |publication: &Publication| publication.offer.message.payload().len() as u64;
        Run {
            publications,
            encoded: Vec::new(),
            payload: publications.iter().map(payload).sum(),
        }
    }

    /// Where in `encoded` the run is for connections that compress in this way.
    #[inline]
    fn index_of(&mut self, way: Option<DeflateWay>, codecs: &Codecs) -> usize {
        match self.encoded.iter().position(|known| known.way == way) {
            Some(found) => found,
            None => self.encode(way, codecs),
        }
    }

    #[cold]
    fn encode(&mut self, way: Option<DeflateWay>, codecs: &Codecs) -> usize {
        let frame = |publication: &Publication| publication.offer.message.frame(way, codecs);
        let frames: Vec<SharedFrame> = self.publications.iter().map(frame).collect();
        let joined = match &frames[..] {
            [only] => Rc::clone(only),
            several => {
                let parts: Vec<&[u8]> = several.iter().map(|frame| &frame[..]).collect();
                Rc::new(parts.concat())
            }
        };
        let encoded = Encoded {
            way,
            frames,
            joined,
        };
        self.encoded.push(encoded);
        self.encoded.len() - 1
    }
}

/// Cuts publications into runs.
fn runs(pending: &[Publication]) -> impl Iterator<Item = &[Publication]> {
    let mut bytes = 0;
    pending.chunk_by(move |one, next| {
        let of_one = one.offer.message.payload().len();
        bytes += of_one;
        let joined = one.topic == next.topic && one.except == next.except && bytes < RUN;
        bytes *= usize::from(joined);
        joined
    })
}

impl Traffic {
    /// Queues what was published.
    #[inline]
    pub fn settle(&mut self, reactor: &Reactor) {
        if self.fanout.has_pending() {
            self.deliver_pending(false, reactor);
        }
    }

    /// Delivers what was published, by writing to those that have nothing else to write.
    #[inline]
    pub(in crate::traffic) fn deliver(&mut self, shared: &mut Shared<'_>) {
        if self.fanout.is_busy() {
            self.deliver_and_tell(shared);
        }
    }

    #[cold]
    fn deliver_and_tell(&mut self, shared: &mut Shared<'_>) {
        self.deliver_pending(true, shared.reactor);
        for (id, outcome) in std::mem::take(&mut self.fanout.to_tell) {
            match outcome {
                OfferOutcome::TooSlow => self.fail_slow(id, shared),
                OfferOutcome::NoMemory => self.fail_without_memory(id, shared),
                _ => shared.outbox.push(Event::Dropped { id, messages: 0 }),
            }
        }
        for (name, is_used) in self.fanout.topics.take_changes() {
            let data = EventData {
                payload: name.to_vec(),
                ..EventData::default()
            };
            shared.outbox.push_with(Event::TopicUsed { is_used }, data);
        }
    }

    /// Ends a connection that does not take what it is sent.
    pub(in crate::traffic) fn fail_slow(&mut self, id: Id, shared: &mut Shared<'_>) {
        if self.links.open(id).is_some() {
            shared.outbox.push_text(Event::Error { id }, QUEUE_FULL);
            self.fail(id, close::TRY_AGAIN_LATER, QUEUE_FULL, shared);
        }
    }

    /// Ends a connection for whose messages there is no memory.
    pub(super) fn fail_without_memory(&mut self, id: Id, shared: &mut Shared<'_>) {
        if self.links.open(id).is_some() {
            let text = "there is no memory for a message";
            shared.outbox.push_text(Event::Error { id }, text);
            self.reset(id, shared);
        }
    }

    /// How many dropped messages a program has to be told of, once.
    pub fn take_untold(&mut self, id: Id) -> u64 {
        let Some(link) = self.links.get_mut(id) else {
            return 0;
        };
        let behind = link.find_behind_mut();
        behind.map_or(0, |behind| std::mem::take(&mut behind.untold))
    }

    /// Delivers what was published; `may_write`: those who have nothing else to write are written to at once, if what they
    /// get is of one topic.
    fn deliver_pending(&mut self, may_write: bool, reactor: &Reactor) {
        let mut pending = std::mem::take(&mut self.fanout.pending);
        let may_write = may_write && runs(&pending).nth(1).is_none();
        for publications in runs(&pending) {
            self.deliver_run(Run::new(publications), may_write, reactor);
        }
        pending.clear();
        if pending.capacity() > 1024 {
            pending = Vec::new();
        }
        self.fanout.pending = pending;
    }

    fn deliver_run(&mut self, mut run: Run<'_>, may_write: bool, reactor: &Reactor) {
        let Traffic {
            links,
            fanout: Fanout {
                topics, to_tell, ..
            },
            pool,
            masks,
            to_write,
            codecs,
            log,
            ..
        } = self;
        let Some(&Publication { topic, except, .. }) = run.publications.first() else {
            return;
        };
        let Some(topic) = topics.get(topic) else {
            return;
        };
        let may_write = may_write && !log.is_on();
        let mut post = Post {
            pool,
            masks,
            to_write,
            log,
            clock: reactor.clock(),
        };
        for subscription in &topic.subscribers {
            let id = subscription.id;
            let Some(link) = links.get_mut(id).filter(|_| id != except) else {
                continue;
            };
            let Encoding { is_masked, way } = link.proto.encoding();
            let index = run.index_of(way, codecs);
            let encoded = &run.encoded[index];
            let mut begun = 0;
            if may_write && !is_masked && takes_frames_directly(link) {
                let joined = &encoded.joined[..];
                // An error is met again by whoever writes next.
                begun = sys::send_gathered(link.fd.as_fd(), &[IoSlice::new(joined)]).unwrap_or(0);
                if begun == joined.len() {
                    link.queue.count_written(begun);
                    let messages = run.publications.len() as u64;
                    link.counters.sent_prepared(messages, run.payload, 0);
                    link.idleness.queued(link.queue.end(), post.clock);
                    link.proto.note_prepared();
                    continue;
                }
            }
            let (dropped_before, mut lost) = (link.dropped, 0);
            for (at, (publication, frame)) in
                run.publications.iter().zip(&encoded.frames).enumerate()
            {
                let outcome = if begun > 0 {
                    post.queue_begun(link, &publication.offer, frame, &mut begun)
                } else {
                    let on_slow = subscription.on_slow.or(publication.offer.on_slow);
                    let when_full = link.limits.send_queue.when_full;
                    let on_slow = on_slow.unwrap_or(OnSlow::of_subscriber(when_full));
                    post.offer(link, &publication.offer, Some(on_slow), frame)
                };
                if outcome.is_end() {
                    to_tell.push((id, outcome));
                    lost = run.publications.len() - at;
                    break;
                }
            }
            note_dropped(link, dropped_before, to_tell);
            // It is told of its end, and not that it has lost these.
            link.dropped += lost as u64;
        }
    }

    /// A fragmented message of the program is over: what has waited for that is queued.
    #[cold]
    pub(in crate::traffic) fn release_held(&mut self, id: Id, reactor: &Reactor) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        let Some(held) = link.find_behind_mut().map(Behind::take_held) else {
            return;
        };
        let (dropped_before, mut left) = (link.dropped, held.len());
        for (offer, on_slow) in held {
            let outcome = self.offer_one(id, &offer, on_slow, reactor);
            if outcome.is_end() {
                self.fanout.to_tell.push((id, outcome));
                break;
            }
            left -= 1;
        }
        if let Some(link) = self.links.get_mut(id) {
            note_dropped(link, dropped_before, &mut self.fanout.to_tell);
            link.dropped += left as u64;
        }
    }
}

/// Whether frames may go to the kernel without having been in the queue.
#[inline]
fn takes_frames_directly(link: &Link) -> bool {
    link.state.is_open()
        && link.queue.is_empty()
        && link.tls.is_none()
        && !link.wants.drain
        && link.proto.check_message().is_ok()
}

/// The program is to hear that messages were dropped, if it wants to.
pub(super) fn note_dropped(link: &mut Link, before: u64, to_tell: &mut Vec<(Id, OfferOutcome)>) {
    let dropped = link.dropped - before;
    if dropped == 0 || !link.wants.dropped {
        return;
    }
    let id = link.id;
    let behind = link.behind();
    if behind.untold == 0 {
        to_tell.push((id, OfferOutcome::Dropped));
    }
    behind.untold += dropped;
}

#[cfg(test)]
mod tests {
    use evws_proto::connection::{FrameKind, Prepared};

    use super::*;
    use crate::limits::{QueueLimits, WhenFull};
    use crate::traffic::bench::{compression, Bench};
    use crate::traffic::fanout::slow::Offer;
    use crate::traffic::fanout::tests::{crowd, flush, publish, read, TOPIC};

    /// How many publications each run has, of a topic, a connection that does not get it, and a length.
    fn lengths(publications: &[(u32, Id, usize)]) -> Vec<usize> {
        let publication = |&(topic, except, length): &(u32, Id, usize)| Publication {
            topic,
            except,
            offer: Offer {
                message: Rc::new(Prepared::new(true, false, &vec![0; length]).unwrap()),
                key: None,
                on_slow: None,
            },
        };
        let pending: Vec<_> = publications.iter().map(publication).collect();
        runs(&pending).map(<[_]>::len).collect()
    }

    /// What is joined is copied once for all subscribers, so it has a bound; and what is for others goes by itself.
    #[test]
    fn publications_for_the_same_connections_are_joined_up_to_a_bound() {
        assert_eq!(lengths(&[(0, 0, RUN / 2); 5]), [2, 2, 1]);
        // The count begins anew.
        assert_eq!(
            lengths(&[(0, 0, RUN), (0, 0, 10), (0, 0, 10), (0, 0, 10)]),
            [1, 3]
        );
        let few = [
            (0, 0, 1),
            (0, 0, 1),
            (1, 0, 1),
            (1, 9, 1),
            (1, 9, 1),
            (0, 9, 1),
        ];
        assert_eq!(lengths(&few), [2, 1, 2, 1]);
    }

    // A socket that has room again before the loop says so must not get what was published last before what waits.
    #[test]
    fn what_waits_is_not_overtaken_by_what_could_be_written_at_once() {
        let mut bench = Bench::new();
        let (id, mut peer) = crowd(&mut bench, 1).remove(0);
        publish(&mut bench, &[1; 1_000_000]);
        flush(&mut bench);
        let mut got = read(&mut peer);
        assert!((1..1_000_000).contains(&got.len()));
        publish(&mut bench, b"x");
        flush(&mut bench);
        while bench.traffic.send_queue_size(id) > 0 {
            bench.with(|traffic, shared| traffic.handle_io(id, false, true, shared));
            got.extend(read(&mut peer));
        }
        got.extend(read(&mut peer));
        assert!(got.ends_with(b"\x01\x01\x82\x01x"));
        assert_eq!(got.len(), 10 + 1_000_000 + 3);
    }

    /// Between the parts of a message no other may lie, also where nothing waits to be written.
    #[test]
    fn what_is_published_within_a_fragmented_message_comes_behind_it() {
        let mut bench = Bench::new();
        let (id, mut peer) = crowd(&mut bench, 1).remove(0);
        let mut send = |bench: &mut Bench, payload, last| {
            let kind = FrameKind::Fragment { binary: true, last };
            bench.with(|traffic, shared| traffic.send(id, kind, payload, shared).unwrap());
            flush(bench);
            read(&mut peer)
        };
        assert_eq!(send(&mut bench, b"a", false), b"\x02\x01a");
        publish(&mut bench, b"x");
        flush(&mut bench);
        assert_eq!(send(&mut bench, b"b", true), b"\x80\x01b\x82\x01x");
    }

    /// A program that goes by its queues hears of those that publications have filled.
    #[test]
    fn a_queue_that_publications_have_made_long_is_told_of_when_it_is_short() {
        let mut bench = Bench::new();
        bench.wants.drain = true;
        bench.limits.send_queue = QueueLimits::new(0, 1000, 0, WhenFull::default());
        let (id, _peer) = crowd(&mut bench, 1).remove(0);
        publish(&mut bench, b"short");
        flush(&mut bench);
        assert_eq!(bench.events(), []);
        publish(&mut bench, &[0; 1000]);
        flush(&mut bench);
        assert_eq!(bench.events(), [Event::Drain { id }]);
    }

    #[test]
    fn each_subscriber_gets_what_its_extension_says() {
        let mut bench = Bench::new();
        let mut plain = crowd(&mut bench, 1);
        bench.deflate = compression(true);
        let mut compressed = crowd(&mut bench, 2);
        bench.deflate = None;
        plain.append(&mut crowd(&mut bench, 1));
        assert_eq!(publish(&mut bench, &[7; 100]), 4);
        flush(&mut bench);
        let frame = [&b"\x82\x64"[..], &[7; 100]].concat();
        for (_, peer) in &mut plain {
            assert_eq!(read(peer), frame);
        }
        for (_, peer) in &mut compressed {
            let got = read(peer);
            assert_eq!(got[0], 0xC2);
            assert!(got.len() < 20, "{got:?}");
        }
    }

    /// Each of a turn's publications is counted once, also those behind the one that was too much.
    #[test]
    fn what_comes_behind_the_message_that_was_too_much_is_dropped() {
        let mut bench = Bench::new();
        bench.limits.send_queue = QueueLimits::new(1000, 0, 0, WhenFull::Close);
        let (id, _peer) = crowd(&mut bench, 1).remove(0);
        for _ in 0..5 {
            publish(&mut bench, &[0; 600]);
        }
        bench.with(|traffic, shared| traffic.settle(shared.reactor));
        let counted = bench.traffic.statistics(id).unwrap();
        assert_eq!((counted.sent.messages, counted.dropped), (2, 3));
    }

    /// A burst's memory does not stay, and what every turn needs is not allocated in each.
    #[test]
    fn the_list_of_publications_does_not_stay_large() {
        let mut bench = Bench::new();
        let _crowd = crowd(&mut bench, 1);
        for (count, kept) in [(1024, 1024), (1025, 0), (10, 16)] {
            for _ in 0..count {
                publish(&mut bench, b"x");
            }
            flush(&mut bench);
            assert_eq!(bench.traffic.fanout.pending.capacity(), kept);
        }
        assert_eq!(bench.traffic.subscribers(TOPIC), 1);
    }
}
