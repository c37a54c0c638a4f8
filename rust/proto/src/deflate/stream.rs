//! The two directions of a connection that has negotiated permessage-deflate (RFC 7692 sections 6 and 7.2).
//!
//! INVARIANT: between two messages a direction without context takeover holds no codec. One with it holds its codec
//! while it is used, and afterwards at most the window that the peer may refer to.

use super::pool::{Codecs, Setting};
use super::receive::{Receiver, TAIL};
use super::{Agreement, Direction, MIN_WINDOW_BITS};
use crate::connection::{Failure, FrameError};
use crate::Role;
use flate2::{Compress, FlushCompress};

/// The least room for compressed bytes: zlib repeats the mark of a flush if it finds less than 7 bytes.
const FLUSH_ROOM: usize = 64;

/// Up to this size of a payload, memory for the compressed frame is not asked for beforehand.
const SMALL: usize = 64 * 1024;

/// How a connection compresses a message that refers to no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeflateWay {
    setting: Setting,
    threshold: u64,
    may_give_up: bool,
}

impl DeflateWay {
    /// Whether a message of so many bytes is compressed.
    pub(crate) fn suits(&self, payload: usize) -> bool {
        payload as u64 >= self.threshold
    }
}

/// Compresses a message that refers to no other. `None`: it goes out as it is, since that is shorter or there is no memory.
pub(crate) fn compress_alone(way: DeflateWay, payload: &[u8], codecs: &Codecs) -> Option<Vec<u8>> {
    let mut compressed = Vec::new();
    make_room(payload.len(), &mut compressed).ok()?;
    let mut compressor = codecs.compressor(way.setting)?;
    flush(&mut compressor, payload, &mut compressed);
    codecs.keep_compressor(way.setting, compressor);
    cut_tail(&mut compressed);
    (!way.may_give_up || compressed.len() < payload.len()).then_some(compressed)
}

/// Compression of one connection: both directions.
#[derive(Debug)]
pub(crate) struct Deflate {
    codecs: Codecs,
    threshold: u64,
    /// A message may go out plain because it does not become shorter.
    may_give_up: bool,
    level: u8,
    /// It was used since [`Deflate::release_idle`].
    used: bool,
    sending: Direction,
    /// The message being sent is compressed; what no message is, is not.
    deflating: bool,
    compressor: Option<Box<Compress>>,
    receiving: Receiver,
}

impl Deflate {
    pub fn new(role: Role, agreement: &Agreement, codecs: Codecs) -> Self {
        let (sending, receiving) = match role {
            Role::Client => (agreement.client, agreement.server),
            Role::Server => (agreement.server, agreement.client),
        };
        Self {
            threshold: agreement.threshold.max(1),
            may_give_up: agreement.threshold > 0,
            level: agreement.level,
            used: false,
            sending,
            deflating: false,
            compressor: None,
            receiving: Receiver::new(receiving, codecs.clone()),
            codecs,
        }
    }

    /// Compresses a part of a message: all of it if it is both the `first` and the `last`. `None`: the message goes
    /// out as it is. Only the first part decides that.
    ///
    /// # Errors
    /// [`FrameError::NoMemory`]; nothing has changed.
    pub fn compress<'a>(
        &mut self,
        first: bool,
        last: bool,
        payload: &[u8],
        scratch: &'a mut Vec<u8>,
    ) -> Result<Option<&'a [u8]>, FrameError> {
        let wanted = self.way().is_some_and(|way| way.suits(payload.len()));
        if !(if first { wanted } else { self.deflating }) {
            self.deflating = false;
            return Ok(None);
        }
        scratch.clear();
        make_room(payload.len(), scratch)?;
        let setting = self.setting();
        let compressor = match self.compressor.take() {
            Some(compressor) => Some(compressor),
            None => self.codecs.compressor(setting),
        };
        self.deflating = compressor.is_some();
        let Some(mut compressor) = compressor else {
            // There is no memory for one, and the first part is to be sent.
            return Ok(None);
        };
        self.used = true;
        flush(&mut compressor, payload, scratch);
        if !last {
            self.compressor = Some(compressor);
            return Ok(Some(scratch));
        }
        self.deflating = false;
        cut_tail(scratch);
        if !self.sending.no_context_takeover {
            self.compressor = Some(compressor);
        } else {
            self.codecs.keep_compressor(setting, compressor);
            if first && self.may_give_up && scratch.len() >= payload.len() {
                return Ok(None);
            }
        }
        Ok(Some(scratch))
    }

    /// How it compresses a message that refers to no other; `None`: not at all. A window of 8 bits is more than zlib can keep
    /// to, and nobody has to compress.
    #[inline]
    pub fn way(&self) -> Option<DeflateWay> {
        (self.sending.window_bits >= MIN_WINDOW_BITS).then_some(DeflateWay {
            setting: self.setting(),
            threshold: self.threshold,
            may_give_up: self.may_give_up,
        })
    }

    /// A message went out that the compressor has not seen, and whose bytes are in the peer's window: what follows may
    /// refer to nothing before it.
    #[inline]
    pub fn begin_anew(&mut self) {
        if let Some(compressor) = self.compressor.take() {
            self.codecs.keep_compressor(self.setting(), compressor);
        }
    }

    /// What was compressed last was not sent: nothing that follows may refer to it.
    pub fn forget_sent(&mut self) {
        self.deflating = false;
        self.compressor = None;
    }

    /// Inflates the next compressed bytes of a message to the end of `message`, which has at most `limit` bytes
    /// afterwards, also if that is too few.
    pub fn inflate(
        &mut self,
        input: &[u8],
        message: &mut Vec<u8>,
        limit: u64,
    ) -> Result<(), Failure> {
        self.used = true;
        self.receiving.inflate(input, message, limit)
    }

    /// The last compressed byte of a message was there: inflates what is left of it.
    pub fn finish(&mut self, message: &mut Vec<u8>, limit: u64) -> Result<(), Failure> {
        self.receiving.finish(message, limit)
    }

    /// The connection receives nothing more.
    pub fn stop_receiving(&mut self) {
        self.receiving.stop();
    }

    /// Whether it holds a codec.
    pub fn holds_codec(&self) -> bool {
        self.compressor.is_some() || self.receiving.holds_inflater()
    }

    /// Gives back the codecs that were not used since the last call. Returns whether it holds one afterwards.
    pub fn release_idle(&mut self) -> bool {
        if std::mem::take(&mut self.used) {
            return self.holds_codec();
        }
        if !self.deflating {
            // The peer need not be told: the next message just does not refer to what came before.
            if let Some(compressor) = self.compressor.take() {
                self.codecs.keep_compressor(self.setting(), compressor);
            }
        }
        self.receiving.release_idle();
        self.holds_codec()
    }

    fn setting(&self) -> Setting {
        Setting {
            window_bits: self.sending.window_bits,
            level: self.level,
        }
    }
}

