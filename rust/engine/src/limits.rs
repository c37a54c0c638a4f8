//! The limits that options set: one field each. A connection holds them by a reference, and all connections of a
//! listener share one, so that a limit more costs none of them anything.

use std::time::Duration;

use evws_proto::handshake::HeadLimits;

use crate::timeouts;

/// What a connection is limited to. The times are without end by default, and the sizes but those of heads without
/// bound: what a program gets that says nothing is its caller's to decide.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// How long the peer of a connection that is being closed may go without any progress, until it closes too and ends
    /// the stream; `None`: as long as it takes.
    pub close_timeout: Option<Duration>,
    /// How large the head of the peer's request or response may be.
    pub head: HeadLimits,
    /// The most frames that a message may come in; 0: no limit.
    pub max_fragments: u32,
    /// How much may wait to be sent.
    pub send_queue: QueueLimits,
    /// How many messages the peer may send; `None`: any number.
    pub message_rate: Option<Rate>,
    /// How many bytes the peer may send; `None`: any number.
    pub byte_rate: Option<Rate>,
    /// How long nothing may come from a peer before it is asked for a sign of life; `None`: it is not asked.
    pub ping_interval: Option<Duration>,
    /// How long it may take for that sign; `None`: it is asked, but nothing follows if it does not answer.
    pub pong_timeout: Option<Duration>,
    /// How long there may be no message in either direction; `None`: any time.
    pub idle_timeout: Option<Duration>,
    /// How long a connection may be open, or up to a tenth less; `None`: any time.
    pub max_lifetime: Option<Duration>,
}

impl Limits {
    /// How long the peer of a connection that is being closed may go on sending, once it takes nothing more of ours.
    pub fn closing_limit(&self) -> Option<Duration> {
        let times = timeouts::CLOSING_LIMIT_TIMES;
        self.close_timeout.map(|time| time.saturating_mul(times))
    }

    /// How long a connection that the program knows as closed is kept without progress, for the peer to get our last
    /// bytes and end the stream. Nobody can end it any more, so it has an end in any case.
    pub fn linger(&self) -> Duration {
        self.close_timeout.unwrap_or(timeouts::LINGER)
    }
}

/// How much a peer may send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// How much in a second.
    pub per_second: f64,
    /// How much at once, at least one, after it has sent less for a while.
    pub burst: f64,
}

impl Rate {
    /// `None`: nothing is limited.
    pub fn new(per_second: f64, burst: f64) -> Option<Rate> {
        let burst = burst.max(1.0);
        (per_second > 0.0).then_some(Rate { per_second, burst })
    }
}

/// What a peer has sent too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateLimit {
    /// Whole messages.
    Messages,
    /// Bytes of the stream, headers of frames included.
    Bytes,
}

/// What happens to a message for which the send queue has no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// Its connection fails with 1013.
    #[default]
    Close,
    /// The call is refused.
    Refuse,
    /// It is dropped, and counted.
    Drop,
}

/// How much may wait to be sent, in octets of frames with their headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// From here on no further message is queued.
    full: u64,
    /// From here on the program hears when the queue has become short.
    high: u64,
    /// What is short.
    low: u64,
    /// From here on a program that goes by the marks does not send.
    unwritable: u64,
    /// What happens to a message for which there is no room.
    pub when_full: WhenFull,
}

impl Default for QueueLimits {
    fn default() -> Self {
        QueueLimits::new(0, 0, 0, WhenFull::default())
    }
}

impl QueueLimits {
    /// 0 for `full`: no limit. 0 for `high`: the program hears of each queue that has become empty.
    pub fn new(full: u64, high: u64, low: u64, when_full: WhenFull) -> Self {
        let full = if full == 0 { u64::MAX } else { full };
        // A queue that has grown to its limit does not reach a mark beyond.
        let high = high.min(full);
        let long = high.max(1);
        QueueLimits {
            full,
            high: long,
            low: low.min(long - 1),
            unwritable: if high == 0 { full } else { high },
            when_full,
        }
    }

    /// Whether a queue has no room for a message.
    #[inline]
    pub fn is_full(&self, waiting: u64) -> bool {
        waiting >= self.full
    }

    /// Whether a queue is so long that the program is to hear when it has become short.
    #[inline]
    pub fn is_long(&self, waiting: u64) -> bool {
        waiting >= self.high
    }

    /// Whether a queue that was long has become short.
    #[inline]
    pub fn is_short(&self, waiting: u64) -> bool {
        waiting <= self.low
    }

    /// Whether a program that goes by the marks would send.
    pub fn is_writable(&self, waiting: u64) -> bool {
        waiting < self.unwritable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_marks_a_queue_is_short_when_it_is_empty_and_long_otherwise() {
        let limits = QueueLimits::default();
        assert!(limits.is_short(0) && !limits.is_short(1));
        assert!(limits.is_long(1) && !limits.is_long(0));
        assert!(!limits.is_full(u64::MAX - 1) && limits.is_writable(u64::MAX - 1));
        let limited = QueueLimits::new(100, 0, 0, WhenFull::Drop);
        assert!(limited.is_writable(99) && !limited.is_writable(100));
        assert!(limited.is_full(100) && !limited.is_full(99));
        assert!(!QueueLimits::new(0, 1, 0, WhenFull::Drop).is_writable(1));
    }

    /// Whoever waits for the low mark must have been told to: a queue that is not writable is a long one.
    #[test]
    fn a_queue_that_is_not_writable_will_be_told_of() {
        for (full, high, low) in [
            (0, 0, 0),
            (9, 0, 0),
            (0, 6, 2),
            (9, 6, 6),
            (5, 8, 7),
            (0, 1, 0),
            (1, 9, 9),
        ] {
            let limits = QueueLimits::new(full, high, low, WhenFull::Refuse);
            for waiting in 0..20 {
                assert!(limits.is_writable(waiting) || limits.is_long(waiting));
                assert!(!limits.is_full(waiting) || !limits.is_writable(waiting));
                assert!(!(limits.is_long(waiting) && limits.is_short(waiting)));
            }
            assert!(limits.is_short(0));
        }
    }
}
