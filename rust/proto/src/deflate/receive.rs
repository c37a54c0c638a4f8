//! What a connection receives compressed (RFC 7692 section 7.2.2): a message is inflated as it arrives, and delivered
//! only if its compressed bytes end where a message may end.
//!
//! A sender takes four bytes off, the [`TAIL`]: the lengths of an empty block without compression, whose header is left
//! as the last bits of the message. An inflater takes the four bytes for whatever it is waiting for, and does not say
//! what that was: a message that was cut inside a block would be delivered with an end that nobody sent. So the last
//! bytes wait until the message has ended. They are inflated with a stop after each block, and the tail must be all of
//! a block but its header.
//!
//! INVARIANT: how the message is cut into calls changes nothing. What is wrong with it is found at the same byte.

use super::inflater::{End, Inflater};
use super::pool::Codecs;
use super::{window, Direction, MAX_WINDOW_BITS};
use crate::connection::Failure;

/// The bytes that a sender removes from the end of each message, and a receiver appends (RFC 7692 sections 7.2.1 and
/// 7.2.2).
pub(super) const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];

/// How many bytes wait for the end of the message: two that can have bits of the last block's header, and the tail if
/// it is there.
const WAITING: usize = 2 + TAIL.len();

/// Bytes behind the tail. With so many to read from, an inflater is fast.
const PADDING: usize = 16;

/// The least room that inflated bytes are given beyond what is known to be needed.
const LEAST_ROOM: usize = 64;

/// The most that a peer can refer back to.
const LARGEST_WINDOW: usize = 1 << MAX_WINDOW_BITS;

/// So many bytes of window are given to streams that follow a block with BFINAL, for each compressed byte. A window of
/// 32 KiB takes as long to copy as some hundred bytes to inflate, and two bytes can ask for one.
const WINDOW_PER_BYTE: u64 = 64;

const INVALID: &str =
    "peer sent a compressed message that is no deflate data (RFC 7692 section 7.2.2)";
const TOO_BIG: &str = "message exceeds max_message_size";
pub(super) const NO_MEMORY: &str = "message does not fit into memory";

/// The receiving direction of a connection's compression.
#[derive(Debug)]
pub(super) struct Receiver {
    codecs: Codecs,
    direction: Direction,
    /// A compressed message is being received.
    inflating: bool,
    history: History,
    /// Bytes that the peer may refer back to, of earlier messages.
    history_length: usize,
    /// Where in the message begins what the peer may refer to.
    known_from: usize,
    /// Compressed bytes of the message that were inflated.
    taken: u64,
    /// Bytes of window that were copied for streams inside the message.
    copied: u64,
    /// The compressed bytes that wait for the end of their message.
    waiting: [u8; WAITING],
    waiting_length: usize,
}

/// The inflater, or the window that the peer may refer back to.
#[derive(Debug)]
enum History {
    None,
    Window(Box<[u8]>),
    Inflater(Box<Inflater>),
    /// The window could not be kept: what follows has no meaning.
    Lost,
}

impl Receiver {
    pub fn new(direction: Direction, codecs: Codecs) -> Self {
        Self {
            codecs,
            direction,
            inflating: false,
            history: History::None,
            history_length: 0,
            known_from: 0,
            taken: 0,
            copied: 0,
            waiting: [0; WAITING],
            waiting_length: 0,
        }
    }

    /// Inflates the next compressed bytes of a message to the end of `message`, which has at most `limit` bytes
    /// afterwards, also if that is too few.
    pub fn inflate(
        &mut self,
        input: &[u8],
        message: &mut Vec<u8>,
        limit: u64,
    ) -> Result<(), Failure> {
        if input.is_empty() {
            return Ok(());
        }
        if !self.inflating {
            self.inflating = true;
            self.waiting_length = 0;
            self.known_from = 0;
            (self.taken, self.copied) = (0, 0);
        }
        let ready = (self.waiting_length + input.len()).saturating_sub(WAITING);
        let waited = ready.min(self.waiting_length);
        let (now, later) = input.split_at(ready - waited);
        let waiting = self.waiting;
        self.run(&waiting[..waited], message, limit)?;
        self.run(now, message, limit)?;
        let kept = self.waiting_length - waited;
        self.waiting.copy_within(waited..self.waiting_length, 0);
        self.waiting[kept..kept + later.len()].copy_from_slice(later);
        self.waiting_length = kept + later.len();
        Ok(())
    }

