//! The time, read from a monotonic clock at most once an entry from the loop, and again before the loop waits: setting the
//! system's time neither fires nor delays a timer. A turn that asks for no time reads none.

use std::cell::Cell;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

/// Nanoseconds of a tick.
const TICK: u128 = 16;

/// A time of a context's clock, in ticks of 16 ns, which 60 bits hold for 584 years: so it leaves the lowest bits of a place
/// in a queue to the name of a timer, and takes 8 octets also where there may be none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(NonZeroU64);

impl Time {
    /// Bits of [`ticks`](Self::ticks) that are never used.
    pub const SPARE_BITS: u32 = 4;
    /// When the clock began.
    pub const BEGINNING: Time = Time(NonZeroU64::MIN);

    /// The time that comes `after` this one, or up to a tick later; `None` if it is too far away to be represented.
    pub fn checked_add(self, after: Duration) -> Option<Time> {
        self.checked_add_ticks(after.as_nanos().div_ceil(TICK))
    }

    fn checked_add_ticks(self, ticks: u128) -> Option<Time> {
        let ticks = u64::try_from(ticks).ok()?;
        let sum = self.0.checked_add(ticks)?;
        (sum.leading_zeros() >= Self::SPARE_BITS).then_some(Time(sum))
    }

    /// How long before this time the other one was; zero if it was not.
    pub fn since(self, earlier: Time) -> Duration {
        let ticks = self.0.get().saturating_sub(earlier.0.get());
        Duration::from_nanos(ticks * TICK as u64)
    }

    /// The first time of a grid that is not before this one; this one itself if there is none.
    pub fn on_grid(self, step: Duration) -> Time {
        let over = self.since(Time::BEGINNING).as_nanos() % step.as_nanos().max(1);
        let missing = if over == 0 { 0 } else { step.as_nanos() - over };
        self.checked_add_ticks(missing.div_ceil(TICK))
            .unwrap_or(self)
    }

    /// So many ticks on the clock.
    pub fn ticks(self) -> u64 {
        self.0.get()
    }

    /// The time at so many ticks; the beginning, if there are none.
    pub fn at_ticks(ticks: u64) -> Time {
        NonZeroU64::new(ticks).map_or(Time::BEGINNING, Time)
    }
}

/// The clock of a context.
#[derive(Debug)]
pub struct Clock {
    began: Instant,
    now: Cell<Option<Time>>,
    #[cfg(test)]
    advanced: Duration,
}

impl Default for Clock {
    fn default() -> Self {
        Clock {
            began: Instant::now(),
            now: Cell::new(None),
            #[cfg(test)]
            advanced: Duration::ZERO,
        }
    }
}

impl Clock {
    /// The time of this turn.
    #[inline]
    pub fn now(&self) -> Time {
        self.now.get().unwrap_or_else(|| self.read())
    }

    #[cold]
    fn read(&self) -> Time {
        let passed = self.began.elapsed();
        #[cfg(test)]
        let passed = passed + self.advanced;
        // Downwards, so that nothing is due too early.
        let now = Time::BEGINNING.checked_add_ticks(passed.as_nanos() / TICK);
        let now = now.unwrap_or(Time::BEGINNING);
        self.now.set(Some(now));
        now
    }

    /// A turn begins, or the program makes a call after it may have worked for a while: the time is read
    /// again when it is asked for next.
    #[inline]
    pub fn begin_turn(&self) {
        self.now.set(None);
    }

    /// The time that comes `after` now; `None` if it is too far away for the clock to represent.
    pub fn in_future(&self, after: Duration) -> Option<Time> {
        self.now().checked_add(after)
    }

    /// Time until `at`; zero if it has passed.
    pub fn until(&self, at: Time) -> Duration {
        at.since(self.now())
    }
}

#[cfg(test)]
impl std::ops::Add<Duration> for Time {
    type Output = Time;
    fn add(self, after: Duration) -> Time {
        self.checked_add(after).expect("a time")
    }
}

#[cfg(test)]
impl Clock {
    /// Lets time go by.
    pub fn advance(&mut self, time: Duration) {
        self.advance_in_a_turn(time);
        self.begin_turn();
    }

    /// Lets time go by that nobody has noticed yet.
    pub fn advance_in_a_turn(&mut self, time: Duration) {
        self.advanced += time;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_is_never_early() {
        let second = Duration::from_secs(1);
        let after = |time| Time::BEGINNING.checked_add(time).unwrap();
        let tick = Duration::from_nanos(16);
        assert_eq!(after(tick).on_grid(second), after(second));
        assert_eq!(after(second).on_grid(second), after(second));
        assert_eq!(after(second + tick).on_grid(second), after(2 * second));
        assert_eq!(after(second).on_grid(Duration::ZERO), after(second));
    }

    #[test]
    fn times_have_an_end() {
        let year = Duration::from_secs(366 * 86400);
        assert!(Time::BEGINNING.checked_add(580 * year).is_some());
        assert_eq!(Time::BEGINNING.checked_add(590 * year), None);
        assert_eq!(Time::BEGINNING.checked_add(Duration::MAX), None);
        let tick = Time::BEGINNING
            .checked_add(Duration::from_nanos(1))
            .unwrap();
        assert_eq!(tick.since(Time::BEGINNING), Duration::from_nanos(16));
        assert_eq!(Time::BEGINNING.since(tick), Duration::ZERO);
        assert_eq!(Time::at_ticks(tick.ticks()), tick);
    }
}
