//! Peers that send more than they may: a token bucket for messages, and one for bytes.
//!
//! A peer beyond its rate is not read from until its bucket has filled up again, which a timer says. So it is slowed
//! down by TCP, and nothing is lost. Messages that were read already wait, too, if they are beyond the rate of messages;
//! bytes that were read are delivered.
//!
//! A peer is beyond its rate when it sends something for which there is no token, and not when it has taken the last one:
//! one that keeps to the rate is never held up, nor is its Ping or its Close.

use std::time::Duration;

use super::link::Link;
use super::{Traffic, BUFFER};
use crate::event::{Event, Id};
use crate::limits::{Limits, Rate, RateLimit};
use crate::log::Topic;
use crate::reactor::{Time, Timer};
use crate::shared::Shared;

/// A pause is not shorter than this, unless the bucket is full before: a rate of thousands a second must not wake the
/// loop thousands of times.
const PAUSE: f64 = 0.05;
/// Nor longer than this.
const LONGEST: f64 = 1e6;
/// What tokens may lack because times are whole nanoseconds.
const ROUNDING: f64 = 1e-6;
/// The opcodes with which a message begins (RFC 6455 section 5.2).
const BEGINNINGS: [u8; 2] = [1, 2];
/// Bytes that are read at most of a peer whose messages are counted: those beyond its rate wait here, where they could in
/// the system.
const MOST_READ: usize = 16 * 1024;
/// Bytes that are read at least, however few are left.
const LEAST_READ: usize = 1024;
/// As many bytes as there is room for.
pub const ANY: usize = usize::MAX;

/// Tokens for what a peer may send.
#[derive(Debug)]
struct Bucket {
    rate: Rate,
    /// What is left. Less than nothing: more was taken than was there.
    tokens: f64,
    /// Up to when it has been filled; `None`: it is full.
    filled: Option<Time>,
}

impl Bucket {
    fn new(rate: Rate) -> Self {
        Bucket {
            rate,
            tokens: rate.burst,
            filled: None,
        }
    }

    fn fill(&mut self, now: Time) {
        let since = self.filled.replace(now);
        let passed = since.map_or(0.0, |since| now.since(since).as_secs_f64());
        self.tokens = (self.tokens + passed * self.rate.per_second).min(self.rate.burst);
    }

    /// Takes `count` tokens out, whether they are there or not.
    fn take(&mut self, count: usize, now: Time) {
        self.fill(now);
        self.tokens -= count as f64;
    }

    /// The pause until there is a reasonable number of tokens; `None`: there are at least so many `needed` ones.
    fn pause(&mut self, needed: f64, now: Time) -> Option<Duration> {
        self.fill(now);
        if self.tokens >= needed - ROUNDING {
            return None;
        }
        let Rate { per_second, burst } = self.rate;
        let enough = (per_second * PAUSE).max(1.0).min(burst);
        let pause = (enough - self.tokens) / per_second;
        Some(Duration::from_secs_f64(pause.min(LONGEST)))
    }
}

/// The buckets of a connection that has any.
#[derive(Debug)]
pub struct Rates {
    messages: Option<Bucket>,
    bytes: Option<Bucket>,
    /// The program was told of the first pause.
    is_told: bool,
    /// A pause for too many messages is just over.
    is_resumed: bool,
}

impl Rates {
    /// Full buckets; `None`: there is no limit.
    pub fn new(limits: &Limits) -> Option<Box<Self>> {
        let rates = Rates {
            messages: limits.message_rate.map(Bucket::new),
            bytes: limits.byte_rate.map(Bucket::new),
            is_told: false,
            is_resumed: false,
        };
        (rates.messages.is_some() || rates.bytes.is_some()).then(|| Box::new(rates))
    }

    /// How many bytes may be read at a time.
    pub fn readable(&mut self, now: Time) -> usize {
        let by_messages = self.messages.as_ref().map_or(ANY, |_| MOST_READ);
        let by_bytes = self.bytes.as_mut().map_or(ANY, |bucket| {
            bucket.fill(now);
            (bucket.tokens as usize).clamp(LEAST_READ, BUFFER)
        });
        by_messages.min(by_bytes)
    }

    /// Whether a pause for too many messages was over since the last call.
    pub fn resume(&mut self) -> bool {
        std::mem::take(&mut self.is_resumed)
    }

    /// Bytes have come. The pause that makes up for those for which there was no token.
    fn take_bytes(&mut self, count: usize, now: Time) -> Option<Duration> {
        let bucket = self.bytes.as_mut()?;
        bucket.take(count, now);
        bucket.pause(0.0, now)
    }

