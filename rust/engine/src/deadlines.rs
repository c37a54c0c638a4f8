//! The deadlines of a context, soonest first. Costs nothing while there are none.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// An id of the context and its one deadline.
#[derive(Default)]
pub struct Deadlines {
    ordered: BTreeSet<(Instant, u64)>,
}

impl Deadlines {
    /// Moves the deadline of `id` from `old` to `after` from now, or drops it. Returns the new one.
    pub fn set(
        &mut self,
        id: u64,
        old: Option<Instant>,
        after: Option<Duration>,
    ) -> Option<Instant> {
        if let Some(old) = old {
            self.ordered.remove(&(old, id));
        }
        // A duration beyond what the clock can hold is as good as none.
        let new = after.and_then(|after| Instant::now().checked_add(after))?;
        self.ordered.insert((new, id));
        Some(new)
    }

    /// Takes the next id whose deadline has passed.
    pub fn pop_due(&mut self, now: Instant) -> Option<u64> {
        let &(first, id) = self.ordered.first()?;
        if first > now {
            return None;
        }
        self.ordered.pop_first();
        Some(id)
    }

    /// Time until the next deadline.
    pub fn until_next(&self) -> Option<Duration> {
        let (first, _) = self.ordered.first()?;
        Some(first.saturating_duration_since(Instant::now()))
    }
}
