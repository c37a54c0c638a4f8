//! The sources of a context as the loop sees them: ids that go stale instead of dangling, what each
//! descriptor is watched for, and timers. It does not know what its sources are.

mod clock;
mod departures;
mod timers;

use std::cell::Cell;
use std::os::fd::{OwnedFd, RawFd};
use std::time::Duration;

pub use clock::{Clock, Time};
pub use timers::Timer;

use crate::event::{Id, Interest, Watch};
use crate::log::{Log, Topic};
use departures::{DepartingFd, Departure, Departures};
use timers::{TimerList, Timers};

/// The context itself, as the owner of timers.
pub const CONTEXT: Id = 0;

/// How a slot is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum SlotState {
    /// The slot may be given to the next source.
    #[default]
    Vacant,
    /// A source has the slot.
    Taken,
    /// The source is gone, and its descriptors have yet to leave the loop.
    Leaving,
}

/// A place for a source.
#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    /// How many of its descriptors have yet to leave the loop.
    leaving: u32,
    state: SlotState,
    /// What the caller was last told to watch the descriptor for; `None`: it is not watched.
    watched: Option<Interest>,
    /// Whether the source is in [`Reactor::touched`].
    is_touched: bool,
    timers: TimerList,
}

/// The sources of a context, their timers, and its clock.
#[derive(Debug, Default)]
pub struct Reactor {
    slots: Vec<Slot>,
    vacant: Vec<u32>,
    /// Sources whose interest may have changed.
    touched: Vec<Id>,
    departures: Departures,
    timers: Timers,
    /// The time that the caller waits for, to be told of it by [`pop_due`](Self::pop_due).
    awaited: Cell<Option<Time>>,
    /// The timers of the context itself.
    own: TimerList,
    clock: Clock,
    log: Log,
}

/// The index of an id in tables that have an entry for each slot.
#[inline]
pub fn index(id: Id) -> usize {
    (id & u64::from(u32::MAX)) as usize
}

impl Reactor {
    /// A reactor that writes to this log.
    pub fn new(log: Log) -> Self {
        Reactor {
            log,
            ..Reactor::default()
        }
    }

    // ---- sources ----

    /// Takes a slot for a new source. The id is never 0.
    pub fn claim(&mut self) -> Id {
        let index = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.max(1);
        slot.state = SlotState::Taken;
        (u64::from(slot.generation) << 32) | u64::from(index)
    }

