//! One established connection: its state, and what it sends. Receiving is in `receive`, what an
//! unfinished frame or message needs in `partial`.
//!
//! INVARIANT: a connection between two messages owns no memory but itself: `partial` is `None`.

mod partial;
mod receive;

use crate::close;
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
        Self { code: close::PROTOCOL_ERROR, text }
    }

    pub(crate) fn encoding(text: &'static str) -> Self {
        Self { code: close::INVALID_PAYLOAD, text }
    }

    pub(crate) fn too_big(text: &'static str) -> Self {
        Self { code: close::TOO_BIG, text }
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

    /// Appends a message in one frame to `out`. `random` is the mask key; a server does not use it.
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
        self.check_open()?;
        if self.sending_fragments {
            return Err(SendError::FragmentInProgress);
        }
        frame::encode(true, data_opcode(binary), payload, self.mask(random), out);
        Ok(())
    }

    /// Appends a fragment of a message to `out`: the first one if none is in progress, then `binary` says what
    /// the message is; otherwise the next one, and `binary` says nothing.
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
        self.check_open()?;
        let opcode = if self.sending_fragments { Opcode::Continuation } else { data_opcode(binary) };
        self.sending_fragments = !is_final;
        frame::encode(is_final, opcode, payload, self.mask(random), out);
        Ok(())
    }

    /// Appends a Ping to `out`, its payload cut to 125 bytes. Allowed between fragments.
    ///
    /// # Errors
    /// [`SendError::NotOpen`]; `out` is as it was.
    pub fn send_ping(&mut self, payload: &[u8], random: [u8; 4], out: &mut Vec<u8>) -> Result<(), SendError> {
        self.send_control(Opcode::Ping, payload, random, out)
    }

    /// Appends a Pong to `out`, its payload cut to 125 bytes. Allowed between fragments.
    ///
    /// # Errors
    /// [`SendError::NotOpen`]; `out` is as it was.
    pub fn send_pong(&mut self, payload: &[u8], random: [u8; 4], out: &mut Vec<u8>) -> Result<(), SendError> {
        self.send_control(Opcode::Pong, payload, random, out)
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
        debug_assert!(code.is_none_or(close::is_valid_to_send), "close code {code:?} may not be sent");
        if self.sending_fragments {
            self.sending_fragments = false;
            frame::encode(true, Opcode::Continuation, &[], self.mask(random()), out);
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

    fn send_control(
        &mut self,
        opcode: Opcode,
        payload: &[u8],
        random: [u8; 4],
        out: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        self.check_open()?;
        let payload = &payload[..payload.len().min(MAX_CONTROL_PAYLOAD)];
        frame::encode(true, opcode, payload, self.mask(random), out);
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
