//! Sending: frames in order, as the state allows them, compressed where that was agreed on.

use super::Connection;
use crate::close;
use crate::deflate::Deflate;
use crate::frame::{self, Header, Opcode, MAX_CONTROL_PAYLOAD};
use crate::Role;

/// The kind of a frame to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// A text message.
    Text,
    /// A binary message.
    Binary,
    /// A Ping, its payload cut to 125 bytes. Allowed between fragments.
    Ping,
    /// A Pong, its payload cut to 125 bytes. Allowed between fragments.
    Pong,
    /// A part of a message.
    Fragment {
        /// Whether the message is binary; only its first part says.
        binary: bool,
        /// Whether this is the last part.
        last: bool,
    },
}

impl FrameKind {
    /// A message.
    pub fn message(binary: bool) -> Self {
        if binary {
            FrameKind::Binary
        } else {
            FrameKind::Text
        }
    }
}

/// A frame that is ready to be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing<'a> {
    fin: bool,
    /// RSV1: the message is compressed. Only its first frame says so (RFC 7692 section 6.1).
    compressed: bool,
    opcode: Opcode,
    /// The mask key as a number: an optional array is written and read in parts of different sizes, which stalls the
    /// processor.
    mask: Option<u32>,
    /// The payload on the wire, before it is masked.
    pub payload: &'a [u8],
}

impl<'a> Outgoing<'a> {
    /// Bytes of the frame, its header included.
    #[inline]
    pub fn encoded_len(&self) -> usize {
        frame::encoded_len(self.payload.len(), self.mask.is_some())
    }

    /// Appends the frame to `out`, its payload masked if we are a client.
    #[inline]
    pub fn encode(&self, out: &mut Vec<u8>) {
        let rsv = self.rsv();
        let mask = self.mask.map(u32::to_ne_bytes);
        frame::encode_with(self.fin, rsv, self.opcode, self.payload, mask, out);
    }

    #[inline]
    fn rsv(&self) -> u8 {
        if self.compressed {
            frame::RSV1
        } else {
            0
        }
    }

    /// The frame's header, for a log.
    pub fn header(&self) -> Header {
        Header {
            fin: self.fin,
            rsv: self.rsv(),
            opcode: self.opcode,
            mask: self.mask.map(u32::to_ne_bytes),
            payload_len: self.payload.len() as u64,
        }
    }

    /// The frame as it goes out where compression was negotiated.
    #[inline(never)]
    fn compress(self, deflate: &mut Deflate, scratch: &'a mut Vec<u8>) -> Result<Self, FrameError> {
        let first = self.opcode != Opcode::Continuation;
        let compressed = deflate.compress(first, self.fin, self.payload, scratch)?;
        Ok(match compressed {
            Some(payload) => Self {
                compressed: first,
                payload,
                ..self
            },
            None => self,
        })
    }
}

/// Why nothing was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// A Close was sent or received, or the connection failed.
    NotOpen,
    /// A message of ours has begun and its last fragment was not sent.
    FragmentInProgress,
    /// There is no memory for the frame. The same call may be made again.
    NoMemory,
}