    /// A message has come. Whether there is no token left for the next one.
    fn take_message(&mut self, now: Time) -> bool {
        self.messages.as_mut().is_some_and(|bucket| {
            bucket.take(1, now);
            bucket.pause(1.0, now).is_some()
        })
    }

    /// A message comes. The pause before it may; `None`: there is a token for it.
    fn before_message(&mut self, now: Time) -> Option<Duration> {
        self.messages.as_mut()?.pause(1.0, now)
    }
}

impl Link {
    /// Whether a message begins with these bytes of a peer that has no token left. How long it has to wait.
    #[cold]
    pub(super) fn before_message(&mut self, bytes: &[u8], now: Time) -> Option<Duration> {
        let begins = bytes
            .first()
            .is_some_and(|octet| BEGINNINGS.contains(&(octet & 0x0F)));
        if !begins || !self.proto.is_between_messages() {
            return None;
        }
        self.is_out_of_messages = false;
        self.rates.as_mut()?.before_message(now)
    }
}

impl Traffic {
    /// A peer whose messages are limited has sent one.
    #[cold]
    pub(super) fn count_message(&mut self, id: Id, shared: &Shared<'_>) {
        if let Some(link) = self.links.open_mut(id) {
            let now = shared.reactor.clock().now();
            let rates = link.rates.as_mut();
            link.is_out_of_messages = rates.is_some_and(|rates| rates.take_message(now));
        }
    }

    /// A peer whose bytes are limited has sent so many.
    #[cold]
    pub(super) fn count_bytes(&mut self, id: Id, count: usize, shared: &mut Shared<'_>) {
        let now = shared.reactor.clock().now();
        let link = self.links.open_mut(id);
        let pause = link.and_then(|link| link.rates.as_mut()?.take_bytes(count, now));
        if let Some(pause) = pause {
            self.slow_down(id, RateLimit::Bytes, pause, shared);
        }
    }

    /// A peer sends more than it may.
    pub(super) fn slow_down(
        &mut self,
        id: Id,
        limit: RateLimit,
        pause: Duration,
        shared: &mut Shared<'_>,
    ) {
        let Shared { reactor, outbox } = shared;
        let Some(link) = self.links.open_mut(id) else {
            return;
        };
        let Some(rates) = &mut link.rates else { return };
        if !std::mem::replace(&mut rates.is_told, true) && link.wants.limit {
            outbox.push(Event::RateLimited { id, limit });
        }
        match limit {
            RateLimit::Messages => link.is_over_message_rate = true,
            RateLimit::Bytes => link.is_over_byte_rate = true,
        }
        self.log.write(
            Topic::State,
            id,
            format_args!("reading waits: the peer sends too many {limit:?}"),
        );
        let running = reactor.remaining(id, Timer::Rate).unwrap_or_default();
        reactor.start(id, Timer::Rate, Some(pause.max(running)));
        reactor.touch(id);
    }

    /// A pause of a peer is over.
    pub(super) fn end_pause(&mut self, id: Id, shared: &mut Shared<'_>) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        if let Some(rates) = &mut link.rates {
            rates.is_resumed = link.is_over_message_rate;
        }
        // Bytes that may come again are no reason to forget that messages may not.
        link.is_over_message_rate = false;
        link.is_over_byte_rate = false;
        let text = format_args!("reading goes on: the peer may send again");
        self.log.write(Topic::State, id, text);
        self.input.resume_parsing(&self.links, id);
        self.look_again(id, shared.reactor);
        shared.reactor.touch(id);
    }
}

#[cfg(test)]
mod tests {
    use evws_proto::Role;

    use super::*;
    use crate::traffic::bench::{Bench, SECOND};
    use std::io::Write;

    // All that waited was moved back and forth at each pause: quadratic in what came at once.
    #[test]
    fn a_pause_moves_a_piece_of_what_waits() {
        const COUNT: usize = 2500;
        let mut bench = Bench::new();
        bench.limits.message_rate = Rate::new(1.0, 1.0);
        bench.wants.message = true;
        let (id, mut peer) = bench.connected(Role::Server);
        peer.write_all(&b"\x82\x80\0\0\0\0".repeat(COUNT)).unwrap();
        bench.with(|traffic, shared| traffic.handle_io(id, true, false, shared));
        let mut messages = 0;
        for _ in 0..COUNT {
            bench.pass(SECOND);
            while bench.traffic.has_input() {
                let event = bench.with(|traffic, shared| traffic.parse_next(shared));
                messages += usize::from(matches!(event, Some(Event::Message { .. })));
            }
        }
        assert_eq!(messages, COUNT);
        let moved = bench.traffic.input.moved;
        assert!((COUNT..=COUNT * 1024).contains(&moved), "{moved}");
    }

