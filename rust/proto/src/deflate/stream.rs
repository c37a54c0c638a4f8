//! The two directions of a connection that has negotiated permessage-deflate (RFC 7692 sections 6 and 7.2).
//!
//! INVARIANT: between two messages a direction without context takeover holds no codec. One with it holds its codec
//! while it is used, and afterwards at most the window that the peer may refer to.

use super::pool::{Codecs, Setting};
use super::{window, Agreement, Direction, MAX_WINDOW_BITS, MIN_WINDOW_BITS};
use crate::connection::Failure;
use crate::Role;
use flate2::{Compress, Decompress, FlushCompress, FlushDecompress, Status};

/// What a sender cuts off each message, and a receiver adds (RFC 7692 sections 7.2.1 and 7.2.2).
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];

/// An empty block without compression. Between two blocks it has no effect.
const EMPTY_BLOCK: [u8; 5] = [0x00, 0x00, 0x00, 0xFF, 0xFF];

/// The least room that inflated bytes are given.
const LEAST_ROOM: usize = 512;

/// The least room for compressed bytes: zlib repeats the mark of a flush if it finds less than 7 bytes.
const FLUSH_ROOM: usize = 64;

/// The most that a peer can refer back to.
const LARGEST_WINDOW: usize = 1 << MAX_WINDOW_BITS;

const INVALID: &str =
    "peer sent a compressed message that is no deflate data (RFC 7692 section 7.2.2)";
const TOO_BIG: &str = "message exceeds max_message_size";

/// See the module.
#[derive(Debug)]
pub(crate) struct Deflate {
    codecs: Codecs,
    threshold: u64,
    /// A message may go out plain because it does not become shorter.
    may_give_up: bool,
    level: u8,
    /// It was used since [`Deflate::rest`].
    used: bool,
    sending: Direction,
    /// The message being sent is compressed; what no message is, is not.
    deflating: bool,
    compressor: Option<Box<Compress>>,
    receiving: Direction,
    /// A compressed message is being received.
    inflating: bool,
    history: History,
    /// Bytes that the peer may refer back to.
    history_length: usize,
    /// The last four compressed bytes of the message being received. They begin as [`TAIL`].
    last_four: [u8; 4],
}

/// What the peer may refer back to.
#[derive(Debug)]
enum History {
    None,
    Window(Box<[u8]>),
    Inflater(Box<Decompress>),
    /// The last message ended inside a block: what follows it would have no meaning.
    Lost,
}

impl Deflate {
    pub fn new(role: Role, agreement: &Agreement, codecs: Codecs) -> Self {
        let (sending, receiving) = match role {
            Role::Client => (agreement.client, agreement.server),
            Role::Server => (agreement.server, agreement.client),
        };
        Self {
            codecs,
            threshold: agreement.threshold.max(1),
            may_give_up: agreement.threshold > 0,
            level: agreement.level,
            used: false,
            sending,
            deflating: false,
            compressor: None,
            receiving,
            inflating: false,
            history: History::None,
            history_length: 0,
            last_four: TAIL,
        }
    }

