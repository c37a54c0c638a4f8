//! The timers of a context, by name, soonest first.
//!
//! A connection has any number of them at a time. One that has none holds no memory for them, and one that has a single
//! one holds its place in the queue.
//! A timer that is moved away, as those are that every message moves, stays where it stands in the
//! queue, and is put into its new place when its turn comes: moving it costs no more than noting it.

use std::collections::BTreeSet;
use std::slice;

use super::Time;
use crate::event::Id;

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
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
    /// Nothing may have come from the peer for so long that it is asked for a sign of life, or given up.
    Keepalive,
    /// There may have been no message for too long.
    Idle,
    /// The connection has lived for as long as it may.
    Lifetime,
    /// The context's: connections that were idle give their codecs back.
    IdleCodecs,
    /// The context's: published messages are kept no longer.
    History,
    /// The context's: a shutdown ends the connections that are left.
    Shutdown,
}

impl Timer {
    /// All of them, each at its own number.
    const ALL: [Timer; Timer::Shutdown as usize + 1] = [
        Timer::Handshake,
        Timer::AttemptDelay,
        Timer::AcceptPause,
        Timer::Closing,
        Timer::ClosingLimit,
        Timer::Linger,
        Timer::Pongs,
        Timer::Rate,
        Timer::Keepalive,
        Timer::Idle,
        Timer::Lifetime,
        Timer::IdleCodecs,
        Timer::History,
        Timer::Shutdown,
    ];
}

/// A timer that runs.
#[derive(Debug)]
pub struct Running {
    timer: Timer,
    at: Time,
    /// Where it stands in the queue: at that time, or before.
    queued: Time,
}

impl Running {
    fn place(&self, id: Id) -> Place {
        Place::new(self.queued, id, self.timer)
    }
}

/// The running timers of one source.
#[derive(Debug, Default)]
pub enum TimerList {
    /// None.
    #[default]
    None,
    /// The only one, which is what most sources have.
    One(Running),
    /// Several. The box keeps the list as small as a single timer.
    #[allow(
        clippy::box_collection,
        reason = "every slot has a list, and hardly any has several timers"
    )]
    Many(Box<Vec<Running>>),
}

impl TimerList {
    fn all(&self) -> &[Running] {
        match self {
            TimerList::None => &[],
            TimerList::One(running) => slice::from_ref(running),
            TimerList::Many(list) => list,
        }
    }

    fn find(&mut self, timer: Timer) -> Option<&mut Running> {
        let all = match self {
            TimerList::None => &mut [],
            TimerList::One(running) => slice::from_mut(running),
            TimerList::Many(list) => &mut list[..],
        };
        all.iter_mut().find(|running| running.timer == timer)
    }

    fn add(&mut self, running: Running) {
        *self = match std::mem::take(self) {
            TimerList::None => TimerList::One(running),
            TimerList::One(first) => TimerList::Many(Box::new(vec![first, running])),
            TimerList::Many(mut list) => {
                list.push(running);
                TimerList::Many(list)
            }
        };
    }

    fn remove(&mut self, timer: Timer) -> Option<Running> {
        match std::mem::take(self) {
            TimerList::One(running) if running.timer == timer => Some(running),
            TimerList::Many(mut list) => {
                let index = list.iter().position(|running| running.timer == timer);
                let removed = index.map(|index| list.swap_remove(index));
                *self = match list.len() {
                    1 => list.pop().map_or(TimerList::None, TimerList::One),
                    _ => TimerList::Many(list),
                };
                removed
            }
            other => {
                *self = other;
                None
            }
        }
    }

    /// When a timer is due; `None`: it does not run.
    pub fn at(&self, timer: Timer) -> Option<Time> {
        let mut all = self.all().iter();
        all.find(|running| running.timer == timer)
            .map(|running| running.at)
    }

    /// The timers that run.
    pub fn running(&self) -> impl Iterator<Item = Timer> + '_ {
        self.all().iter().map(|running| running.timer)
    }
}

/// A place in the queue: the time, with the number of the timer in its lowest bits, and the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place(u64, Id);

impl Place {
    fn new(at: Time, id: Id, timer: Timer) -> Self {
        Place(at.ticks() << Time::SPARE_BITS | timer as u64, id)
    }

    fn time(self) -> Time {
        Time::at_ticks(self.0 >> Time::SPARE_BITS)
    }

    fn timer(self) -> Timer {
        let number = self.0 & ((1 << Time::SPARE_BITS) - 1);
        Timer::ALL[number as usize]
    }
}

/// The timers of all sources of a context.
#[derive(Debug, Default)]
pub struct Timers {
    queue: BTreeSet<Place>,
}

impl Timers {
    /// Starts a timer of `id`, or moves it.
    pub fn start(&mut self, list: &mut TimerList, id: Id, timer: Timer, at: Time) {
        match list.find(timer) {
            Some(running) => {
                running.at = at;
                if at < running.queued {
                    self.queue.remove(&running.place(id));
                    running.queued = at;
                    self.queue.insert(running.place(id));
                }
            }
            None => {
                let running = Running {
                    timer,
                    at,
                    queued: at,
                };
                self.queue.insert(running.place(id));
                list.add(running);
            }
        }
    }

