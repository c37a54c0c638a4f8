//! One established connection: its state. What it receives is in `receive`, `direct` and `observed`, what an unfinished
//! frame or message needs in `partial`; what it sends is in `send` and `prepared`.
//!
//! INVARIANT: a connection between two messages owns no memory but itself: `partial` is `None`.

mod direct;
mod observed;
mod partial;
mod prepared;
mod receive;
mod send;

use crate::close;
use crate::deflate::{Agreement, Codecs, Deflate};
use crate::Role;
use partial::Partial;

pub use prepared::{masked, Encoding, Prepared, SharedFrame};
pub use receive::WholeMessage;
pub use send::{FrameError, FrameKind, Outgoing};

/// The options of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Which end we are.
    pub role: Role,
    /// The largest message accepted, in bytes; 0 is no limit. A larger one fails the connection with 1009.
    pub max_message_size: u64,
    /// The most frames that a message may come in; 0 is no limit. One more fails the connection with 1009.
    pub max_fragments: u32,
    /// Whether text messages and close reasons must be UTF-8. If not, they fail the connection with 1007.
    pub validate_utf8: bool,
}

/// An event of [`Connection::receive`].
#[derive(Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// No event yet: all of the input was taken, and more is needed.
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
    /// A text: what the peer did.
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
pub enum ReadyState {
    /// Neither side has sent a Close.
    Open,
    /// We sent our Close and wait for the peer's.
    CloseSent,
    /// The peer's Close came, or the connection failed: nothing more is received. Our own Close, if it has
    /// not been sent, can still be ([`Connection::close`]).
    Closed,
}

/// The protocol state of one connection after its upgrade. Small: whatever only an unfinished frame or
/// message needs is allocated with it and freed with it.
#[derive(Debug)]
pub struct Connection {
    partial: Option<Box<Partial>>,
    /// If compression was negotiated.
    deflate: Option<Box<Deflate>>,
    max_message_size: u64,
    max_fragments: u32,
    /// Frames of the message that is being received; 0 between two of them.
    fragments: u32,
    /// Frames that have begun to come.
    frames_received: u64,
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
            // A message that no Vec can hold is too big, even if the program sets no limit.
            max_message_size: match config.max_message_size {
                0 => isize::MAX as u64,
                limit => limit.min(isize::MAX as u64),
            },
            max_fragments: match config.max_fragments {
                0 => u32::MAX,
                limit => limit,
            },
            fragments: 0,
            frames_received: 0,
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
    pub fn release_idle_codecs(&mut self) -> bool {
        self.deflate
            .as_mut()
            .is_some_and(|deflate| deflate.release_idle())
    }

    /// How far the closing handshake has come.
    #[inline]
    pub fn state(&self) -> ReadyState {
        match (self.ended, self.close_sent) {
            (true, _) => ReadyState::Closed,
            (false, true) => ReadyState::CloseSent,
            (false, false) => ReadyState::Open,
        }
    }

    /// How many frames have begun to come, fragments and control frames among them.
    #[inline]
    pub fn frames_received(&self) -> u64 {
        self.frames_received
    }

    /// Whether our own Close was sent.
    pub fn close_sent(&self) -> bool {
        self.close_sent
    }

    /// Whether something of an unfinished message has come since the last call: a byte of a data frame, its header's
    /// included. Control frames are none.
    pub fn take_progress(&mut self) -> bool {
        let partial = self.partial.as_mut();
        partial.is_some_and(|partial| std::mem::take(&mut partial.has_progress))
    }

    /// Whether the next octet of the peer's begins a frame, and no message of the peer's is unfinished.
    pub fn is_between_messages(&self) -> bool {
        self.partial.is_none() && self.fragments == 0
    }

    /// Whether a fragmented message of ours lacks its last fragment.
    #[inline]
    pub fn fragment_in_progress(&self) -> bool {
        self.sending_fragments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(role: Role) -> Connection {
        Connection::new(&Config {
            role,
            max_message_size: 0,
            max_fragments: 0,
            validate_utf8: true,
        })
    }

    #[test]
    fn an_idle_connection_is_small_and_owns_nothing() {
        assert!(std::mem::size_of::<Connection>() <= 48);
        let mut server = connection(Role::Server);
        let mut wire = Vec::new();
        connection(Role::Client)
            .send(FrameKind::Binary, &[5; 1000], [1, 2, 3, 4], &mut wire)
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
            assert_eq!(client.state(), ReadyState::Closed);
            client.release();
            assert!(client.partial.is_none(), "portions of {portion}");
        }
    }

