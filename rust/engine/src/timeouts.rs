//! The times that no option sets, in one place.

use std::time::Duration;

/// How many times the `close_timeout` the peer of a connection that is being closed may go on sending, once it takes
/// nothing more of ours.
pub const CLOSING_LIMIT_TIMES: u32 = 6;
/// How long a client that was answered without an upgrade may take to see the answer, and the peer of a closed
/// connection without a `close_timeout` to end the stream.
pub const LINGER: Duration = Duration::from_secs(2);
/// How long a client waits for the body of a response that refuses its upgrade.
pub const REFUSAL: Duration = Duration::from_secs(1);
/// How long a peer may send Pings without taking the Pongs.
pub const PONGS: Duration = Duration::from_secs(30);
/// How long an address is waited for before the next one is tried beside it (RFC 8305 section 8,
/// "Connection Attempt Delay").
pub const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// How long accepting pauses when descriptors have run out.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Clocks of many connections that are at least this long come to an end together: at times of a grid, so that the loop
/// is woken for all of them at once.
pub const LONG: Duration = Duration::from_secs(5);
/// The grid.
pub const GRID: Duration = Duration::from_secs(1);
/// How long the next share of such connections waits when more have come due than one turn asks.
pub const SHARE_PAUSE: Duration = Duration::from_millis(50);
/// How often the connections that hold codecs are looked at. One that was idle from one look to the
/// next, which is between once and twice this long, gives them back.
pub const IDLE_CODECS: Duration = Duration::from_secs(5);