    /// Compresses a part of a message: all of it if it is both the `first` and the `last`. `None`: the message goes
    /// out as it is. Only the first part decides that.
    pub fn compress<'a>(
        &mut self,
        first: bool,
        last: bool,
        payload: &[u8],
        scratch: &'a mut Vec<u8>,
    ) -> Option<&'a [u8]> {
        if first {
            // A window of 8 bits is more than zlib can keep to, and nobody has to compress.
            self.deflating = payload.len() as u64 >= self.threshold
                && self.sending.window_bits >= MIN_WINDOW_BITS;
        }
        if !self.deflating {
            return None;
        }
        self.used = true;
        let setting = Setting {
            window_bits: self.sending.window_bits,
            level: self.level,
        };
        let mut compressor = match self.compressor.take() {
            Some(compressor) => compressor,
            None => self.codecs.compressor(setting),
        };
        scratch.clear();
        flush(&mut compressor, payload, scratch);
        if !last {
            self.compressor = Some(compressor);
            return Some(scratch);
        }
        self.deflating = false;
        cut_tail(scratch);
        if !self.sending.no_context_takeover {
            self.compressor = Some(compressor);
        } else {
            self.codecs.keep_compressor(setting, compressor);
            if first && self.may_give_up && scratch.len() >= payload.len() {
                return None;
            }
        }
        Some(scratch)
    }

    /// Inflates the next compressed bytes of a message, which are not kept, to the end of `message`.
    pub fn inflate(
        &mut self,
        input: &[u8],
        message: &mut Vec<u8>,
        limit: u64,
    ) -> Result<(), Failure> {
        if !self.inflating {
            self.inflating = true;
            self.last_four = TAIL;
        }
        self.used = true;
        for &byte in &input[input.len().saturating_sub(4)..] {
            self.last_four.rotate_left(1);
            self.last_four[3] = byte;
        }
        self.run(input, message, limit)
    }

    /// The last compressed byte of a message was there: inflates what is left of it.
    pub fn finish(&mut self, message: &mut Vec<u8>, limit: u64) -> Result<(), Failure> {
        // A message whose compressed bytes end with 0xFF is one whose sender has left the tail on, or has ended it with
        // an empty fragment: the bits of an empty block's header, which must be the last, are zeros.
        if self.inflating && self.last_four != TAIL {
            self.run(&TAIL, message, limit)?;
        }
        let length = message.len();
        if self.inflating {
            self.run(&EMPTY_BLOCK, message, limit)?;
        }
        if message.len() > length {
            return Err(Failure::encoding(INVALID));
        }
        self.inflating = false;
        if self.receiving.no_context_takeover {
            self.drop_inflater();
        } else {
            self.history_length = (self.history_length + message.len()).min(LARGEST_WINDOW);
        }
        Ok(())
    }

    /// Nothing more is received.
    pub fn stop_receiving(&mut self) {
        self.inflating = false;
        self.drop_inflater();
    }

    /// Whether it holds a codec.
    pub fn holds_codec(&self) -> bool {
        self.compressor.is_some() || matches!(self.history, History::Inflater(_))
    }

    /// Gives back the codecs that were not used since the last call. Returns whether it holds one afterwards.
    pub fn rest(&mut self) -> bool {
        if std::mem::take(&mut self.used) {
            return self.holds_codec();
        }
        if !self.deflating {
            // The peer need not be told: the next message just does not refer to what came before.
            if let Some(compressor) = self.compressor.take() {
                let setting = Setting {
                    window_bits: self.sending.window_bits,
                    level: self.level,
                };
                self.codecs.keep_compressor(setting, compressor);
            }
        }
        if !self.inflating {
            self.keep_window_alone();
        }
        self.holds_codec()
    }

    fn keep_window_alone(&mut self) {
        let History::Inflater(inflater) = &mut self.history else {
            return;
        };
        let window = 1 << self.receiving.window_bits;
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
        let mut rest = input;
        loop {
            make_room(message, rest.len(), limit)?;
            let inflater = self.inflater()?;
            let before = inflater.total_in();
            let status = inflater
                .decompress_vec(rest, message, FlushDecompress::Sync)
                .map_err(|_| Failure::encoding(INVALID))?;
            let used = (inflater.total_in() - before) as usize;
            rest = &rest[used..];
            if message.len() as u64 > limit {
                return Err(Failure::too_big(TOO_BIG));
            }
            if status == Status::StreamEnd {
                self.restart(message, rest)?;
            } else if message.len() < message.capacity() {
                // There was room for more, so there is no more in these bytes.
                debug_assert!(rest.is_empty(), "an inflater stops at the end of its input");
                return Ok(());
            }
            if status == Status::StreamEnd && rest.is_empty() {
                return Ok(());
            }
        }
    }

    /// A block with BFINAL ended the stream, and another one begins at the next byte (RFC 7692 section 7.2.3.4).
    fn restart(&mut self, message: &[u8], rest: &[u8]) -> Result<(), Failure> {
        let window = &message[message.len().saturating_sub(LARGEST_WINDOW)..];
        let History::Inflater(inflater) = &mut self.history else {
            return Ok(());
        };
        inflater.reset(false);
        // A new stream usually refers to nothing, but its sender may have kept the window.
        if !window.is_empty() {
            inflater
                .set_dictionary(window)
                .map_err(|_| Failure::encoding(INVALID))?;
        }
        self.history_length = 0;
        if rest.is_empty() {
            // Nothing has begun that the tail could end.
            self.last_four = TAIL;
        }
        Ok(())
    }

    fn inflater(&mut self) -> Result<&mut Decompress, Failure> {
        match &self.history {
            History::Inflater(_) | History::Lost => {}
            History::None => self.history = History::Inflater(self.codecs.inflater()),
            History::Window(window) => {
                let mut inflater = self.codecs.inflater();
                inflater
                    .set_dictionary(window)
                    .map_err(|_| Failure::encoding(INVALID))?;
                self.history = History::Inflater(inflater);
            }
        }
        match &mut self.history {
            History::Inflater(inflater) => Ok(inflater),
            _ => Err(Failure::encoding(INVALID)),
        }
    }
}

/// Appends all of `payload`, compressed up to a byte's boundary, to `out`.
fn flush(compressor: &mut Compress, payload: &[u8], out: &mut Vec<u8>) {
    let mut rest = payload;
    loop {
        out.reserve(rest.len() / 2 + FLUSH_ROOM);
        let before = compressor.total_in();
        compressor
            .compress_vec(rest, out, FlushCompress::Sync)
            .expect("zlib only fails for a stream that was ended");
        rest = &rest[(compressor.total_in() - before) as usize..];
        if rest.is_empty() && out.len() < out.capacity() {
            return;
        }
    }
}

/// Takes the tail off the end of a message. Nothing at all stands for an empty block whose header is left (RFC 7692
/// section 7.2.3.6).
fn cut_tail(compressed: &mut Vec<u8>) {
    match compressed.strip_suffix(&TAIL) {
        Some(kept) => compressed.truncate(kept.len()),
        None => debug_assert!(compressed.is_empty(), "a flush ends with the tail"),
    }
    if compressed.is_empty() {
        compressed.push(0);
    }
}

/// Makes room for inflated bytes, in proportion to what is there, but not beyond `limit` and the byte that exceeds it.
fn make_room(message: &mut Vec<u8>, compressed: usize, limit: u64) -> Result<(), Failure> {
    let length = message.len();
    if message.capacity() > length {
        return Ok(());
    }
    let wanted = length.max(compressed.saturating_mul(4)).max(LEAST_ROOM);
    let allowed = (limit - length as u64).saturating_add(2);
    // The last step reaches the limit, rather than leave a small one that would move everything once more.
    let step = match usize::try_from(allowed) {
        Ok(allowed) if allowed < wanted.saturating_add(wanted / 2) => allowed,
        _ => wanted,
    };
    message
        .try_reserve_exact(step)
        .map_err(|_| Failure::too_big("message does not fit into memory"))
}