/// Makes room for all that `payload` bytes can be compressed to, in `scratch` and in what they are copied to from there.
/// What has gone through a compressor cannot be taken back.
fn make_room(payload: usize, scratch: &mut Vec<u8>) -> Result<(), FrameError> {
    // Nine bits for each byte are the worst; blocks have headers.
    let most = payload
        .saturating_add(payload / 8 + payload / 64)
        .saturating_add(FLUSH_ROOM);
    scratch
        .try_reserve(most)
        .map_err(|_| FrameError::NoMemory)?;
    if payload > SMALL && Vec::<u8>::new().try_reserve_exact(most).is_err() {
        *scratch = Vec::new();
        return Err(FrameError::NoMemory);
    }
    Ok(())
}

/// Appends all of `payload`, compressed up to a byte's boundary, to `out`.
fn flush(compressor: &mut Compress, payload: &[u8], out: &mut Vec<u8>) {
    let mut rest = payload;
    loop {
        out.reserve(FLUSH_ROOM);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deflate::window::tests::noise;

    const SETTING: Setting = Setting {
        window_bits: 15,
        level: 6,
    };

    #[test]
    fn room_is_made_for_nine_bits_of_each_byte_and_little_more() {
        let mut room = Vec::new();
        make_room(6400, &mut room).unwrap();
        let worst = 6400 / 8 * 9 + FLUSH_ROOM;
        assert!(
            (worst + 1..worst + 6400 / 32).contains(&room.capacity()),
            "{}",
            room.capacity()
        );
    }

    /// Whoever has made no room gets all of it, in steps.
    #[test]
    fn a_flush_goes_on_until_all_of_it_is_there() {
        let codecs = Codecs::default();
        let payload = noise(5000);
        let mut compressor = codecs.compressor(SETTING).unwrap();
        let mut out = Vec::new();
        flush(&mut compressor, &payload, &mut out);
        assert!(out.ends_with(&TAIL));
        let mut inflated = vec![0; 6000];
        let step = codecs.inflater().unwrap().inflate(&out, &mut inflated);
        assert!(inflated[..step.made] == payload);
    }

    #[test]
    fn what_comes_out_as_long_as_it_was_goes_out_as_it_is() {
        let codecs = Codecs::default();
        let way = |may_give_up| DeflateWay {
            setting: SETTING,
            threshold: 1,
            may_give_up,
        };
        let (mut shorter, mut as_long) = (0, 0);
        for repeated in 0..60 {
            let payload = [noise(20), vec![b'a'; repeated]].concat();
            let compressed = compress_alone(way(false), &payload, &codecs).unwrap();
            let sent = compress_alone(way(true), &payload, &codecs);
            assert_eq!(sent.is_some(), compressed.len() < payload.len());
            shorter += usize::from(compressed.len() < payload.len());
            as_long += usize::from(compressed.len() == payload.len());
        }
        assert!(shorter > 0 && as_long > 0, "{shorter}, {as_long}");
    }
}
