//! Sending: frames in order, as the state allows them, compressed where that was agreed on.

use super::Connection;
use crate::close;
use crate::deflate::Deflate;
use crate::frame::{self, Opcode, MAX_CONTROL_PAYLOAD};
use crate::Role;

/// A frame that is ready to be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing<'a> {
    fin: bool,
    /// RSV1: the message is compressed. Only its first frame says so (RFC 7692 section 6.1).
    compressed: bool,
    opcode: Opcode,
    mask: Option<[u8; 4]>,
    /// What goes on the wire, before it is masked.
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
        let rsv = if self.compressed { frame::RSV1 } else { 0 };
        frame::encode_with(self.fin, rsv, self.opcode, self.payload, self.mask, out);
    }

    /// The frame as it goes out where compression was negotiated.
    fn compress(self, deflate: &mut Deflate, scratch: &'a mut Vec<u8>) -> Result<Self, SendError> {
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// A Close was sent or received, or the connection failed.
    #[error("Connection is not open")]
    NotOpen,
    /// A message of ours has begun and its last fragment was not sent.
    #[error(
        "Cannot send while a fragmented message is in progress; \
         finish the fragment with send_fragment(..., is_final => 1) first"
    )]
    FragmentInProgress,
    /// There is no memory for the frame. The same call may be made again.
    #[error("Out of memory")]
    NoMemory,
}

