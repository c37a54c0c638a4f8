//! What connections are limited to.

use std::time::Duration;

use evws_engine::{HeadLimits, Limits};

/// What a connection is limited to.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct evws_limits {
    /// Seconds that the peer of a connection that is being closed may go without any progress, until it closes too and
    /// ends the stream; six times that if it only sends; 0 or less: as long as it takes.
    pub close_timeout: f64,
    /// Bytes of the head of the peer's request or response; 0: no limit.
    pub max_header_size: u64,
    /// Headers in it; 0: no limit.
    pub max_headers: u32,
    /// Frames that a message may come in; 0: no limit.
    pub max_fragments: u32,
}

pub(crate) fn limits(options: &evws_limits) -> Limits {
    Limits {
        close_timeout: time(options.close_timeout),
        head: HeadLimits {
            size: bound(options.max_header_size),
            headers: bound(options.max_headers.into()),
        },
        max_fragments: options.max_fragments,
    }
}

/// A size that may be without bound.
fn bound(size: u64) -> usize {
    match usize::try_from(size) {
        Ok(0) | Err(_) => usize::MAX,
        Ok(size) => size,
    }
}

/// Seconds as a time that has an end. Not a number, negative, none at all, beyond all time: none of them has one. What
/// is less than the clock can tell is not nothing.
pub(crate) fn time(seconds: f64) -> Option<Duration> {
    let time = Duration::try_from_secs_f64(seconds).ok()?;
    (seconds > 0.0).then(|| time.max(Duration::from_nanos(1)))
}
