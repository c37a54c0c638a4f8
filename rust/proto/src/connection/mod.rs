//! One established connection: its state, and what it sends. Receiving is in `receive`, what an
//! unfinished frame or message needs in `partial`.
//!
//! INVARIANT: a connection between two messages owns no memory but itself: `partial` is `None`.

mod partial;
mod receive;

use crate::close;
use crate::deflate::{Agreement, Codecs, Deflate};
use crate::frame::{self, Opcode, MAX_CONTROL_PAYLOAD};
use crate::Role;
use partial::Partial;

/// What does not change during a connection's life.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Which end we are.
    pub role: Role,
    /// The largest message accepted, in bytes; 0 is no limit. A larger one fails the connection with 1009.
    pub max_message_size: u64,
    /// Whether text messages and close reasons must be UTF-8. If not, they fail the connection with 1007.
    pub validate_utf8: bool,
}

/// What [`Connection::receive`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// Nothing yet: all of the input was taken, and more is needed.
    NeedMore,
    /// A whole message, its fragments joined.
    Message {
        /// Binary, or else text.
        binary: bool,
        /// The unmasked payload.
        payload: &'a [u8],
    },
    /// A Ping; RFC 6455 section 5.5.3 asks for a Pong with this payload.
    Ping(&'a [u8]),
    /// A Pong, asked for or not.
    Pong(&'a [u8]),
    /// The peer's Close, checked. Nothing more will be delivered.
    Close {
        /// The code in it, `None` if it was empty (1005 in the words of RFC 6455 section 7.1.5).
        code: Option<u16>,
        /// At most 123 bytes, UTF-8 if that is validated.
        reason: &'a [u8],
    },
    /// The peer broke a rule. Nothing more will be delivered; the caller sends a Close with the code.
    Failed(Failure),
}

/// Why a connection must be failed (RFC 6455 section 7.1.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    /// The close code to send: 1002, 1007 or 1009.
    pub code: u16,
    /// What the peer did, in words.
    pub text: &'static str,
}

impl Failure {
    pub(crate) fn protocol(text: &'static str) -> Self {
        Self {
            code: close::PROTOCOL_ERROR,
            text,
        }
    }

    pub(crate) fn encoding(text: &'static str) -> Self {
        Self {
            code: close::INVALID_PAYLOAD,
            text,
        }
    }

    pub(crate) fn too_big(text: &'static str) -> Self {
        Self {
            code: close::TOO_BIG,
            text,
        }
    }
}

/// How far the closing handshake has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Neither side has sent a Close.
    Open,
    /// We sent our Close and wait for the peer's.
    CloseSent,
    /// The peer's Close came, or the connection failed: nothing more is received. Our own Close, if it has
    /// not been sent, can still be ([`Connection::close`]).
    Closed,
}

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

    fn compress(&mut self, deflate: &mut Deflate, scratch: &'a mut Vec<u8>) {
        let first = self.opcode != Opcode::Continuation;
        if let Some(compressed) = deflate.compress(first, self.fin, self.payload, scratch) {
            self.compressed = first;
            self.payload = compressed;
        }
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
}

/// The protocol state of one connection after its upgrade. Small: whatever only an unfinished frame or
/// message needs is allocated with it and freed with it.
#[derive(Debug)]
pub struct Connection {
    partial: Option<Box<Partial>>,
    /// If compression was negotiated.
    deflate: Option<Box<Deflate>>,
    max_message_size: u64,
    role: Role,
    validate_utf8: bool,
    /// Our Close is queued: nothing may follow it.
    close_sent: bool,
    /// The peer's Close came or the connection failed: nothing more is delivered.
    ended: bool,
    /// A fragmented message of ours lacks its last fragment.
    sending_fragments: bool,
    /// A fragmented message of the peer lacks its last fragment.
    receiving_fragments: bool,
}

impl Connection {
    /// A connection whose upgrade is done.
    pub fn new(config: &Config) -> Self {
        Self {
            partial: None,
            deflate: None,
            // What no Vec can hold is too big whatever the program allows.
            max_message_size: match config.max_message_size {
                0 => isize::MAX as u64,
                limit => limit.min(isize::MAX as u64),
            },
            role: config.role,
            validate_utf8: config.validate_utf8,
            close_sent: false,
            ended: false,
            sending_fragments: false,
            receiving_fragments: false,
        }
    }