impl Connection {
    /// The frame of a message. `random` is the mask key; a server does not use it. `scratch` is overwritten with what
    /// the payload is compressed to, if it is.
    ///
    /// # Errors
    /// [`SendError`]; nothing has changed.
    pub fn message_frame<'a>(
        &mut self,
        binary: bool,
        payload: &'a [u8],
        random: [u8; 4],
        scratch: &'a mut Vec<u8>,
    ) -> Result<Outgoing<'a>, SendError> {
        self.check_message()?;
        let frame = self.outgoing(true, data_opcode(binary), payload, random);
        match &mut self.deflate {
            Some(deflate) => frame.compress(deflate, scratch),
            None => Ok(frame),
        }
    }

    /// The frame of a fragment of a message: the first one if none is in progress, then `binary` says what the message
    /// is; otherwise the next one, and `binary` says nothing. It must be sent. `random` and `scratch` are as for
    /// [`message_frame`](Self::message_frame).
    ///
    /// # Errors
    /// [`SendError::NotOpen`] or [`SendError::NoMemory`]; nothing has changed.
    pub fn fragment_frame<'a>(
        &mut self,
        binary: bool,
        is_final: bool,
        payload: &'a [u8],
        random: [u8; 4],
        scratch: &'a mut Vec<u8>,
    ) -> Result<Outgoing<'a>, SendError> {
        self.check_open()?;
        let opcode = if self.sending_fragments {
            Opcode::Continuation
        } else {
            data_opcode(binary)
        };
        let mut frame = self.outgoing(is_final, opcode, payload, random);
        if let Some(deflate) = &mut self.deflate {
            frame = frame.compress(deflate, scratch)?;
        }
        self.sending_fragments = !is_final;
        Ok(frame)
    }

    /// What [`message_frame`](Self::message_frame) has made could not be kept until it is sent.
    pub fn forget_frame(&mut self) {
        if let Some(deflate) = &mut self.deflate {
            deflate.forget_sent();
        }
    }

    /// A Ping, its payload cut to 125 bytes. Allowed between fragments.
    ///
    /// # Errors
    /// [`SendError::NotOpen`].
    pub fn ping_frame<'a>(
        &self,
        payload: &'a [u8],
        random: [u8; 4],
    ) -> Result<Outgoing<'a>, SendError> {
        self.control_frame(Opcode::Ping, payload, random)
    }

    /// A Pong, its payload cut to 125 bytes. Allowed between fragments.
    ///
    /// # Errors
    /// [`SendError::NotOpen`].
    pub fn pong_frame<'a>(
        &self,
        payload: &'a [u8],
        random: [u8; 4],
    ) -> Result<Outgoing<'a>, SendError> {
        self.control_frame(Opcode::Pong, payload, random)
    }

    /// Whether messages may be compressed: then [`message_frame`](Self::message_frame) tells how long they become before
    /// they are appended to anything.
    #[inline]
    pub fn compresses(&self) -> bool {
        self.deflate.is_some()
    }

    /// Appends a message to `out`: [`message_frame`](Self::message_frame), encoded.
    ///
    /// # Errors
    /// [`SendError`]; `out` is as it was.
    #[inline]
    pub fn send_message(
        &mut self,
        binary: bool,
        payload: &[u8],
        random: [u8; 4],
        out: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        if self.compresses() {
            return self.send_compressed(binary, payload, random, out);
        }
        self.check_message()?;
        frame::encode(true, data_opcode(binary), payload, self.mask(random), out);
        Ok(())
    }

    #[cold]
    fn send_compressed(
        &mut self,
        binary: bool,
        payload: &[u8],
        random: [u8; 4],
        out: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        let mut scratch = Vec::new();
        self.message_frame(binary, payload, random, &mut scratch)?
            .encode(out);
        Ok(())
    }

    /// Appends a fragment to `out`: [`fragment_frame`](Self::fragment_frame), encoded.
    ///
    /// # Errors
    /// [`SendError::NotOpen`]; `out` is as it was.
    pub fn send_fragment(
        &mut self,
        binary: bool,
        is_final: bool,
        payload: &[u8],
        random: [u8; 4],
        out: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        let mut scratch = Vec::new();
        self.fragment_frame(binary, is_final, payload, random, &mut scratch)?
            .encode(out);
        Ok(())
    }

    /// Appends a Ping to `out`: [`ping_frame`](Self::ping_frame), encoded.
    ///
    /// # Errors
    /// [`SendError::NotOpen`]; `out` is as it was.
    pub fn send_ping(
        &mut self,
        payload: &[u8],
        random: [u8; 4],
        out: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        self.ping_frame(payload, random)?.encode(out);
        Ok(())
    }

    /// Appends a Pong to `out`: [`pong_frame`](Self::pong_frame), encoded.
    ///
    /// # Errors
    /// [`SendError::NotOpen`]; `out` is as it was.
    pub fn send_pong(
        &mut self,
        payload: &[u8],
        random: [u8; 4],
        out: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        self.pong_frame(payload, random)?.encode(out);
        Ok(())
    }

    /// Appends a Close to `out`, begins the closing handshake or answers the peer's. A fragmented message of
    /// ours that is not finished is ended first with an empty last fragment. `code` must be one that
    /// [`close::is_valid_to_send`] accepts; `reason` is cut to 123 bytes at a character boundary and needs a
    /// code. From here on the peer's messages are dropped. `random` gives the mask key of each frame.
    ///
    /// # Errors
    /// [`SendError::NotOpen`] if our Close was sent before, [`SendError::NoMemory`]; `out` is as it was.
    pub fn close(
        &mut self,
        code: Option<u16>,
        reason: &[u8],
        mut random: impl FnMut() -> [u8; 4],
        out: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        if self.close_sent {
            return Err(SendError::NotOpen);
        }
        debug_assert!(
            code.is_none_or(close::is_valid_to_send),
            "close code {code:?} may not be sent"
        );
        if self.sending_fragments {
            let mut scratch = Vec::new();
            let mut end = self.outgoing(true, Opcode::Continuation, &[], random());
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
        frame::encode(true, Opcode::Close, &payload, self.mask(random()), out);
        self.close_sent = true;
        self.drop_message();
        Ok(())
    }

    fn control_frame<'a>(
        &self,
        opcode: Opcode,
        payload: &'a [u8],
        random: [u8; 4],
    ) -> Result<Outgoing<'a>, SendError> {
        self.check_open()?;
        let payload = &payload[..payload.len().min(MAX_CONTROL_PAYLOAD)];
        Ok(self.outgoing(true, opcode, payload, random))
    }

    #[inline]
    fn outgoing<'a>(
        &self,
        fin: bool,
        opcode: Opcode,
        payload: &'a [u8],
        random: [u8; 4],
    ) -> Outgoing<'a> {
        Outgoing {
            fin,
            compressed: false,
            opcode,
            mask: self.mask(random),
            payload,
        }
    }

    /// Whether a message may begin.
    #[inline]
    fn check_message(&self) -> Result<(), SendError> {
        self.check_open()?;
        if self.sending_fragments {
            return Err(SendError::FragmentInProgress);
        }
        Ok(())
    }

    #[inline]
    fn check_open(&self) -> Result<(), SendError> {
        if self.close_sent || self.ended {
            return Err(SendError::NotOpen);
        }
        Ok(())
    }

    #[inline]
    fn mask(&self, random: [u8; 4]) -> Option<[u8; 4]> {
        match self.role {
            Role::Client => Some(random),
            Role::Server => None,
        }
    }
}

#[inline]
fn data_opcode(binary: bool) -> Opcode {
    if binary {
        Opcode::Binary
    } else {
        Opcode::Text
    }
}