    /// The last compressed byte of a message was there: inflates what is left of it.
    pub fn finish(&mut self, message: &mut Vec<u8>, limit: u64) -> Result<(), Failure> {
        // A message of no bytes at all stands for an empty one.
        if self.inflating {
            self.end(message, limit)?;
        }
        self.inflating = false;
        if self.direction.no_context_takeover {
            self.drop_inflater();
        } else {
            let more = message.len() - self.known_from;
            self.known_from = 0;
            self.history_length = (self.history_length + more).min(LARGEST_WINDOW);
        }
        Ok(())
    }

    /// The connection receives nothing more.
    pub fn stop(&mut self) {
        self.inflating = false;
        self.drop_inflater();
    }

    pub fn holds_inflater(&self) -> bool {
        matches!(self.history, History::Inflater(_))
    }

    /// Gives the inflater back, but for its window, unless a message is in progress.
    pub fn release_idle(&mut self) {
        let History::Inflater(inflater) = &mut self.history else {
            return;
        };
        if self.inflating {
            return;
        }
        let window = 1 << self.direction.window_bits;
        let length = self.history_length.min(window);
        if length == 0 {
            self.drop_inflater();
        } else {
            let window = window::extract(inflater, length);
            self.drop_inflater();
            self.history_length = length;
            self.history = window.map_or(History::Lost, History::Window);
        }
    }

    fn drop_inflater(&mut self) {
        self.history_length = 0;
        if let History::Inflater(inflater) = std::mem::replace(&mut self.history, History::None) {
            self.codecs.keep_inflater(inflater);
        }
    }

    fn run(&mut self, input: &[u8], message: &mut Vec<u8>, limit: u64) -> Result<(), Failure> {
        if input.is_empty() {
            return Ok(());
        }
        let mut output = self.codecs.output()?;
        let mut rest = input;
        loop {
            let step = self.inflater()?.inflate(rest, &mut output);
            rest = &rest[step.used..];
            self.taken += step.used as u64;
            append(message, &output[..step.made], limit)?;
            match step.end {
                End::Invalid => return Err(Failure::encoding(INVALID)),
                End::Stream => {
                    self.restart(message)?;
                    if rest.is_empty() {
                        return Ok(());
                    }
                }
                End::Paused if step.made == output.len() => {}
                // There was room for more, so there is no more in these bytes.
                End::Paused => return Ok(()),
            }
        }
    }

    /// Inflates the bytes that have waited. They prove where the message ends: its last block is an empty one without
    /// compression, whose lengths are the tail and nothing else, or a block with BFINAL that ends with its last byte.
    fn end(&mut self, message: &mut Vec<u8>, limit: u64) -> Result<(), Failure> {
        let waiting = self.waiting;
        let waiting = &waiting[..self.waiting_length];
        // One whose sender has left the tail on, or has ended it with an empty fragment, has it already: the last bits
        // of any other are zeros, those of a header.
        let body = match waiting.strip_suffix(&TAIL) {
            Some(rest) if !rest.is_empty() => rest,
            _ => waiting,
        };
        // Behind the tail stand bytes that are not used: an inflater that stops before them stops for a block's end.
        let mut input = [0; WAITING + TAIL.len() + PADDING];
        input[..body.len()].copy_from_slice(body);
        let end = body.len() + TAIL.len();
        input[body.len()..end].copy_from_slice(&TAIL);
        let input = &input[..end + PADDING];

        let mut output = self.codecs.output()?;
        // The last block begins in this byte's bits, or behind it.
        let header = body.len() - 1..=body.len();
        let mut block = 0;
        let mut at = 0;
        loop {
            let step = self.inflater()?.inflate_block(&input[at..], &mut output);
            debug_assert!(step.made < output.len(), "more than so few bytes can be");
            at += step.used;
            if at > body.len() && step.made > 0 {
                return Err(Failure::encoding(INVALID));
            }
            append(message, &output[..step.made], limit)?;
            match step.end {
                End::Stream => self.restart(message)?,
                End::Paused => {}
                End::Invalid => return Err(Failure::encoding(INVALID)),
            }
            let is_last = at == end && header.contains(&block);
            if is_last || (step.end == End::Stream && at == waiting.len()) {
                return Ok(());
            }
            // Another block goes on in the tail, or behind it.
            if at > body.len() {
                return Err(Failure::encoding(INVALID));
            }
            block = at;
        }
    }

