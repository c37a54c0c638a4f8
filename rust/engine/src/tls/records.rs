//! The session of an established connection: records on its socket, plaintext towards the engine.
//!
//! INVARIANT: between two calls a connection holds no plaintext, only the beginning of a record and
//! records that the kernel refused. So there is nothing to read while its descriptor is not readable.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;

use super::error_text;
use super::handshake::TlsHandshake;
use super::info::{ExpectedServer, TlsInfo};
use super::session::{Advanced, Session, OVERHEAD};
use crate::queue::{ChunkPool, SendQueue, Written};
use crate::sys;

/// The most bytes of records that are made at a time. What is beyond them waits in the send queue.
const MAX_WRITE: usize = 128 * 1024;
/// The most plaintext of a record (RFC 8446 section 5.1).
const RECORD: usize = 16 * 1024;

/// A session with the bytes that it has to keep between two calls.
pub struct TlsConnection {
    session: Session,
    /// Bytes that were read and are not decrypted: the beginning of a record.
    partial: Vec<u8>,
    /// Records that the kernel has yet to take.
    unsent: Vec<u8>,
    /// Bytes at the front of the send queue whose records are in `unsent`.
    in_flight: usize,
    /// Nothing more can be read: close_notify, an error, or the end of the stream.
    ended: bool,
    /// The session has failed, and must not be asked for anything any more.
    failed: bool,
    /// Why the session has failed, until it is reported.
    failure: Option<String>,
    /// close_notify was sent, or never will be.
    notified: bool,
    /// What a client knows of its server beforehand; `None` for a server.
    expected: Option<Box<ExpectedServer>>,
}

/// Where plaintext goes: first into the message that is being assembled, then into the receive buffer.
pub struct Sink<'a> {
    /// The message, and how many bytes it lacks. Those that it has no memory for go into the buffer.
    pub first: Option<(&'a mut Vec<u8>, usize)>,
    /// The receive buffer.
    pub second: &'a mut [u8],
    /// How many bytes went into the message, and how many into the buffer.
    pub filled: (usize, usize),
}

impl<'a> Sink<'a> {
    /// A sink that nothing went into yet.
    pub fn new(first: Option<(&'a mut Vec<u8>, usize)>, second: &'a mut [u8]) -> Self {
        Sink {
            first,
            second,
            filled: (0, 0),
        }
    }

    /// INVARIANT: there is room, since records are longer than their plaintext.
    fn take(&mut self, bytes: &[u8]) {
        let mut taken = 0;
        if let Some((target, wanted)) = &mut self.first {
            let room = target.capacity() - target.len();
            taken = bytes.len().min(*wanted).min(room);
            target.extend_from_slice(&bytes[..taken]);
            *wanted -= taken;
            self.filled.0 += taken;
        }
        let start = self.filled.1;
        let rest = &bytes[taken..];
        self.second[start..start + rest.len()].copy_from_slice(rest);
        self.filled.1 += rest.len();
    }
}

impl TlsConnection {
    /// The session after its handshake, whose last bytes were sent, and the plaintext that the peer has
    /// sent behind the handshake.
    pub fn new(handshake: TlsHandshake) -> (Self, Vec<u8>) {
        let mut partial = handshake.incoming;
        partial.shrink_to_fit();
        let tls = TlsConnection {
            session: handshake.session,
            partial,
            unsent: Vec::new(),
            in_flight: 0,
            ended: false,
            failed: false,
            failure: None,
            notified: false,
            expected: None,
        };
        (tls, handshake.plaintext)
    }

    /// Notes what a client expects of its server.
    pub fn expect(&mut self, expected: ExpectedServer) {
        self.expected = Some(Box::new(expected));
    }

    /// What the session has agreed on.
    pub fn info(&self) -> TlsInfo<'_> {
        TlsInfo::new(&self.session, self.expected.as_deref())
    }

