//! A message that is sent on many connections: framed once, and compressed once for each way to compress it.
//!
//! What is compressed here refers to nothing outside of its message, so that every connection that agreed on compression can send
//! it. One that takes its context over begins a new one afterwards, since its compressor has not seen the message.

use std::cell::RefCell;
use std::rc::Rc;

use super::{Connection, FrameError};
use crate::deflate::{compress_alone, Codecs, DeflateWay};
use crate::frame::{self, Opcode, RSV1};
use crate::Role;

/// A whole frame, header included, that send queues share.
pub type SharedFrame = Rc<Vec<u8>>;

/// How a connection sends a prepared message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// With a payload that is masked with a fresh key: a client.
    pub is_masked: bool,
    /// Compressed in this way; `None`: as it is.
    pub way: Option<DeflateWay>,
}

/// A message that was framed once.
#[derive(Debug)]
pub struct Prepared {
    is_binary: bool,
    /// Whether it goes out compressed where that was agreed on.
    is_compressible: bool,
    plain: SharedFrame,
    /// Bytes of the header in `plain`.
    header: usize,
    /// The frames that were needed so far.
    compressed: RefCell<Vec<(DeflateWay, SharedFrame)>>,
}

impl Prepared {
    /// Frames a message.
    ///
    /// # Errors
    /// [`FrameError::NoMemory`]
    pub fn new(
        is_binary: bool,
        is_compressible: bool,
        payload: &[u8],
    ) -> Result<Prepared, FrameError> {
        let length = frame::encoded_len(payload.len(), false);
        let mut plain = Vec::new();
        plain
            .try_reserve_exact(length)
            .map_err(|_| FrameError::NoMemory)?;
        frame::encode(true, opcode(is_binary), payload, None, &mut plain);
        Ok(Prepared {
            is_binary,
            is_compressible,
            header: length - payload.len(),
            plain: Rc::new(plain),
            compressed: RefCell::default(),
        })
    }

    /// The message.
    pub fn payload(&self) -> &[u8] {
        &self.plain[self.header..]
    }

    /// The frame for connections that compress in this way. A client still has to [mask](masked) it.
    pub fn frame(&self, way: Option<DeflateWay>, codecs: &Codecs) -> SharedFrame {
        match way {
            Some(way) if self.is_compressible && way.suits(self.payload().len()) => {
                self.compressed(way, codecs)
            }
            _ => Rc::clone(&self.plain),
        }
    }

    fn compressed(&self, way: DeflateWay, codecs: &Codecs) -> SharedFrame {
        let mut made = self.compressed.borrow_mut();
        if let Some((_, frame)) = made.iter().find(|(known, _)| *known == way) {
            return Rc::clone(frame);
        }
        let compressed = compress_alone(way, self.payload(), codecs);
        let framed = compressed.and_then(|bytes| {
            let mut frame = Vec::new();
            let length = frame::encoded_len(bytes.len(), false);
            frame.try_reserve_exact(length).ok()?;
            let opcode = opcode(self.is_binary);
            frame::encode_with(true, RSV1, opcode, &bytes, None, &mut frame);
            Some(Rc::new(frame))
        });
        // It has not become shorter, or there is no memory.
        let frame = framed.unwrap_or_else(|| Rc::clone(&self.plain));
        made.push((way, Rc::clone(&frame)));
        frame
    }
}

/// The frame of a prepared message as a client sends it (RFC 6455 section 5.3).
///
/// # Errors
/// [`FrameError::NoMemory`]
pub fn masked(frame: &SharedFrame, key: [u8; 4]) -> Result<SharedFrame, FrameError> {
    let header = match frame::parse_header(frame) {
        Ok(Some((header, _))) => header,
        // A frame of ours is whole.
        _ => return Ok(Rc::clone(frame)),
    };
    let payload = &frame[frame::sent_header_len([frame[0], frame[1]])..];
    let mut masked = Vec::new();
    masked
        .try_reserve_exact(frame::encoded_len(payload.len(), true))
        .map_err(|_| FrameError::NoMemory)?;
    let (opcode, key) = (header.opcode, Some(key));
    frame::encode_with(true, header.rsv, opcode, payload, key, &mut masked);
    Ok(Rc::new(masked))
}

fn opcode(is_binary: bool) -> Opcode {
    if is_binary {
        Opcode::Binary
    } else {
        Opcode::Text
    }
}

impl Connection {
    /// How this connection sends a prepared message.
    #[inline]
    pub fn encoding(&self) -> Encoding {
        Encoding {
            is_masked: self.role == Role::Client,
            way: self.deflate.as_ref().and_then(|deflate| deflate.way()),
        }
    }

    /// Whether a message can begin. It can behind the peer's Close, as long as that was not answered: whoever asks
    /// has been asked to send before.
    ///
    /// # Errors
    /// [`FrameError::NotOpen`], [`FrameError::FragmentInProgress`]
    #[inline]
    pub fn check_message(&self) -> Result<(), FrameError> {
        if self.close_sent {
            return Err(FrameError::NotOpen);
        }
        if self.sending_fragments {
            return Err(FrameError::FragmentInProgress);
        }
        Ok(())
    }

