//! The state of a connection that is needed only while a frame or a message is unfinished.

use super::Failure;
use crate::close::NOT_UTF8;
use crate::deflate::Deflate;
use crate::frame::{Header, Opcode, MAX_HEADER, RSV1};
use crate::mask;
use crate::utf8::Validator;

/// Up to this, memory is reserved for [`FIRST_SHARE`] times what has arrived of a message whose frame promises more, and
/// beyond it for as much again. A header's claim costs a peer nothing, so alone it must not cost us anything either: a
/// thousand claims of which one byte has come would hold a thousand times this.
const FIRST_RESERVE: usize = 256 * 1024;
/// How many times what has arrived is reserved of a message that has just begun.
const FIRST_SHARE: usize = 16;
/// What counts as arrived at the least: one more piece of a kilobyte would not be worth an allocation each.
const LEAST_ARRIVED: usize = 1024;

/// A message with less spare capacity than this grows before it is read into.
const LEAST_SPARE: usize = 64 * 1024;

/// Bytes that are unmasked, checked and copied together, so that the later steps find them in the cache.
const BLOCK: usize = 16 * 1024;

const NO_MEMORY: &str = "message does not fit into memory";

/// The bit of a frame's first byte that its opcode has if it is a control frame (RFC 6455 section 5.5).
const CONTROL: u8 = 0x08;

/// Everything unfinished: at most one header, one frame, and one message around it.
#[derive(Debug, Default)]
pub(super) struct Partial {
    head: [u8; MAX_HEADER],
    head_len: usize,
    /// The frame whose payload is not all there.
    pub frame: Option<Frame>,
    /// Payload of the control frame in progress, or of the one delivered last.
    pub control: Vec<u8>,
    /// The message in progress, or the one delivered last.
    pub message: Option<Message>,
    /// Something of a message has come since somebody asked.
    pub has_progress: bool,
}

impl Partial {
    /// Whether all that is kept has been delivered.
    pub fn is_done(&self) -> bool {
        self.head_len == 0
            && self.frame.is_none()
            && self.message.as_ref().is_none_or(|m| m.complete)
    }

    /// The bytes of an unfinished header.
    pub fn head(&self) -> &[u8] {
        &self.head[..self.head_len]
    }

    /// Adds bytes of `input` to the unfinished header, as many as a header can have; returns how many.
    pub fn extend_head(&mut self, input: &[u8]) -> usize {
        let added = input.len().min(MAX_HEADER - self.head_len);
        self.head[self.head_len..self.head_len + added].copy_from_slice(&input[..added]);
        self.head_len += added;
        self.has_progress |= self.head[0] & CONTROL == 0;
        added
    }

    /// The header is complete.
    pub fn clear_head(&mut self) {
        self.head_len = 0;
    }
}

/// A frame whose header is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub opcode: Opcode,
    pub fin: bool,
    /// The payload is consumed and thrown away.
    pub discard: bool,
    /// RSV1: the message that begins here is compressed.
    pub compressed: bool,
    /// Bytes of payload still to come.
    pub remaining: u64,
    /// The mask key, turned so that it begins with the byte for the next byte of payload.
    key: Option<[u8; 4]>,
}

impl Frame {
    pub fn new(header: &Header, discard: bool) -> Self {
        Self {
            opcode: header.opcode,
            fin: header.fin,
            discard,
            compressed: header.rsv & RSV1 != 0,
            remaining: header.payload_len,
            key: header.mask,
        }
    }

    /// The mask key as it applies to the next byte of payload.
    pub fn key(&self) -> Option<[u8; 4]> {
        self.key
    }

    /// Takes the next `data.len()` bytes of payload, unmasked in place. They must not be more than `remaining`.
    pub fn take(&mut self, data: &mut [u8]) {
        self.remaining -= data.len() as u64;
        if let Some(key) = &mut self.key {
            mask::apply(*key, 0, data);
            key.rotate_left(data.len() % 4);
        }
    }
}

/// A message whose payload is collected.
#[derive(Debug)]
pub(super) struct Message {
    pub binary: bool,
    /// The whole payload is there.
    pub complete: bool,
    /// The payload is inflated as it arrives.
    pub compressed: bool,
    pub payload: Vec<u8>,
    /// `None` if the payload is not to be checked.
    utf8: Option<Validator>,
}

impl Message {
    pub fn new(binary: bool, compressed: bool, validate_utf8: bool) -> Self {
        let utf8 = (!binary && validate_utf8).then(Validator::new);
        Self {
            binary,
            complete: false,
            compressed,
            payload: Vec::new(),
            utf8,
        }
    }

