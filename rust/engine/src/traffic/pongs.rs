//! Pongs that a peer does not take.
//!
//! Every Ping gets its own Pong (RFC 6455 section 5.5.2), so a peer that sends Pings and reads nothing
//! would have the send queue grow without end. Nothing more is read from it while too many bytes of
//! Pongs wait, and after [`timeouts::PONGS`](crate::timeouts::PONGS) without progress it is failed.

/// Bytes of unread Pongs beyond which nothing more is read from their peer.
pub const BACKLOG: u32 = 64 * 1024;

/// The Pongs in a send queue.
#[derive(Debug, Default)]
pub struct Pongs {
    /// Their bytes, at most.
    backlog: u32,
    /// How far the queue must be written for the last of them to be out.
    end: u64,
}

/// What a write has changed for the Pongs of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// Their peer is still not read from; it takes something.
    Progress,
    /// Their peer is read from again.
    Resumed,
}

impl Pongs {
    /// Whether nothing may be read from the peer.
    #[inline]
    pub fn throttle(&self) -> bool {
        self.backlog > BACKLOG
    }

    /// A Pong was queued: a frame of `length` bytes that ends where the queue will have been written
    /// up to `end`.
    pub fn queued(&mut self, length: usize, end: u64) {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.backlog = self.backlog.saturating_add(length);
        self.end = end;
    }

    /// The queue was written up to `taken`; `progress`: by the write just now.
    #[inline]
    pub fn written(&mut self, taken: u64, is_empty: bool, progress: bool) -> Change {
        let throttled = self.throttle();
        if is_empty || taken >= self.end {
            self.backlog = 0;
        }
        match throttled {
            true if !self.throttle() => Change::Resumed,
            true if progress => Change::Progress,
            _ => Change::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_throttled_until_the_last_pong_is_out() {
        let mut pongs = Pongs::default();
        pongs.queued(BACKLOG as usize, 70_000);
        assert!(!pongs.throttle());
        pongs.queued(2, 70_002);
        assert!(pongs.throttle());
        assert_eq!(pongs.written(0, false, false), Change::None);
        assert_eq!(pongs.written(70_001, false, true), Change::Progress);
        assert!(pongs.throttle());
        assert_eq!(pongs.written(70_002, false, true), Change::Resumed);
        assert!(!pongs.throttle());
        assert_eq!(pongs.written(70_003, true, true), Change::None);
    }
}