    /// Whether nothing more can be read.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether there are records that the kernel has yet to take.
    pub fn wants_write(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// How many bytes at the front of the send queue are in records already.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// How many bytes are kept of a record that has not come in full.
    pub fn buffered(&self) -> usize {
        self.partial.len()
    }

    /// Why the session failed, once.
    pub fn take_failure(&mut self) -> Option<String> {
        self.failure.take()
    }

    /// Reads records once into `wire`, and decrypts them into the sink, which has room for as many bytes.
    /// As with recv(2), no bytes mean the end of the stream.
    ///
    /// # Errors
    /// The errors of `read`, which is recv(2); `WouldBlock` also when the records have no plaintext.
    pub fn receive(
        &mut self,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
        wire: &mut [u8],
        sink: &mut Sink<'_>,
    ) -> io::Result<(usize, usize)> {
        let buffered = self.partial.len();
        if buffered >= wire.len() {
            // It is a message of the session itself, in records of a few bytes each.
            self.fail("a message is too long".into());
            return Ok((0, 0));
        }
        let count = read(&mut wire[buffered..])?;
        wire[..buffered].copy_from_slice(&self.partial);
        if count == 0 {
            self.ended = true;
        } else if !self.ended {
            self.open(&mut wire[..buffered + count], sink);
        }
        if sink.filled == (0, 0) && !self.ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(sink.filled)
    }

    /// Decrypts the records that are there in full, and keeps the beginning of the next.
    fn open(&mut self, bytes: &mut [u8], sink: &mut Sink<'_>) {
        let mut start = 0;
        loop {
            let rest = &mut bytes[start..];
            let mut take = |plain: &[u8]| sink.take(plain);
            let (used, advanced) = self.session.advance(rest, &mut self.unsent, &mut take);
            start += used;
            match advanced {
                Advanced::Again => {}
                Advanced::Blocked | Advanced::Open => break,
                Advanced::Ended => {
                    self.ended = true;
                    break;
                }
                Advanced::Failed(error) => {
                    self.fail(error_text::reason(&error));
                    while self.session.wants_write() {
                        let rest = &mut bytes[start..];
                        self.session.advance(rest, &mut self.unsent, &mut |_| {});
                    }
                    break;
                }
            }
        }
        // A connection between two records keeps no memory for them.
        self.partial = bytes[start..].to_vec();
    }

    fn fail(&mut self, why: String) {
        self.ended = true;
        self.failed = true;
        self.failure = Some(why);
    }

    /// Offers the queue to the kernel as records, which are made in `wire` and written together. The
    /// queue keeps its bytes until the kernel has taken all of their records.
    ///
    /// # Errors
    /// The errors of sendmsg(2), but for a full socket, which is [`Written::Part`]; `BrokenPipe` if the
    /// session is over.
    pub fn write(
        &mut self,
        fd: BorrowedFd<'_>,
        queue: &mut SendQueue,
        pool: &mut ChunkPool,
        wire: &mut [u8],
    ) -> io::Result<Written> {
        loop {
            if !self.flush(fd)? {
                queue.trim(pool);
                return Ok(Written::Part);
            }
            queue.advance(std::mem::take(&mut self.in_flight), pool);
            if queue.is_empty() {
                return Ok(Written::All);
            }
            let room = wire.len().min(MAX_WRITE);
            let length = self.seal_parts(queue.parts(), &mut wire[..room])?;
            let sent = match sys::send_gathered(fd, &[IoSlice::new(&wire[..length])]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                result => result?,
            };
            if sent < length {
                self.unsent = wire[sent..length].to_vec();
                queue.trim(pool);
                return Ok(Written::Part);
            }
        }
    }

    /// Encrypts as much as `wire` has room for; returns how long the records are.
    fn seal_parts<'a>(
        &mut self,
        parts: impl Iterator<Item = &'a [u8]>,
        wire: &mut [u8],
    ) -> io::Result<usize> {
        let mut length = 0;
        for mut part in parts {
            while !part.is_empty() {
                let take = part.len().min(plaintext_of(wire.len() - length));
                if take == 0 {
                    return Ok(length);
                }
                length += self.seal(&part[..take], &mut wire[length..])?;
                self.in_flight += take;
                part = &part[take..];
            }
        }
        Ok(length)
    }

    fn seal(&mut self, plaintext: &[u8], wire: &mut [u8]) -> io::Result<usize> {
        if self.failed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.session
            .seal(&mut self.partial, Some(plaintext), wire)
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// Encrypts `plaintext` behind the records that wait for [`flush`](Self::flush).
    ///
    /// # Errors
    /// `BrokenPipe`: the session is over.
    pub fn append(&mut self, plaintext: &[u8]) -> io::Result<()> {
        let records = plaintext.len().div_ceil(RECORD);
        let mut sealed = vec![0; plaintext.len() + records * OVERHEAD];
        let length = self.seal(plaintext, &mut sealed)?;
        self.unsent.extend_from_slice(&sealed[..length]);
        Ok(())
    }

    /// Writes the records that wait. Returns whether the kernel has taken all of them.
    ///
    /// # Errors
    /// The errors of sendmsg(2), but for a full socket.
    pub fn flush(&mut self, fd: BorrowedFd<'_>) -> io::Result<bool> {
        while !self.unsent.is_empty() {
            match sys::send_gathered(fd, &[IoSlice::new(&self.unsent)]) {
                Ok(sent) if sent == self.unsent.len() => self.unsent = Vec::new(),
                Ok(sent) => {
                    self.unsent.drain(..sent);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Says that nothing more will be sent (RFC 8446 section 6.1, close_notify). Returns whether
    /// the kernel has taken it, or never will.
    pub fn notify_end(&mut self, fd: BorrowedFd<'_>) -> bool {
        if !self.notified && !self.failed {
            let mut wire = [0; OVERHEAD];
            let sealed = self.session.seal(&mut self.partial, None, &mut wire);
            // A session that cannot send close_notify ends without it.
            self.unsent.extend_from_slice(&wire[..sealed.unwrap_or(0)]);
        }
        self.notified = true;
        self.flush(fd).unwrap_or(true)
    }
}

/// How much plaintext the records in `room` bytes can have.
fn plaintext_of(room: usize) -> usize {
    let whole = room / (RECORD + OVERHEAD);
    whole * RECORD + (room % (RECORD + OVERHEAD)).saturating_sub(OVERHEAD)
}

#[cfg(test)]
pub mod tests;