    fn slot(&mut self, id: Id) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(index(id))?;
        (u64::from(slot.generation) == id >> 32).then_some(slot)
    }

    /// Ends a source. The slot is free when the descriptor has left the loop.
    pub fn release(&mut self, id: Id, fd: Option<OwnedFd>) {
        self.end(id);
        match fd {
            Some(fd) => self.retire(id, fd),
            None => self.free_if_left(id),
        }
    }

    /// Ends a source whose descriptor goes on under another token. The caller is told to stop watching
    /// this token before it hears of the other.
    pub fn release_moved(&mut self, id: Id, fd: RawFd) {
        self.end(id);
        self.leave(id, DepartingFd::Moved(fd));
    }

    /// Gives up a descriptor while its source stays.
    pub fn retire(&mut self, id: Id, fd: OwnedFd) {
        self.leave(id, DepartingFd::Closed(fd));
        self.touch(id);
    }

    fn end(&mut self, id: Id) {
        self.stop_all(id);
        if let Some(slot) = self.slot(id) {
            slot.state = SlotState::Leaving;
        }
    }

    fn leave(&mut self, id: Id, fd: DepartingFd) {
        let is_watched = self.slot(id).is_some_and(|slot| {
            slot.leaving += 1;
            slot.watched.take().is_some()
        });
        self.departures.add(id, fd, is_watched);
    }

    /// A descriptor has left the loop. With the last descriptor of a source that is gone, the slot is free.
    fn has_left(&mut self, id: Id) {
        if let Some(slot) = self.slot(id) {
            slot.leaving -= 1;
            self.free_if_left(id);
        }
    }

    fn free_if_left(&mut self, id: Id) {
        let Some(slot) = self.slot(id) else { return };
        if slot.state != SlotState::Leaving || slot.leaving > 0 {
            return;
        }
        slot.state = SlotState::Vacant;
        slot.watched = None;
        // The old id may still be in the list of touched sources, where it will be ignored. It must not
        // keep the slot's next source out of the list.
        slot.is_touched = false;
        slot.generation = slot.generation.wrapping_add(1);
        self.vacant.push(index(id) as u32);
    }

    // ---- interests ----

    /// Notes that what a source is watched for may have changed.
    pub fn touch(&mut self, id: Id) {
        if let Some(slot) = self.slot(id) {
            if !slot.is_touched {
                slot.is_touched = true;
                self.touched.push(id);
            }
        }
    }

    /// The next descriptor that the caller is to stop watching, until there are none. It is closed
    /// by the call that follows.
    pub fn poll_departure(&mut self) -> Option<Watch> {
        loop {
            match self.departures.next()? {
                Departure::Unwatch(watch) => {
                    self.log_watch(&watch);
                    return Some(watch);
                }
                Departure::Closed(id, fd) => {
                    self.log
                        .write(Topic::Descriptor, id, format_args!("fd {fd} is closed"));
                    self.has_left(id);
                }
                Departure::Gone(id) => self.has_left(id),
            }
        }
    }

    /// The next source to look at for a change of its interest, until there are none.
    pub fn poll_touched(&mut self) -> Option<Id> {
        loop {
            let id = self.touched.pop()?;
            if let Some(slot) = self.slot(id) {
                slot.is_touched = false;
                return Some(id);
            }
        }
    }

    /// What the caller is to be told of a source with this descriptor and interest; `None`: it knows.
    pub fn compare(&mut self, id: Id, fd: RawFd, interest: Option<Interest>) -> Option<Watch> {
        let slot = self.slot(id)?;
        if slot.watched == interest {
            return None;
        }
        slot.watched = interest;
        let watch = Watch {
            token: id,
            fd,
            interest,
        };
        self.log_watch(&watch);
        Some(watch)
    }

    fn log_watch(&self, watch: &Watch) {
        let Watch { fd, interest, .. } = *watch;
        match interest {
            None => self.log.write(
                Topic::Descriptor,
                watch.token,
                format_args!("fd {fd} is not watched any more"),
            ),
            Some(interest) => self.log.write(
                Topic::Descriptor,
                watch.token,
                format_args!("fd {fd} is watched for {interest}"),
            ),
        }
    }

    // ---- time ----

    /// The clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Starts a timer of a source or of [`CONTEXT`], or moves it; `None` or more than a clock can
    /// hold stops it.
    pub fn start(&mut self, id: Id, timer: Timer, after: Option<Duration>) {
        let at = after.and_then(|after| self.clock.in_future(after));
        self.start_at(id, timer, at);
    }

    /// The same with the time when it runs out.
    pub fn start_at(&mut self, id: Id, timer: Timer, at: Option<Time>) {
        let Some(at) = at else {
            return self.stop(id, timer);
        };
        let Reactor {
            slots,
            timers,
            own,
            clock,
            ..
        } = self;
        if let Some(list) = list(slots, own, id) {
            if self.log.is_on() {
                let verb = list.at(timer).map_or("starts", |_| "is moved");
                let after = clock.until(at);
                self.log.write(
                    Topic::Timer,
                    id,
                    format_args!("{timer:?} {verb}, runs out in {after:?}"),
                );
            }
            timers.start(list, id, timer, at);
        }
    }

    /// Stops a timer, if it runs.
    pub fn stop(&mut self, id: Id, timer: Timer) {
        let Reactor {
            slots, timers, own, ..
        } = self;
        if list(slots, own, id).is_some_and(|list| timers.stop(list, id, timer)) {
            self.log
                .write(Topic::Timer, id, format_args!("{timer:?} is stopped"));
        }
    }

    /// Stops all timers of a source.
    pub fn stop_all(&mut self, id: Id) {
        let Reactor {
            slots, timers, own, ..
        } = self;
        if let Some(list) = list(slots, own, id) {
            if self.log.is_on() {
                for timer in list.running() {
                    self.log
                        .write(Topic::Timer, id, format_args!("{timer:?} is stopped"));
                }
            }
            timers.stop_all(list, id);
        }
    }

    /// Time until a timer of a source runs out; `None`: it does not run.
    pub fn remaining(&self, id: Id, timer: Timer) -> Option<Duration> {
        let list = if id == CONTEXT {
            &self.own
        } else {
            let slot = self.slots.get(index(id))?;
            if u64::from(slot.generation) != id >> 32 {
                return None;
            }
            &slot.timers
        };
        Some(self.clock.until(list.at(timer)?))
    }

    /// Takes the next timer that has run out.
    pub fn pop_due(&mut self) -> Option<(Id, Timer)> {
        self.awaited.set(None);
        let now = self.clock.now();
        let Reactor {
            slots, timers, own, ..
        } = self;
        while let Some((id, timer)) = timers.first(now) {
            let mut none = TimerList::None;
            let list = list(slots, own, id).unwrap_or(&mut none);
            if timers.take(list, id, timer, now) {
                self.log
                    .write(Topic::Timer, id, format_args!("{timer:?} has run out"));
                return Some((id, timer));
            }
        }
        None
    }

    /// Time until timers are to be looked at; `None`: none runs. Counted from when this turn began, if the caller waits
    /// for an earlier time already; otherwise from now, since the turn may have taken long.
    pub fn until_due(&self) -> Option<Duration> {
        let at = self.timers.first_time();
        if at.is_none() || self.awaited.get().is_none_or(|awaited| at < Some(awaited)) {
            self.clock.begin_turn();
            self.awaited.set(at);
        }
        Some(self.clock.until(at?))
    }
}

