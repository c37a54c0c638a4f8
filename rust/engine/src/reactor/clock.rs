//! The time, read at most once a turn of the loop from a monotonic clock: setting the system's time
//! neither fires nor delays a timer. A turn that asks for no time reads none.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// The clock of a context.
#[derive(Debug, Default)]
pub struct Clock {
    now: Cell<Option<Instant>>,
    #[cfg(test)]
    advanced: Duration,
}

impl Clock {
    /// The time of this turn.
    #[inline]
    pub fn now(&self) -> Instant {
        self.now.get().unwrap_or_else(|| self.read())
    }

    #[cold]
    fn read(&self) -> Instant {
        let now = Instant::now();
        #[cfg(test)]
        let now = now + self.advanced;
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
    pub fn in_future(&self, after: Duration) -> Option<Instant> {
        self.now().checked_add(after)
    }

    /// Time until `at`; zero if it has passed.
    pub fn until(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.now())
    }
}

#[cfg(test)]
impl Clock {
    /// Lets time go by.
    pub fn advance(&mut self, time: Duration) {
        self.advanced += time;
        self.now.set(None);
    }
}