    /// The frame of a prepared message was queued: the messages that are compressed next refer to nothing before it.
    #[inline]
    pub fn note_prepared(&mut self) {
        if let Some(deflate) = &mut self.deflate {
            deflate.begin_anew();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{Config, FrameKind, Received};
    use crate::deflate::{Agreement, Direction};

    fn connection(role: Role, takes_over: bool, threshold: u64) -> Connection {
        let mut connection = Connection::new(&Config {
            role,
            max_message_size: 0,
            max_fragments: 0,
            validate_utf8: true,
        });
        let direction = Direction {
            no_context_takeover: !takes_over,
            window_bits: 12,
        };
        let agreement = Agreement {
            client: direction,
            server: direction,
            threshold,
            level: 6,
        };
        connection.use_deflate(&agreement, Codecs::default());
        connection
    }

    fn receive(to: &mut Connection, frame: &[u8]) -> Vec<u8> {
        let mut frame = frame.to_vec();
        match to.receive(&mut frame) {
            (_, Received::Message { payload, .. }) => payload.to_vec(),
            other => panic!("{other:?}"),
        }
    }

    /// Messages of a connection of its own go on being understood between those that were prepared, with context takeover
    /// and without.
    #[test]
    fn prepared_messages_and_others_go_to_one_connection() {
        let text = "the same words again and again, ".repeat(40);
        let prepared = Prepared::new(false, true, text.as_bytes()).unwrap();
        for takes_over in [false, true] {
            let mut server = connection(Role::Server, takes_over, 1);
            let mut client = connection(Role::Client, takes_over, 1);
            let codecs = Codecs::default();
            for round in 0..4 {
                let mut own = Vec::new();
                let sent = format!("{round}{text}");
                server
                    .send(FrameKind::Text, sent.as_bytes(), [0; 4], &mut own)
                    .unwrap();
                assert_eq!(receive(&mut client, &own), sent.as_bytes());
                let frame = prepared.frame(server.encoding().way, &codecs);
                assert!(frame.len() < 80, "{}", frame.len());
                assert_eq!(frame[0], 0xC1);
                assert_eq!(receive(&mut client, &frame), text.as_bytes());
                server.note_prepared();
            }
        }
    }

    /// What came before a prepared message stands farther back for the peer than for the compressor, which must not refer to
    /// it.
    #[test]
    fn nothing_refers_over_a_prepared_message() {
        let own: String = (0..200u32).map(|at| format!("{};", at * at * 31)).collect();
        let prepared = Prepared::new(false, true, &[b'a'; 1000]).unwrap();
        let mut server = connection(Role::Server, true, 1);
        let mut client = connection(Role::Client, true, 1);
        for _ in 0..3 {
            let mut frame = Vec::new();
            server
                .send(FrameKind::Text, own.as_bytes(), [0; 4], &mut frame)
                .unwrap();
            assert_eq!(receive(&mut client, &frame), own.as_bytes());
            let frame = prepared.frame(server.encoding().way, &Codecs::default());
            assert_eq!(receive(&mut client, &frame), [b'a'; 1000]);
            server.note_prepared();
        }
    }

    #[test]
    fn what_is_short_or_does_not_shrink_or_must_not_be_compressed_goes_out_plain() {
        let codecs = Codecs::default();
        let way = connection(Role::Server, false, 10).encoding().way;
        let first = |compressible, payload: &[u8]| {
            let prepared = Prepared::new(true, compressible, payload).unwrap();
            assert_eq!(prepared.payload(), payload);
            let frame = prepared.frame(way, &codecs);
            frame[0]
        };
        assert_eq!(first(true, &[7; 100]), 0xC2);
        assert_eq!(first(false, &[7; 100]), 0x82);
        assert_eq!(first(true, &[7; 9]), 0x82);
        let random: Vec<u8> = (0..200u32).map(|at| ((at * at * 31) >> 3) as u8).collect();
        assert_eq!(first(true, &random), 0x82);
    }

    #[test]
    fn a_client_masks_what_all_send() {
        let client = connection(Role::Client, false, 1);
        let mut server = connection(Role::Server, false, 1);
        assert!(client.encoding().is_masked && !server.encoding().is_masked);
        let codecs = Codecs::default();
        // In Miri a kilobyte takes its time.
        let long = if cfg!(miri) { 300 } else { 90_000 };
        for payload in [vec![], vec![b'a'; long]] {
            let prepared = Prepared::new(false, true, &payload).unwrap();
            for way in [None, client.encoding().way] {
                let frame = masked(&prepared.frame(way, &codecs), [1, 2, 3, 4]).unwrap();
                assert_eq!(frame[1] & 0x80, 0x80);
                assert_eq!(receive(&mut server, &frame), payload);
            }
        }
    }

    #[test]
    fn a_frame_is_made_once_for_all_that_compress_alike() {
        let codecs = Codecs::default();
        let prepared = Prepared::new(false, true, &[b'a'; 300]).unwrap();
        let frame = |takes_over| {
            let server = connection(Role::Server, takes_over, 1);
            prepared.frame(server.encoding().way, &codecs)
        };
        assert!(Rc::ptr_eq(&frame(false), &frame(true)));
        let plain = prepared.frame(None, &codecs);
        assert!(Rc::ptr_eq(&plain, &prepared.plain));
    }
}
