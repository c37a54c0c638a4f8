//! What connections are limited to.

use std::time::Duration;

use evws_engine::{HeadLimits, Limits, QueueLimits, Rate, WhenFull};

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
    /// Bytes of frames that may wait to be sent; 0: no limit. A message for which there is room is queued whole, and a
    /// control frame always is.
    pub max_send_queue: u64,
    /// What happens to a message for which there is no room: one of `EVWS_QUEUE_*`.
    pub send_queue_policy: evws_queue_policy,
    /// Bytes of frames from which on `EVWS_EVENT_DRAIN` follows, when no more than `send_low_water` are left; 0: it
    /// follows every send, when the queue is empty.
    pub send_high_water: u64,
    /// Less than `send_high_water`, or it counts as one less.
    pub send_low_water: u64,
    /// Messages that the peer may send in a second, and how many at once; 0: no limit. A peer that sends more is not
    /// read from for a while.
    pub max_message_rate: [f64; 2],
    /// The same for the bytes of its frames.
    pub max_byte_rate: [f64; 2],
    /// Seconds without a byte from the peer after which it is sent a Ping; 0 or less: it is sent none.
    pub ping_interval: f64,
    /// Seconds that it may take after that for the next byte; the connection then fails with the text `ping timeout`, and
    /// 1006. 0 or less: nothing follows.
    pub pong_timeout: f64,
    /// Seconds without a message in either direction after which the connection is closed with 1001; 0 or less: any time.
    pub idle_timeout: f64,
    /// Seconds after which an open connection is closed with 1001, or up to a tenth earlier; 0 or less: any time.
    pub max_lifetime: f64,
}

/// What happens to a message for which the send queue has no room: one of `EVWS_QUEUE_*`.
pub type evws_queue_policy = u32;

/// Its connection fails with 1013, and the call returns `EVWS_STATUS_DROPPED`.
pub const EVWS_QUEUE_CLOSE: evws_queue_policy = 0;
/// It is refused with `EVWS_STATUS_QUEUE_FULL`, also a further part of a message.
pub const EVWS_QUEUE_REFUSE: evws_queue_policy = 1;
/// It is dropped, and the call returns `EVWS_STATUS_DROPPED`. Of a message in parts either all are dropped or none.
pub const EVWS_QUEUE_DROP: evws_queue_policy = 2;

pub(crate) fn limits(options: &evws_limits) -> Limits {
    Limits {
        close_timeout: time(options.close_timeout),
        ping_interval: time(options.ping_interval),
        pong_timeout: time(options.pong_timeout),
        idle_timeout: time(options.idle_timeout),
        max_lifetime: time(options.max_lifetime),
        head: HeadLimits {
            size: bound(options.max_header_size),
            headers: bound(options.max_headers.into()),
        },
        max_fragments: options.max_fragments,
        send_queue: QueueLimits::new(
            options.max_send_queue,
            options.send_high_water,
            options.send_low_water,
            match options.send_queue_policy {
                EVWS_QUEUE_REFUSE => WhenFull::Refuse,
                EVWS_QUEUE_DROP => WhenFull::Drop,
                _ => WhenFull::Close,
            },
        ),
        message_rate: rate(options.max_message_rate),
        byte_rate: rate(options.max_byte_rate),
    }
}

fn rate([per_second, burst]: [f64; 2]) -> Option<Rate> {
    Rate::new(per_second, burst)
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
