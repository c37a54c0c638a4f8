//! Payload that is read from the wire straight into the message that it belongs to.

use super::receive::Outcome;
use super::{Connection, Failure, Received};

impl Connection {
    /// Bytes still to come of the data frame that is being assembled; 0 if there is none. Only these may be read into
    /// [`payload_buffer`](Self::payload_buffer): behind them another header stands.
    #[inline]
    pub fn payload_wanted(&self) -> u64 {
        match self.partial.as_ref().and_then(|partial| partial.frame) {
            Some(frame) if !frame.discard && !frame.opcode.is_control() && !self.is_inflating() => {
                frame.remaining
            }
            _ => 0,
        }
    }

    /// Whether the message in progress is a compressed one, whose bytes do not go where they are to be read from.
    fn is_inflating(&self) -> bool {
        let message = self
            .partial
            .as_ref()
            .and_then(|partial| partial.message.as_ref());
        message.is_some_and(|message| message.compressed)
    }

    /// The message being assembled, for reading at most [`payload_wanted`](Self::payload_wanted) bytes directly
    /// behind its end; tell [`payload_received`](Self::payload_received) how many came. It has spare capacity,
    /// though not always for all that is wanted: it grows with what arrives. `None` if nothing is wanted or
    /// there is no memory (`receive` then reports the failure).
    pub fn payload_buffer(&mut self) -> Option<&mut Vec<u8>> {
        let wanted = self.payload_wanted();
        if wanted == 0 {
            return None;
        }
        let message = self.partial.as_mut()?.message.as_mut()?;
        message.reserve(wanted, 1).ok()?;
        Some(&mut message.payload)
    }

    /// The last `count` bytes of [`payload_buffer`](Self::payload_buffer) are new, as they came from the wire. If
    /// [`close`](Self::close) was called after they were read, they are consumed unseen.
    ///
    /// # Panics
    /// If `count` is more than what was wanted: the stream's framing would be lost.
    pub fn payload_received(&mut self, count: usize) -> Received<'_> {
        if count == 0 || self.ended {
            return Received::NeedMore;
        }
        let frame = self.partial.as_ref().and_then(|partial| partial.frame);
        let remaining = frame
            .filter(|frame| !frame.opcode.is_control())
            .map_or(0, |frame| frame.remaining);
        assert!(
            count as u64 <= remaining,
            "more bytes read than the frame has"
        );
        match self.appended(count) {
            Ok(Some(outcome)) => self.deliver(outcome, &[]),
            Ok(None) => Received::NeedMore,
            Err(failure) => self.fail(failure),
        }
    }

    /// Payload was read straight into the message.
    fn appended(&mut self, count: usize) -> Result<Option<Outcome>, Failure> {
        let partial = self.partial();
        let Some(mut frame) = partial.frame.take() else {
            return Ok(None);
        };
        if frame.discard {
            frame.remaining -= count as u64;
            return Ok(self.keep_unfinished(frame));
        }
        partial.has_progress = true;
        let Some(message) = partial.message.as_mut() else {
            return Ok(None);
        };
        message.appended(&mut frame, count)?;
        self.finish_data(frame)
    }
}