    #[test]
    fn a_whole_message_in_the_input_needs_no_memory() {
        let mut client = connection(Role::Client);
        let mut wire = Vec::new();
        connection(Role::Server)
            .send(FrameKind::Text, b"abc", [0; 4], &mut wire)
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

    /// The short way is taken by all that it can be taken by: as large as the limit, and up to the end of the input.
    #[test]
    fn a_message_as_large_as_the_limit_is_found_whole() {
        let mut client = Connection::new(&Config {
            role: Role::Client,
            max_message_size: 3,
            max_fragments: 0,
            validate_utf8: true,
        });
        let whole = WholeMessage {
            binary: false,
            payload: 2..5,
        };
        assert_eq!(
            client.receive_whole(&mut b"\x81\x03abc".to_vec()),
            Some((5, Ok(whole)))
        );
        assert_eq!(client.receive_whole(&mut b"\x81\x03ab".to_vec()), None);
        assert_eq!(client.receive_whole(&mut b"\x81\x04abcd".to_vec()), None);
    }

    #[test]
    fn frames_are_counted_whichever_way_they_come() {
        let mut client = connection(Role::Client);
        let mut count = |mut wire: Vec<u8>| {
            let mut at = 0;
            while at < wire.len() {
                at += client.receive(&mut wire[at..]).0;
            }
            client.frames_received()
        };
        assert_eq!(count(b"\x81\x01a".to_vec()), 1);
        // Two fragments and a Ping between them, and the rest of the first one's header.
        assert_eq!(count(b"\x01".to_vec()), 1);
        assert_eq!(count(b"\x01a\x89\x00\x80\x01c".to_vec()), 4);
        assert_eq!(count(b"\x82\x00\x82\x00".to_vec()), 6);
    }

    #[test]
    fn a_direct_read_of_nothing_is_no_progress() {
        let mut client = connection(Role::Client);
        client.receive(&mut b"\x81\x05a".to_vec());
        assert!(client.take_progress());
        assert_eq!(client.payload_received(0), Received::NeedMore);
        assert!(!client.take_progress());
        client.payload_buffer().unwrap().push(0xFF);
        assert!(matches!(client.payload_received(1), Received::Failed(_)));
        // Whatever is read afterwards has no place.
        assert_eq!(client.payload_received(1), Received::NeedMore);
        let mut idle = connection(Role::Client);
        assert_eq!(idle.payload_received(0), Received::NeedMore);
        assert!(idle.partial.is_none());
    }

    #[test]
    fn whole_messages_wait_for_the_last_fragment() {
        let mut server = connection(Role::Server);
        let mut out = Vec::new();
        server
            .send(
                FrameKind::Fragment {
                    binary: true,
                    last: false,
                },
                b"a",
                [0; 4],
                &mut out,
            )
            .unwrap();
        assert!(server.fragment_in_progress());
        let before = out.clone();
        assert_eq!(
            server.send(FrameKind::Binary, b"b", [0; 4], &mut out),
            Err(FrameError::FragmentInProgress)
        );
        assert_eq!(out, before);
        server.send(FrameKind::Ping, b"", [0; 4], &mut out).unwrap();
        server
            .send(
                FrameKind::Fragment {
                    binary: false,
                    last: true,
                },
                b"c",
                [0; 4],
                &mut out,
            )
            .unwrap();
        assert!(!server.fragment_in_progress());
        server
            .send(FrameKind::Binary, b"d", [0; 4], &mut out)
            .unwrap();
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
        let refused = Err(FrameError::NotOpen);
        assert_eq!(
            server.send(FrameKind::Binary, b"", [0; 4], &mut out),
            refused
        );
        assert_eq!(
            server.send(
                FrameKind::Fragment {
                    binary: true,
                    last: true
                },
                b"",
                [0; 4],
                &mut out
            ),
            refused
        );
        assert_eq!(server.send(FrameKind::Ping, b"", [0; 4], &mut out), refused);
        assert_eq!(server.send(FrameKind::Pong, b"", [0; 4], &mut out), refused);
        assert_eq!(server.close(None, b"", || [0; 4], &mut out), refused);
        assert_eq!(out.len(), 8);
    }

    #[test]
    fn every_frame_of_a_client_has_its_own_mask() {
        let mut client = connection(Role::Client);
        let mut out = Vec::new();
        client
            .send(
                FrameKind::Fragment {
                    binary: true,
                    last: false,
                },
                b"",
                [1; 4],
                &mut out,
            )
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