    /// Compresses and inflates messages from now on as the handshake has agreed. What need not be this connection's own
    /// it borrows from `codecs`.
    pub fn use_deflate(&mut self, agreement: &Agreement, codecs: Codecs) {
        self.deflate = Some(Box::new(Deflate::new(self.role, agreement, codecs)));
    }

    /// Whether it holds a compressor or an inflater: some 380 or 48 KB.
    #[inline]
    pub fn holds_codec(&self) -> bool {
        self.deflate
            .as_ref()
            .is_some_and(|deflate| deflate.holds_codec())
    }

    /// Gives back the codecs that were not used since the last call, but for the window that the peer may refer to, and
    /// unless a message is in progress. Returns whether it holds one afterwards.
    pub fn rest_codecs(&mut self) -> bool {
        self.deflate.as_mut().is_some_and(|deflate| deflate.rest())
    }

    /// How far the closing handshake has come.
    #[inline]
    pub fn state(&self) -> State {
        match (self.ended, self.close_sent) {
            (true, _) => State::Closed,
            (false, true) => State::CloseSent,
            (false, false) => State::Open,
        }
    }

    /// Whether our own Close was sent.
    pub fn close_sent(&self) -> bool {
        self.close_sent
    }

    /// Whether a message begun with [`send_fragment`](Self::send_fragment) lacks its last fragment.
    #[inline]
    pub fn fragment_in_progress(&self) -> bool {
        self.sending_fragments
    }

