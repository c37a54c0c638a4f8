//! Whether the peer is still there: when it is asked for a sign of life, what counts as one, and when it is given up.
//!
//! When nothing has come for `ping_interval`, a Ping goes out. Whatever comes then is a sign of life; the Pong beside that tells
//! the latency. So is what a blocked queue gets rid of: a Ping behind it could not be answered, and none is sent. The
//! peer of a connection that is not read, because the program has paused it or nobody takes our Pongs, may have said
//! anything: it is not judged.

use std::os::fd::AsFd;
use std::time::Duration;

use evws_proto::connection::FrameKind;

use super::link::Link;
use super::state::Writing;
use super::Traffic;
use crate::event::{Event, Id};
use crate::log::Topic;
use crate::reactor::{Clock, Reactor, Time, Timer};
use crate::shared::Shared;
use crate::{sys, timeouts};

/// Peers that are asked in one turn of the loop, which takes some milliseconds. Each share of ten thousand wakes the process,
/// so it is not smaller.
const ASKS_PER_TURN: u32 = if cfg!(test) { 64 } else { 1024 };
/// Turns that a peer is given whose time is over: in one, the loop hears of what came while it was held up, and
/// in the next of what that has led to, a timer's answer for one. A loop may run timers before what it reads.
pub const DOUBTS: u8 = 2;
/// Bytes of a Ping's payload: those that say it is ours, and as many that nobody can guess.
const PAYLOAD: usize = 16;

/// The signs of life of one peer.
#[derive(Debug, Default)]
pub struct Pulse {
    /// When the last one was; `None`: nobody wants to know.
    heard: Option<Time>,
    /// Since when one is awaited.
    asked: Option<Time>,
    /// The random part of the Ping that was sent then, until it is answered; 0: there is none.
    number: u64,
    /// How long the last answer took, in microseconds; 0: there was none.
    latency: u32,
    /// Bytes that the peer had yet to take when it was asked: it may be busy with them.
    outstanding: u32,
}

/// What is to be done about a peer.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Nothing before that time; `None`: ever.
    Wait(Option<Time>),
    /// It is asked for a sign of life.
    Ask,
    /// It was asked, and has not answered in time.
    Overdue,
}

impl Pulse {
    /// There is a sign of life.
    #[inline]
    pub fn hear(&mut self, clock: &Clock) {
        if self.heard.is_some() {
            self.heard = Some(clock.now());
        }
    }

    /// From now on signs of life are noted.
    pub fn begin(&mut self, now: Time) {
        self.heard = Some(now);
    }

    /// Whether a Pong answers one of our own Pings, which the program knows nothing of. Only the answer to the last one
    /// tells the latency.
    pub fn take_pong(&mut self, tag: u64, payload: &[u8], now: Time) -> bool {
        let Ok(payload) = <[u8; PAYLOAD]>::try_from(payload) else {
            return false;
        };
        if tag == 0 || !payload.starts_with(&tag.to_ne_bytes()) {
            return false;
        }
        let is_last = self.number != 0 && payload.ends_with(&self.number.to_ne_bytes());
        if let (true, Some(asked)) = (is_last, self.asked) {
            self.number = 0;
            let time = now.since(asked).as_micros();
            self.latency = u32::try_from(time).unwrap_or(u32::MAX).max(1);
        }
        true
    }

    /// How long the peer took last to answer a Ping of ours.
    pub fn latency(&self) -> Option<Duration> {
        let is_known = self.latency != 0;
        is_known.then(|| Duration::from_micros(self.latency.into()))
    }

    fn judge(&self, now: Time, interval: Duration, timeout: Option<Duration>) -> Verdict {
        let heard = self.heard.unwrap_or(Time::BEGINNING);
        // One that was heard in the turn of the question had not heard it.
        let asked = self.asked.filter(|&asked| heard <= asked);
        let until = match (asked, timeout) {
            (Some(asked), Some(timeout)) => asked.checked_add(timeout),
            (Some(asked), None) => asked.checked_add(interval),
            (None, _) => heard.checked_add(interval),
        };
        match until {
            Some(until) if until <= now => match (asked, timeout) {
                (Some(_), Some(_)) => Verdict::Overdue,
                _ => Verdict::Ask,
            },
            until => Verdict::Wait(until),
        }
    }

    /// A sign of life is awaited from now on. An answer to an earlier Ping tells nothing about this time.
    fn ask(&mut self, now: Time, outstanding: u32) {
        self.asked = Some(now);
        self.number = 0;
        self.outstanding = outstanding;
    }

    /// A Ping goes out with this number. What it is to be made of.
    fn ping(&mut self, tag: u64, number: u64) -> [u8; PAYLOAD] {
        self.number = number;
        let mut payload = [0; PAYLOAD];
        let (front, back) = payload.split_at_mut(PAYLOAD / 2);
        front.copy_from_slice(&tag.to_ne_bytes());
        back.copy_from_slice(&number.to_ne_bytes());
        payload
    }
}