    /// Makes room for the next of `wanted` bytes, for at least `now` of them, and for one byte more: whoever
    /// takes the message can append a NUL without copying it.
    pub fn reserve(&mut self, wanted: u64, now: usize) -> Result<(), Failure> {
        let len = self.payload.len();
        let arrived = len.max(now).max(LEAST_ARRIVED);
        let step = arrived.max(FIRST_RESERVE.min(arrived.saturating_mul(FIRST_SHARE)));
        let step = wanted.min(step as u64) as usize;
        if self.payload.capacity() - len > step.min(now.max(LEAST_SPARE)) {
            return Ok(());
        }
        // A step that at least halves what is there grows fast enough by itself; many small fragments do not.
        let reserved = if step >= len / 2 {
            self.payload.try_reserve_exact(step + 1)
        } else {
            self.payload.try_reserve(step + 1)
        };
        reserved.map_err(|_| Failure::too_big(NO_MEMORY))
    }

    /// Appends the next bytes of `frame`'s payload.
    pub fn append(&mut self, frame: &mut Frame, data: &mut [u8]) -> Result<(), Failure> {
        self.reserve(frame.remaining, data.len())?;
        for block in data.chunks_mut(BLOCK) {
            frame.take(block);
            check(&mut self.utf8, block)?;
            self.payload.extend_from_slice(block);
        }
        Ok(())
    }

    /// The last `count` bytes of `payload` are the next ones of `frame`, as they came from the wire.
    pub fn appended(&mut self, frame: &mut Frame, count: usize) -> Result<(), Failure> {
        let start = self.payload.len() - count;
        for block in self.payload[start..].chunks_mut(BLOCK) {
            frame.take(block);
            check(&mut self.utf8, block)?;
        }
        Ok(())
    }

    /// Inflates the next bytes of `frame`'s payload. The message grows to `limit` bytes at most.
    pub fn inflate(
        &mut self,
        frame: &mut Frame,
        data: &mut [u8],
        deflate: &mut Deflate,
        limit: u64,
    ) -> Result<(), Failure> {
        for block in data.chunks_mut(BLOCK) {
            frame.take(block);
            let start = self.payload.len();
            let inflated = deflate.inflate(block, &mut self.payload, limit);
            self.check_inflated(start, inflated)?;
        }
        Ok(())
    }

    /// The last compressed byte of the message is there.
    pub fn finish_inflating(&mut self, deflate: &mut Deflate, limit: u64) -> Result<(), Failure> {
        let start = self.payload.len();
        let inflated = deflate.finish(&mut self.payload, limit);
        self.check_inflated(start, inflated)?;
        // The message is given away with no more memory than it needs, and one byte for a NUL.
        let length = self.payload.len();
        if self.payload.capacity() - length > length / 4 {
            self.payload.shrink_to(length + 1);
        }
        self.reserve_one()
    }

    /// What is inflated is judged byte by byte: what was inflated before the message became too large, or the compressed
    /// bytes no deflate data, is text or not, however the bytes came.
    fn check_inflated(
        &mut self,
        start: usize,
        inflated: Result<(), Failure>,
    ) -> Result<(), Failure> {
        check(&mut self.utf8, &self.payload[start..])?;
        inflated
    }

    fn reserve_one(&mut self) -> Result<(), Failure> {
        self.payload
            .try_reserve_exact(1)
            .map_err(|_| Failure::too_big(NO_MEMORY))
    }

    /// The last byte of the message is there.
    pub fn finish(&mut self) -> Result<(), Failure> {
        if self.utf8.is_some_and(|utf8| !utf8.is_complete()) {
            return Err(Failure::encoding(NOT_UTF8));
        }
        self.complete = true;
        Ok(())
    }
}

fn check(utf8: &mut Option<Validator>, block: &[u8]) -> Result<(), Failure> {
    match utf8 {
        Some(utf8) => utf8.feed(block).map_err(|_| Failure::encoding(NOT_UTF8)),
        None => Ok(()),
    }
}

/// Unmasks in place and checks a whole message that lies in the input.
#[inline]
pub(super) fn take_whole(key: Option<[u8; 4]>, text: bool, data: &mut [u8]) -> Result<(), Failure> {
    if data.len() <= BLOCK {
        if let Some(key) = key {
            mask::apply(key, 0, data);
        }
        if text && !crate::utf8::is_valid(data) {
            return Err(Failure::encoding(NOT_UTF8));
        }
        return Ok(());
    }
    take_blocks(key, text, data)
}

/// Does what [`take_whole`] does, block by block, for payloads that do not fit into the cache.
fn take_blocks(key: Option<[u8; 4]>, text: bool, data: &mut [u8]) -> Result<(), Failure> {
    let mut utf8 = text.then(Validator::new);
    for block in data.chunks_mut(BLOCK) {
        if let Some(key) = key {
            mask::apply(key, 0, block);
        }
        check(&mut utf8, block)?;
    }
    match utf8 {
        Some(utf8) if !utf8.is_complete() => Err(Failure::encoding(NOT_UTF8)),
        _ => Ok(()),
    }
}