    /// Stops a timer, if it runs. Returns whether it did.
    pub fn stop(&mut self, list: &mut TimerList, id: Id, timer: Timer) -> bool {
        let Some(running) = list.remove(timer) else {
            return false;
        };
        self.queue.remove(&running.place(id));
        true
    }

    /// Stops all timers of a source.
    pub fn stop_all(&mut self, list: &mut TimerList, id: Id) {
        for running in list.all() {
            self.queue.remove(&running.place(id));
        }
        *list = TimerList::None;
    }

    /// The first in the queue, if its time there has come. The caller, who has the list of its source, decides
    /// by [`take`](Self::take) whether it is due.
    pub fn first(&self, now: Time) -> Option<(Id, Timer)> {
        let place = self.queue.first()?;
        (place.time() <= now).then(|| (place.1, place.timer()))
    }

    /// Takes a timer that [`first`](Self::first) has found out if it is due; one that was moved goes
    /// to its new place.
    pub fn take(&mut self, list: &mut TimerList, id: Id, timer: Timer, now: Time) -> bool {
        let Some(running) = list.find(timer) else {
            // A place that belongs to no timer would be the first for ever.
            self.queue.pop_first();
            return false;
        };
        if running.at <= now {
            return self.stop(list, id, timer);
        }
        self.queue.remove(&running.place(id));
        running.queued = running.at;
        self.queue.insert(running.place(id));
        false
    }

    /// The time when the first stands to be looked at.
    pub fn first_time(&self) -> Option<Time> {
        self.queue.first().map(|place| place.time())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    fn after(time: Duration) -> Time {
        Time::BEGINNING.checked_add(time).unwrap()
    }

    /// What is due of one source at a time.
    fn due(timers: &mut Timers, list: &mut TimerList, now: Time) -> Vec<Timer> {
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
        let start = after(Duration::ZERO);
        timers.start(&mut list, 7, Timer::ClosingLimit, after(3 * SECOND));
        timers.start(&mut list, 7, Timer::Closing, after(SECOND));
        timers.start(&mut list, 7, Timer::Linger, after(2 * SECOND));
        assert!(timers.stop(&mut list, 7, Timer::Linger));
        assert!(!timers.stop(&mut list, 7, Timer::Linger));
        assert_eq!(due(&mut timers, &mut list, start), []);
        assert_eq!(due(&mut timers, &mut list, after(SECOND)), [Timer::Closing]);
        assert_eq!(
            due(&mut timers, &mut list, after(9 * SECOND)),
            [Timer::ClosingLimit]
        );
        assert!(matches!(list, TimerList::None), "no timer, no memory");
        assert!(timers.queue.is_empty());
    }

    #[test]
    fn one_that_is_moved_away_stays_in_its_place_until_that_comes() {
        let (mut timers, mut list) = (Timers::default(), TimerList::default());
        let start = after(Duration::ZERO);
        for step in 1..100 {
            timers.start(&mut list, 7, Timer::Pongs, after(step * SECOND));
            assert_eq!(timers.first(start), None);
            assert_eq!(timers.first(after(SECOND)), Some((7, Timer::Pongs)));
            assert_eq!(timers.queue.len(), 1);
        }
        assert_eq!(due(&mut timers, &mut list, after(98 * SECOND)), []);
        assert_eq!(timers.first(after(98 * SECOND)), None);
        // One that is moved nearer is moved at once.
        timers.start(&mut list, 7, Timer::Pongs, after(2 * SECOND));
        assert_eq!(
            due(&mut timers, &mut list, after(2 * SECOND)),
            [Timer::Pongs]
        );
        assert!(timers.queue.is_empty());
    }

    #[test]
    fn a_source_that_goes_takes_its_timers_with_it() {
        let (mut timers, mut list) = (Timers::default(), TimerList::default());
        let start = after(Duration::ZERO);
        timers.start(&mut list, 7, Timer::Closing, start);
        timers.start(&mut list, 7, Timer::Closing, after(SECOND));
        timers.start(&mut list, 7, Timer::Pongs, start);
        timers.stop_all(&mut list, 7);
        assert!(timers.queue.is_empty());
        assert!(matches!(list, TimerList::None));
    }

    /// A number that stood for another timer had the queue ask for one that did not run, again and again: the loop
    /// stood still. The compiler counts the numbers now, and a place without a timer goes.
    #[test]
    fn a_place_without_a_timer_holds_nothing_up() {
        let (mut timers, mut list) = (Timers::default(), TimerList::default());
        timers.start(&mut list, 7, Timer::IdleCodecs, after(SECOND));
        let mut other = TimerList::default();
        timers.start(&mut other, 8, Timer::Pongs, after(2 * SECOND));
        let now = after(3 * SECOND);
        assert!(!timers.take(&mut TimerList::default(), 7, Timer::IdleCodecs, now));
        assert_eq!(timers.first(now), Some((8, Timer::Pongs)));
    }

    #[test]
    fn a_list_is_no_larger_than_a_timer_and_every_timer_has_its_number() {
        assert_eq!(size_of::<TimerList>(), size_of::<Running>());
        assert_eq!(size_of::<Place>(), 16);
        for (number, timer) in Timer::ALL.into_iter().enumerate() {
            assert_eq!(timer as usize, number);
            let place = Place::new(after(SECOND), 7, timer);
            assert_eq!((place.time(), place.timer()), (after(SECOND), timer));
        }
    }
}