impl Connection {
    /// The frame of a message, a fragment or a control frame, as it goes out. `random` gives the mask key, which a
    /// server does not ask for. `scratch` is overwritten with what the payload is compressed to, if it is. A frame that
    /// was made must be sent, or [forgotten](Self::forget_frame).
    ///
    /// # Errors
    /// [`FrameError`]; nothing has changed.
    #[inline]
    pub fn frame<'a>(
        &mut self,
        kind: FrameKind,
        payload: &'a [u8],
        random: impl FnOnce() -> [u8; 4],
        scratch: &'a mut Vec<u8>,
    ) -> Result<Outgoing<'a>, FrameError> {
        if self.close_sent || self.ended {
            return Err(FrameError::NotOpen);
        }
        let (opcode, fin) = match kind {
            FrameKind::Text | FrameKind::Binary if self.sending_fragments => {
                return Err(FrameError::FragmentInProgress)
            }
            FrameKind::Text => (Opcode::Text, true),
            FrameKind::Binary => (Opcode::Binary, true),
            FrameKind::Ping => (Opcode::Ping, true),
            FrameKind::Pong => (Opcode::Pong, true),
            FrameKind::Fragment { last, .. } if self.sending_fragments => {
                (Opcode::Continuation, last)
            }
            FrameKind::Fragment { binary: true, last } => (Opcode::Binary, last),
            FrameKind::Fragment { last, .. } => (Opcode::Text, last),
        };
        let mut frame = self.outgoing(fin, opcode, payload, random);
        if matches!(kind, FrameKind::Ping | FrameKind::Pong) {
            frame.payload = &payload[..payload.len().min(MAX_CONTROL_PAYLOAD)];
            return Ok(frame);
        }
        if let Some(deflate) = &mut self.deflate {
            frame = frame.compress(deflate, scratch)?;
        }
        self.sending_fragments = !fin;
        Ok(frame)
    }

    /// What [`frame`](Self::frame) made of a message, or of an uncompressed part of one, could not be kept until it is
    /// sent. `in_progress`: whether a fragmented message was in progress before.
    pub fn forget_frame(&mut self, in_progress: bool) {
        self.sending_fragments = in_progress;
        if let Some(deflate) = &mut self.deflate {
            deflate.forget_sent();
        }
    }

    /// A fragmented message of ours stays unfinished: [`close`](Self::close) is to follow, which does not end it then
    /// (RFC 6455 section 5.4: a Close may come between fragments). To the peer it is no message.
    pub fn cut_message(&mut self) {
        if self.sending_fragments {
            self.forget_frame(false);
        }
    }

    /// Appends to `out` what [`frame`](Self::frame) makes.
    ///
    /// # Errors
    /// [`FrameError`]; `out` is as it was.
    pub fn send(
        &mut self,
        kind: FrameKind,
        payload: &[u8],
        random: [u8; 4],
        out: &mut Vec<u8>,
    ) -> Result<(), FrameError> {
        let mut scratch = Vec::new();
        self.frame(kind, payload, || random, &mut scratch)?
            .encode(out);
        Ok(())
    }

    /// Appends a Close to `out`, begins the closing handshake or answers the peer's. A fragmented message of
    /// ours that is not finished is ended first with an empty last fragment. `code` must be one that
    /// [`close::is_valid_to_send`] accepts; `reason` is cut to 123 bytes at a character boundary and needs a
    /// code. From here on the peer's messages are dropped. `random` gives the mask key of each frame.
    ///
    /// # Errors
    /// [`FrameError::NotOpen`] if our Close was sent before, [`FrameError::NoMemory`]; `out` is as it was.
    pub fn close(
        &mut self,
        code: Option<u16>,
        reason: &[u8],
        mut random: impl FnMut() -> [u8; 4],
        out: &mut Vec<u8>,
    ) -> Result<(), FrameError> {
        if self.close_sent {
            return Err(FrameError::NotOpen);
        }
        debug_assert!(
            code.is_none_or(close::is_valid_to_send),
            "close code {code:?} may not be sent"
        );
        if self.sending_fragments {
            let mut scratch = Vec::new();
            let mut end = self.outgoing(true, Opcode::Continuation, &[], &mut random);
            if let Some(deflate) = &mut self.deflate {
                end = end.compress(deflate, &mut scratch)?;
            }
            self.sending_fragments = false;
            end.encode(out);
        }
        let mut payload = Vec::with_capacity(MAX_CONTROL_PAYLOAD);
        if let Some(code) = code {
            payload.extend_from_slice(&code.to_be_bytes());
            payload.extend_from_slice(close::cut_reason(reason));
        }
        self.outgoing(true, Opcode::Close, &payload, random)
            .encode(out);
        self.close_sent = true;
        self.drop_message();
        Ok(())
    }

    #[inline]
    fn outgoing<'a>(
        &self,
        fin: bool,
        opcode: Opcode,
        payload: &'a [u8],
        random: impl FnOnce() -> [u8; 4],
    ) -> Outgoing<'a> {
        Outgoing {
            fin,
            compressed: false,
            opcode,
            mask: match self.role {
                Role::Client => Some(u32::from_ne_bytes(random())),
                Role::Server => None,
            },
            payload,
        }
    }
}