    /// A block with BFINAL ended the stream, and another one begins at the next byte (RFC 7692 section 7.2.3.4).
    fn restart(&mut self, message: &[u8]) -> Result<(), Failure> {
        let start = message.len().saturating_sub(LARGEST_WINDOW);
        let window = &message[start..];
        let History::Inflater(inflater) = &mut self.history else {
            return Ok(());
        };
        inflater.reset();
        self.history_length = 0;
        // A new stream usually refers to nothing, but its sender may have kept the window. Whoever ends streams all the
        // time without sending much cannot count on it.
        let allowed = LARGEST_WINDOW as u64 + WINDOW_PER_BYTE * self.taken;
        let copied = self.copied + window.len() as u64;
        if copied > allowed {
            self.known_from = message.len();
            return Ok(());
        }
        self.copied = copied;
        self.known_from = start;
        if window.is_empty() {
            return Ok(());
        }
        inflater
            .set_window(window)
            .map_err(|()| Failure::encoding(INVALID))
    }

    fn inflater(&mut self) -> Result<&mut Inflater, Failure> {
        match &self.history {
            History::Inflater(_) | History::Lost => {}
            History::None => self.history = History::Inflater(self.codecs.inflater()?),
            History::Window(window) => {
                let mut inflater = self.codecs.inflater()?;
                inflater
                    .set_window(window)
                    .map_err(|()| Failure::encoding(INVALID))?;
                self.history = History::Inflater(inflater);
            }
        }
        match &mut self.history {
            History::Inflater(inflater) => Ok(inflater),
            _ => Err(Failure::encoding(INVALID)),
        }
    }
}

/// Appends inflated bytes, as many as the limit lets in.
fn append(message: &mut Vec<u8>, bytes: &[u8], limit: u64) -> Result<(), Failure> {
    let allowed = limit.saturating_sub(message.len() as u64);
    let fits = bytes.len() as u64 <= allowed;
    let bytes = if fits {
        bytes
    } else {
        &bytes[..allowed as usize]
    };
    make_room(message, bytes.len(), limit)?;
    message.extend_from_slice(bytes);
    if fits {
        Ok(())
    } else {
        Err(Failure::too_big(TOO_BIG))
    }
}

/// Makes room for inflated bytes, in proportion to what is there, but not beyond `limit` and one byte more.
fn make_room(message: &mut Vec<u8>, needed: usize, limit: u64) -> Result<(), Failure> {
    let length = message.len();
    if message.capacity() - length >= needed {
        return Ok(());
    }
    let wanted = length.max(needed + needed / 8 + LEAST_ROOM);
    let allowed = (limit - length as u64).saturating_add(1);
    // The last step reaches the limit, rather than leave a small one that would move everything once more.
    let step = match usize::try_from(allowed) {
        Ok(allowed) if allowed < wanted.saturating_add(wanted / 2) => allowed,
        _ => wanted,
    };
    message
        .try_reserve_exact(step)
        .map_err(|_| Failure::too_big(NO_MEMORY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_an_eighth_more_than_is_needed_or_all_up_to_the_limit() {
        let room = |needed, limit| {
            let mut message = Vec::new();
            make_room(&mut message, needed, limit).unwrap();
            message.capacity()
        };
        assert_eq!(room(800, u64::MAX), 800 + 100 + 64);
        // Twice as much would be allowed, and is for what follows.
        assert_eq!(room(800, 2 * 964), 964);
        assert_eq!(room(800, 964 + 482 - 1), 964);
        // What would be left to the limit is too little for a step of its own.
        assert_eq!(room(800, 964 + 482 - 2), 964 + 482 - 1);
        assert_eq!(room(800, 800), 801);
    }
}