/// The timers of a source, unless it has ended: one that was started then would outlive the id that
/// it is found by, and stand in the way of all others.
#[inline]
fn list<'a>(slots: &'a mut [Slot], own: &'a mut TimerList, id: Id) -> Option<&'a mut TimerList> {
    if id == CONTEXT {
        return Some(own);
    }
    let slot = slots.get_mut(index(id))?;
    let is_current = u64::from(slot.generation) == id >> 32 && slot.state == SlotState::Taken;
    is_current.then_some(&mut slot.timers)
}

#[cfg(test)]
impl Reactor {
    /// Lets time go by.
    pub fn advance(&mut self, time: Duration) {
        self.clock.advance(time);
    }

    /// Whether an id is not stale.
    pub fn is_current(&mut self, id: Id) -> bool {
        self.slot(id).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    fn descriptor() -> OwnedFd {
        UnixStream::pair().unwrap().0.into()
    }

    #[test]
    fn a_slot_is_free_when_its_watched_descriptor_has_left() {
        let mut reactor = Reactor::default();
        let id = reactor.claim();
        let fd = descriptor();
        let number = fd.as_raw_fd();
        let watch = reactor.compare(id, number, Some(Interest::READ)).unwrap();
        assert_eq!((watch.token, watch.interest), (id, Some(Interest::READ)));
        assert_eq!(reactor.compare(id, number, Some(Interest::READ)), None);
        reactor.start(id, Timer::Linger, Some(Duration::ZERO));
        reactor.release(id, Some(fd));
        assert_eq!(reactor.pop_due(), None, "its timers have gone");
        assert!(reactor.is_current(id));
        let told = reactor.poll_departure().unwrap();
        assert_eq!((told.fd, told.interest), (number, None));
        assert!(reactor.is_current(id), "the caller has not let go yet");
        assert_eq!(reactor.poll_departure(), None);
        assert!(!reactor.is_current(id));
        let next = reactor.claim();
        assert_eq!(index(next), index(id));
        assert_ne!(next, id);
    }

    /// The second one would be told of under an id that another source has by now.
    #[test]
    fn a_slot_is_not_free_before_all_descriptors_of_its_source_have_left() {
        let mut reactor = Reactor::default();
        let id = reactor.claim();
        let both = [descriptor(), descriptor()];
        let numbers = [both[0].as_raw_fd(), both[1].as_raw_fd()];
        let [first, second] = both;
        reactor.compare(id, numbers[0], Some(Interest::READ));
        reactor.retire(id, first);
        reactor.compare(id, numbers[1], Some(Interest::READ));
        reactor.release(id, Some(second));
        for number in numbers {
            assert_eq!(reactor.poll_departure().map(|told| told.fd), Some(number));
            assert!(reactor.is_current(id));
        }
        assert_eq!(reactor.poll_departure(), None);
        assert!(!reactor.is_current(id));
    }

    #[test]
    fn one_that_nobody_watches_leaves_without_a_word() {
        let mut reactor = Reactor::default();
        let id = reactor.claim();
        reactor.retire(id, descriptor());
        assert_eq!(reactor.poll_departure(), None);
        assert_eq!(reactor.poll_touched(), Some(id));
        reactor.release(id, None);
        assert!(!reactor.is_current(id));
        reactor.touch(id);
        assert_eq!(reactor.poll_touched(), None);
    }

    #[test]
    fn timers_of_sources_and_of_the_context_come_when_they_are_due() {
        let mut reactor = Reactor::default();
        let id = reactor.claim();
        let second = Duration::from_secs(1);
        reactor.start(id, Timer::Closing, Some(2 * second));
        reactor.start(CONTEXT, Timer::Shutdown, Some(second));
        reactor.start(id, Timer::Pongs, Some(Duration::MAX));
        assert_eq!(reactor.remaining(id, Timer::Pongs), None);
        assert_eq!(reactor.remaining(id, Timer::Closing), Some(2 * second));
        let until = reactor.until_due().unwrap();
        assert!(until <= second);
        // The clock is not read again for who waits for that already.
        assert_eq!(reactor.until_due(), Some(until));
        assert_eq!(reactor.pop_due(), None);
        reactor.advance(2 * second);
        assert_eq!(reactor.pop_due(), Some((CONTEXT, Timer::Shutdown)));
        assert_eq!(reactor.pop_due(), Some((id, Timer::Closing)));
        assert_eq!((reactor.pop_due(), reactor.until_due()), (None, None));
    }

    /// A callback had taken four seconds: the timer that it started last was waited for from when its turn had begun.
    #[test]
    fn what_is_waited_for_is_counted_from_now_when_it_is_earlier_than_before() {
        let mut reactor = Reactor::default();
        let id = reactor.claim();
        let second = Duration::from_secs(1);
        reactor.start(id, Timer::Closing, Some(20 * second));
        assert!(reactor.until_due().unwrap() > 19 * second);
        reactor.start(id, Timer::Linger, Some(10 * second));
        reactor.clock.advance_in_a_turn(4 * second);
        assert!(reactor.until_due().unwrap() <= 6 * second);
        reactor.clock.advance_in_a_turn(second);
        assert!(
            reactor.until_due().unwrap() > 5 * second,
            "nobody waits anew"
        );
    }

    #[test]
    fn a_source_that_has_ended_starts_no_timer() {
        let mut reactor = Reactor::default();
        let (ended, other) = (reactor.claim(), reactor.claim());
        reactor.release(ended, Some(descriptor()));
        reactor.start(ended, Timer::Linger, Some(Duration::ZERO));
        assert_eq!(reactor.until_due(), None);
        reactor.start(other, Timer::Linger, Some(Duration::ZERO));
        assert_eq!(reactor.poll_departure(), None);
        assert!(!reactor.is_current(ended));
        assert_eq!(reactor.pop_due(), Some((other, Timer::Linger)));
        assert_eq!(reactor.until_due(), None);
    }
}