/// How many peers may be asked in this turn: thousands that were opened together come due together.
#[derive(Debug, Default)]
pub struct Share {
    taken: u32,
}

impl Share {
    /// A turn begins.
    pub fn begin_turn(&mut self) {
        self.taken = 0;
    }

    fn take(&mut self) -> bool {
        self.taken += 1;
        self.taken <= ASKS_PER_TURN
    }
}

/// When a connection is to be looked at: long times end together.
pub fn look_at(at: Option<Time>, time: Duration) -> Option<Time> {
    if time < timeouts::LONG {
        at
    } else {
        at.map(|at| at.on_grid(timeouts::GRID))
    }
}

impl Traffic {
    /// A connection is open from now on.
    pub(super) fn start_clocks(&mut self, id: Id, reactor: &mut Reactor) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        let now = reactor.clock().now();
        if let Some(interval) = link.limits.ping_interval {
            link.pulse.begin(now);
            let at = look_at(now.checked_add(interval), interval);
            reactor.start_at(id, Timer::Keepalive, at);
        }
    }

    /// Nothing may have come from a peer for a while: it is asked for a sign of life, or given up.
    pub(super) fn look_for_life(&mut self, id: Id, shared: &mut Shared<'_>) {
        let now = shared.reactor.clock().now();
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        let limits = &link.limits;
        let (Some(interval), true) = (limits.ping_interval, link.state.is_open()) else {
            return;
        };
        let timeout = limits.pong_timeout;
        if link.is_unread() {
            link.pulse.heard = Some(now);
        }
        let next = match link.pulse.judge(now, interval, timeout) {
            Verdict::Wait(at) => look_at(at, interval),
            Verdict::Ask if !self.share.take() => now.checked_add(timeouts::SHARE_PAUSE),
            Verdict::Ask => {
                self.ask_for_life(id, now);
                // It may be due again before the answer is, if that comes soon.
                let time = timeout.unwrap_or(interval).min(interval);
                look_at(now.checked_add(time), time)
            }
            Verdict::Overdue => match doubt(link, now) {
                Some(Doubt::Progress) => {
                    let time = timeout.unwrap_or(interval);
                    look_at(now.checked_add(time), time)
                }
                // In the next turn.
                Some(Doubt::Unread) => now.checked_add(Duration::from_nanos(1)),
                None => return self.fail_silent(id, shared),
            },
        };
        shared.reactor.start_at(id, Timer::Keepalive, next);
    }

    /// A peer has answered. It is not looked at before it is to be asked again: that would wake the process for nothing.
    pub(super) fn put_off_look(&mut self, id: Id, reactor: &mut Reactor) {
        let Some(link) = self.links.get(id) else {
            return;
        };
        if let (Some(interval), true) = (link.limits.ping_interval, link.state.is_open()) {
            let heard = link.pulse.heard;
            let at = look_at(
                heard.and_then(|heard| heard.checked_add(interval)),
                interval,
            );
            // A timer that is only moved to a later time is looked at when the earlier one comes.
            reactor.stop(id, Timer::Keepalive);
            reactor.start_at(id, Timer::Keepalive, at);
        }
    }

    fn ask_for_life(&mut self, id: Id, now: Time) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        let outstanding = outstanding(link);
        link.pulse.ask(now, outstanding);
        link.pulse_doubts = 0;
        if !matches!(link.state.writing(), Writing::Idle | Writing::Queued) {
            return;
        }
        while self.ping_tag == 0 {
            self.ping_tag = self.masks.number();
        }
        let number = self.masks.number().max(1);
        let payload = link.pulse.ping(self.ping_tag, number);
        self.queue_control(id, FrameKind::Ping, &payload);
    }

    /// The peer has shown no sign of life, though it was asked.
    fn fail_silent(&mut self, id: Id, shared: &mut Shared<'_>) {
        let text = "ping timeout";
        self.log.write(Topic::Error, id, format_args!("{text}"));
        shared.outbox.push_text(Event::Error { id }, text);
        self.end(id, 1006, shared);
    }
}

/// Why a peer whose time is over is not given up yet.
enum Doubt {
    /// It takes what was sent before it was asked.
    Progress,
    /// The answer may lie there unread.
    Unread,
}

/// Bytes that are queued, or sent and not acknowledged.
fn outstanding(link: &Link) -> u32 {
    let queued = link.queue.end() - link.queue.taken();
    let queued = u32::try_from(queued).unwrap_or(u32::MAX);
    queued.saturating_add(sys::unacknowledged(link.fd.as_fd()))
}

fn doubt(link: &mut Link, now: Time) -> Option<Doubt> {
    let left = outstanding(link);
    if left < link.pulse.outstanding {
        link.pulse.ask(now, left);
        link.pulse_doubts = 0;
        return Some(Doubt::Progress);
    }
    link.pulse_doubts += 1;
    (link.pulse_doubts <= DOUBTS).then_some(Doubt::Unread)
}

#[cfg(test)]
mod tests;
