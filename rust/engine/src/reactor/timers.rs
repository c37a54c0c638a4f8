//! The timers of a context, by name, soonest first.
//!
//! A connection has any number of them at a time, and one that has none holds no memory for them.
//! A timer that is moved away, as those are that every message moves, stays where it stands in the
//! queue, and is put into its new place when its turn comes: moving it costs no more than noting it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::Clock;
use crate::event::Id;

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// The time to connect in, or the one for the next step of a server's handshake.
    Handshake,
    /// The next address is tried beside this one (RFC 8305 section 5).
    AttemptDelay,
    /// Accepting goes on: descriptors had run out.
    AcceptPause,
    /// Our Close is queued, and the peer neither takes nor sends anything.
    Closing,
    /// Our Close is queued, and the peer goes on sending and takes nothing.
    ClosingLimit,
    /// The connection is closed, and the peer's end of the stream is awaited.
    Linger,
    /// The peer sends Pings and does not take the Pongs.
    Pongs,
    /// The peer has sent more than it may, and is read from again.
    Rate,
    /// The context's: connections that were idle give their codecs back.
    IdleCodecs,
    /// The context's: a shutdown ends the connections that are left.
    Shutdown,
}

/// A timer that runs.
#[derive(Debug)]
struct Running {
    timer: Timer,
    at: Instant,
    /// Where it stands in the queue: at that time, or before.
    queued: Instant,
}

/// The running timers of one source.
#[derive(Debug, Default)]
pub struct TimerList(Vec<Running>);

impl TimerList {
    fn find(&self, timer: Timer) -> Option<usize> {
        self.0.iter().position(|running| running.timer == timer)
    }

    /// When a timer is due; `None`: it does not run.
    pub fn at(&self, timer: Timer) -> Option<Instant> {
        self.find(timer).map(|index| self.0[index].at)
    }

    /// The timers that run.
    pub fn running(&self) -> impl Iterator<Item = Timer> + '_ {
        self.0.iter().map(|running| running.timer)
    }
}

/// The timers of all sources of a context.
#[derive(Debug, Default)]
pub struct Timers {
    queue: BTreeSet<(Instant, Id, Timer)>,
}

impl Timers {
    /// Starts a timer of `id`, or moves it.
    pub fn start(&mut self, list: &mut TimerList, id: Id, timer: Timer, at: Instant) {
        match list.find(timer) {
            Some(index) => {
                let running = &mut list.0[index];
                running.at = at;
                if at < running.queued {
                    self.queue.remove(&(running.queued, id, timer));
                    running.queued = at;
                    self.queue.insert((at, id, timer));
                }
            }
            None => {
                self.queue.insert((at, id, timer));
                // Hardly any source has more than one.
                list.0.reserve_exact(1);
                list.0.push(Running {
                    timer,
                    at,
                    queued: at,
                });
            }
        }
    }

    /// Stops a timer, if it runs. Returns whether it did.
    pub fn stop(&mut self, list: &mut TimerList, id: Id, timer: Timer) -> bool {
        let Some(index) = list.find(timer) else {
            return false;
        };
        let running = list.0.swap_remove(index);
        self.queue.remove(&(running.queued, id, timer));
        if list.0.is_empty() {
            *list = TimerList::default();
        }
        true
    }

    /// Stops all timers of a source.
    pub fn stop_all(&mut self, list: &mut TimerList, id: Id) {
        for running in std::mem::take(list).0 {
            self.queue.remove(&(running.queued, id, running.timer));
        }
    }

    /// The first in the queue, if its time there has come. The caller, who has the list of its source, decides
    /// by [`take`](Self::take) whether it is due.
    pub fn first(&self, now: Instant) -> Option<(Id, Timer)> {
        let &(at, id, timer) = self.queue.first()?;
        (at <= now).then_some((id, timer))
    }

    /// Takes a timer that [`first`](Self::first) has found out if it is due; one that was moved goes
    /// to its new place.
    pub fn take(&mut self, list: &mut TimerList, id: Id, timer: Timer, now: Instant) -> bool {
        let Some(index) = list.find(timer) else {
            return false;
        };
        let running = &mut list.0[index];
        if running.at <= now {
            return self.stop(list, id, timer);
        }
        self.queue.remove(&(running.queued, id, timer));
        running.queued = running.at;
        self.queue.insert((running.at, id, timer));
        false
    }

    /// Time until the first stands to be looked at.
    pub fn until_first(&self, clock: &Clock) -> Option<Duration> {
        let (at, ..) = self.queue.first()?;
        Some(clock.until(*at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// What is due of one source at a time.
    fn due(timers: &mut Timers, list: &mut TimerList, now: Instant) -> Vec<Timer> {
        let mut found = Vec::new();
        while let Some((id, timer)) = timers.first(now) {
            if timers.take(list, id, timer, now) {
                found.push(timer);
            }
        }
        found
    }

    #[test]
    fn several_timers_of_one_source_come_in_the_order_of_their_times() {
        let (mut timers, mut list) = (Timers::default(), TimerList::default());
        let start = Instant::now();
        timers.start(&mut list, 7, Timer::ClosingLimit, start + 3 * SECOND);
        timers.start(&mut list, 7, Timer::Closing, start + SECOND);
        timers.start(&mut list, 7, Timer::Linger, start + 2 * SECOND);
        assert!(timers.stop(&mut list, 7, Timer::Linger));
        assert!(!timers.stop(&mut list, 7, Timer::Linger));
        assert_eq!(due(&mut timers, &mut list, start), []);
        assert_eq!(
            due(&mut timers, &mut list, start + SECOND),
            [Timer::Closing]
        );
        assert_eq!(
            due(&mut timers, &mut list, start + 9 * SECOND),
            [Timer::ClosingLimit]
        );
        assert_eq!(list.0.capacity(), 0, "no timer, no memory");
        assert!(timers.queue.is_empty());
    }

    #[test]
    fn one_that_is_moved_away_stays_in_its_place_until_that_comes() {
        let (mut timers, mut list) = (Timers::default(), TimerList::default());
        let start = Instant::now();
        for step in 1..100 {
            timers.start(&mut list, 7, Timer::Pongs, start + step * SECOND);
            assert_eq!(timers.first(start), None);
            assert_eq!(timers.first(start + SECOND), Some((7, Timer::Pongs)));
            assert_eq!(timers.queue.len(), 1);
        }
        assert_eq!(due(&mut timers, &mut list, start + 98 * SECOND), []);
        assert_eq!(timers.first(start + 98 * SECOND), None);
        // One that is moved nearer is moved at once.
        timers.start(&mut list, 7, Timer::Pongs, start + 2 * SECOND);
        assert_eq!(
            due(&mut timers, &mut list, start + 2 * SECOND),
            [Timer::Pongs]
        );
        assert!(timers.queue.is_empty());
    }

    #[test]
    fn a_source_that_goes_takes_its_timers_with_it() {
        let (mut timers, mut list) = (Timers::default(), TimerList::default());
        let start = Instant::now();
        timers.start(&mut list, 7, Timer::Closing, start);
        timers.start(&mut list, 7, Timer::Closing, start + SECOND);
        timers.start(&mut list, 7, Timer::Pongs, start);
        timers.stop_all(&mut list, 7);
        assert!(timers.queue.is_empty());
        assert_eq!(list.0.capacity(), 0);
    }
}