    /// The frame of a message. `random` is the mask key; a server does not use it. `scratch` is overwritten with what
    /// the payload is compressed to, if it is.
    ///
    /// # Errors
    /// [`SendError`]; nothing has changed.
    #[inline]
    pub fn message_frame<'a>(
        &mut self,
        binary: bool,
        payload: &'a [u8],
        random: [u8; 4],
        scratch: &'a mut Vec<u8>,
    ) -> Result<Outgoing<'a>, SendError> {
        self.check_open()?;
        if self.sending_fragments {
            return Err(SendError::FragmentInProgress);
        }
        let mut frame = self.outgoing(true, data_opcode(binary), payload, random);
        if let Some(deflate) = &mut self.deflate {
            frame.compress(deflate, scratch);
        }
        Ok(frame)
    }

    /// The frame of a fragment of a message: the first one if none is in progress, then `binary` says what the message
    /// is; otherwise the next one, and `binary` says nothing. It must be sent. `random` and `scratch` are as for
    /// [`message_frame`](Self::message_frame).
    ///
    /// # Errors
    /// [`SendError::NotOpen`]; nothing has changed.
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
        self.sending_fragments = !is_final;
        let mut frame = self.outgoing(is_final, opcode, payload, random);
        if let Some(deflate) = &mut self.deflate {
            frame.compress(deflate, scratch);
        }
        Ok(frame)
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

    /// Appends a message to `out`: [`message_frame`](Self::message_frame), encoded.
    ///
    /// # Errors
    /// [`SendError`]; `out` is as it was.
    pub fn send_message(
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
    /// [`SendError::NotOpen`] if our Close was sent before; `out` is as it was.
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
            self.sending_fragments = false;
            let mut scratch = Vec::new();
            let mut end = self.outgoing(true, Opcode::Continuation, &[], random());
            if let Some(deflate) = &mut self.deflate {
                end.compress(deflate, &mut scratch);
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(role: Role) -> Connection {
        Connection::new(&Config {
            role,
            max_message_size: 0,
            validate_utf8: true,
        })
    }

    #[test]
    fn an_idle_connection_is_small_and_owns_nothing() {
        assert!(std::mem::size_of::<Connection>() <= 48);
        let mut server = connection(Role::Server);
        let mut wire = Vec::new();
        connection(Role::Client)
            .send_message(true, &[5; 1000], [1, 2, 3, 4], &mut wire)
            .unwrap();
        let (first, second) = wire.split_at_mut(500);
        assert_eq!(server.receive(first), (500, Received::NeedMore));
        assert!(server.partial.is_some());
        assert!(matches!(server.receive(second).1, Received::Message { .. }));
        assert!(server.take_message().is_some());
        assert!(server.partial.is_none());
    }

    #[test]
    fn release_frees_what_was_delivered_and_keeps_what_was_not() {
        let mut client = connection(Role::Client);
        let mut wire = [0x89, 3, b'a', b'b', b'c'];
        let (first, second) = wire.split_at_mut(4);
        client.receive(first);
        client.release();
        assert_eq!(client.receive(second), (1, Received::Ping(b"abc")));
        client.release();
        assert!(client.partial.is_none());
    }

    #[test]
    fn a_close_frees_the_message_it_interrupts() {
        for portion in [1, 100] {
            let mut client = connection(Role::Client);
            let mut wire = *b"\x02\x03abc\x88\x02\x03\xE8";
            for input in wire.chunks_mut(portion) {
                let mut at = 0;
                while at < input.len() {
                    at += client.receive(&mut input[at..]).0;
                }
            }
            assert_eq!(client.state(), State::Closed);
            client.release();
            assert!(client.partial.is_none(), "portions of {portion}");
        }
    }

    #[test]
    fn a_whole_message_in_the_input_needs_no_memory() {
        let mut client = connection(Role::Client);
        let mut wire = Vec::new();
        connection(Role::Server)
            .send_message(false, b"abc", [0; 4], &mut wire)
            .unwrap();
        assert_eq!(
            client.receive(&mut wire),
            (
                5,
                Received::Message {
                    binary: false,
                    payload: b"abc"
                }
            )
        );
        assert!(client.partial.is_none());
        assert_eq!(client.take_message(), None);
    }

    #[test]
    fn whole_messages_wait_for_the_last_fragment() {
        let mut server = connection(Role::Server);
        let mut out = Vec::new();
        server
            .send_fragment(true, false, b"a", [0; 4], &mut out)
            .unwrap();
        assert!(server.fragment_in_progress());
        let before = out.clone();
        assert_eq!(
            server.send_message(true, b"b", [0; 4], &mut out),
            Err(SendError::FragmentInProgress)
        );
        assert_eq!(out, before);
        server.send_ping(b"", [0; 4], &mut out).unwrap();
        server
            .send_fragment(false, true, b"c", [0; 4], &mut out)
            .unwrap();
        assert!(!server.fragment_in_progress());
        server.send_message(true, b"d", [0; 4], &mut out).unwrap();
        assert_eq!(out, b"\x02\x01a\x89\x00\x80\x01c\x82\x01d");
    }

    #[test]
    fn nothing_follows_a_close() {
        let mut server = connection(Role::Server);
        let mut out = Vec::new();
        server
            .close(Some(1001), b"gone", || [0; 4], &mut out)
            .unwrap();
        assert_eq!(out, b"\x88\x06\x03\xE9gone");
        assert!(server.close_sent());
        let refused = Err(SendError::NotOpen);
        assert_eq!(server.send_message(true, b"", [0; 4], &mut out), refused);
        assert_eq!(
            server.send_fragment(true, true, b"", [0; 4], &mut out),
            refused
        );
        assert_eq!(server.send_ping(b"", [0; 4], &mut out), refused);
        assert_eq!(server.send_pong(b"", [0; 4], &mut out), refused);
        assert_eq!(server.close(None, b"", || [0; 4], &mut out), refused);
        assert_eq!(out.len(), 8);
    }

    #[test]
    fn every_frame_of_a_client_has_its_own_mask() {
        let mut client = connection(Role::Client);
        let mut out = Vec::new();
        client
            .send_fragment(true, false, b"", [1; 4], &mut out)
            .unwrap();
        let mut key = 1;
        let random = || {
            key += 1;
            [key; 4]
        };
        client
            .close(None, b"a reason needs a code", random, &mut out)
            .unwrap();
        assert_eq!(
            out,
            b"\x02\x80\x01\x01\x01\x01\x80\x80\x02\x02\x02\x02\x88\x80\x03\x03\x03\x03"
        );
    }
}
