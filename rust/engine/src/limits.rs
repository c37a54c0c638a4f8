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