    /// After a pause of the program what has come is parsed as a whole: a message in pieces is copied.
    #[test]
    fn a_pause_of_the_program_cuts_nothing_into_pieces() {
        let mut bench = Bench::new();
        bench.limits.byte_rate = Rate::new(1e9, 1e9);
        bench.wants.message = true;
        let (id, mut peer) = bench.connected(Role::Client);
        peer.write_all(&[&b"\x82\x7e\x20\0"[..], &[7; 0x2000]].concat())
            .unwrap();
        bench.with(|traffic, shared| {
            traffic.handle_io(id, true, false, shared);
            traffic.pause(id, true, shared.reactor);
        });
        assert_eq!(bench.parse(), []);
        bench.with(|traffic, shared| traffic.pause(id, false, shared.reactor));
        assert_eq!(bench.parse(), [Event::Message { id, binary: true }]);
        assert!(bench.outbox.received().is_some(), "it is not copied");
    }

    fn bucket(per_second: f64, burst: f64) -> (Bucket, Time) {
        let rate = Rate::new(per_second, burst).unwrap();
        (Bucket::new(rate), Time::BEGINNING)
    }

    /// Takes one after the other. How many there were, and the pause before the next.
    fn until_pause(bucket: &mut Bucket, now: Time) -> (usize, Duration) {
        let mut count = 0;
        loop {
            if let Some(pause) = bucket.pause(1.0, now) {
                return (count, pause);
            }
            bucket.take(1, now);
            count += 1;
        }
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let (mut bucket, start) = bucket(2.0, 5.0);
        assert_eq!(until_pause(&mut bucket, start), (5, SECOND / 2));
        assert_eq!(
            until_pause(&mut bucket, start.checked_add(SECOND / 2).unwrap()),
            (1, SECOND / 2)
        );
        // Whoever waits longer may send more, up to the burst and not beyond.
        assert_eq!(
            until_pause(&mut bucket, start.checked_add(2 * SECOND).unwrap()),
            (3, SECOND / 2)
        );
        assert_eq!(
            until_pause(&mut bucket, start.checked_add(99 * SECOND).unwrap()),
            (5, SECOND / 2)
        );
        // Time that goes back changes nothing.
        assert_eq!(bucket.pause(1.0, start), Some(SECOND / 2));
    }

    #[test]
    fn what_was_taken_beyond_is_made_up_for() {
        let (mut bucket, start) = bucket(100.0, 100.0);
        bucket.take(100, start);
        assert_eq!(bucket.pause(0.0, start), None, "all, and no more");
        bucket.take(500, start);
        let pause = bucket.pause(0.0, start).unwrap();
        assert_eq!(pause.as_secs_f64(), 5.05);
        let half = bucket.pause(0.0, start.checked_add(pause / 2).unwrap());
        assert!(half.is_some_and(|rest| rest < pause));
        assert_eq!(bucket.pause(1.0, start.checked_add(pause).unwrap()), None);
    }

    #[test]
    fn a_high_rate_has_few_pauses() {
        let (mut bucket, start) = bucket(10_000.0, 1_000_000.0);
        let (count, pause) = until_pause(&mut bucket, start);
        assert_eq!(count, 1_000_000);
        assert!(pause.as_secs_f64() >= PAUSE);
        let (count, _) = until_pause(&mut bucket, start.checked_add(pause).unwrap());
        assert!(count >= 490, "{count}");
    }

    #[test]
    fn no_rate_is_too_small_or_too_large() {
        for (per_second, burst) in [(1e-300, 1.0), (1e300, 1e300), (f64::MIN_POSITIVE, f64::MAX)] {
            let (mut bucket, start) = bucket(per_second, burst);
            bucket.take(1, start);
            bucket.take(usize::MAX, start.checked_add(SECOND).unwrap());
            assert!(bucket
                .pause(0.0, start.checked_add(SECOND).unwrap())
                .is_none_or(|pause| pause.as_secs_f64() <= LONGEST));
        }
        assert!(Rate::new(0.0, 5.0).is_none() && Rate::new(f64::NAN, 1.0).is_none());
        assert!(Rate::new(-1.0, 5.0).is_none());
        // Less than one could never be taken.
        assert_eq!(Rate::new(0.1, 0.1).unwrap().burst, 1.0);
    }
}
