//! The TLS session of an established connection: records on the socket, plaintext on this side.
//!
//! INVARIANT: between two calls rustls holds no plaintext, only the beginning of a record at most,
//! and records that the kernel refused. So a descriptor that is not readable has nothing to read.

use std::io::{self, BufRead, IoSlice, Write};
use std::os::fd::BorrowedFd;

use rustls::Connection;

use super::info::{Expected, TlsInfo};
use super::words;
use crate::queue::{ChunkPool, SendQueue, Written};
use crate::sys;

/// Bytes of records that wait for the kernel. What is beyond them waits in the send queue.
const WAITING: usize = 64 * 1024;
/// By this much the buffer for plaintext must be larger than the one for records: the beginning of
/// a record may have come before (RFC 8446 section 5.2: at most 2^14 + 256 bytes, TLS 1.2 2^14 + 2048).
pub const HELD: usize = 20 * 1024;

/// See the module.
pub struct Tls {
    session: Connection,
    /// Bytes at the front of the send queue whose records the kernel does not have in full.
    in_flight: usize,
    /// Nothing more can be read: close_notify, or an error.
    ended: bool,
    /// The error, until it is reported.
    failure: Option<String>,
    notified: bool,
    /// Of a client: what it knows of the server beforehand.
    expected: Option<Box<Expected>>,
}

/// A descriptor as rustls writes to it.
struct Wire<'a>(BorrowedFd<'a>);

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        sys::send_gathered(self.0, &[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        sys::send_gathered(self.0, &parts[..parts.len().min(sys::MAX_GATHERED)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where plaintext goes: first into the message that is being assembled, then into the buffer.
pub struct Sink<'a> {
    /// That message, and how many bytes it lacks.
    pub first: Option<(&'a mut Vec<u8>, usize)>,
    /// The receive buffer.
    pub second: &'a mut [u8],
    /// Bytes in each.
    pub filled: (usize, usize),
}

impl<'a> Sink<'a> {
    /// Nothing is in it yet.
    pub fn new(first: Option<(&'a mut Vec<u8>, usize)>, second: &'a mut [u8]) -> Self {
        Sink {
            first,
            second,
            filled: (0, 0),
        }
    }

    /// Takes what there is room for.
    fn take(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        if let Some((target, wanted)) = &mut self.first {
            taken = bytes.len().min(*wanted);
            target.extend_from_slice(&bytes[..taken]);
            *wanted -= taken;
            self.filled.0 += taken;
        }
        let start = self.filled.1;
        let more = (bytes.len() - taken).min(self.second.len() - start);
        self.second[start..start + more].copy_from_slice(&bytes[taken..taken + more]);
        self.filled.1 += more;
        taken + more
    }
}

impl Tls {
    /// After the handshake. Also returns the plaintext that rustls holds already.
    pub fn new(mut session: Connection) -> (Self, Vec<u8>) {
        session.set_buffer_limit(Some(WAITING));
        let mut tls = Tls {
            session,
            in_flight: 0,
            ended: false,
            failure: None,
            notified: false,
            expected: None,
        };
        let mut held = Vec::new();
        let mut sink = Sink::new(Some((&mut held, usize::MAX)), &mut []);
        tls.drain(&mut sink);
        (tls, held)
    }

    /// Notes what a client expects of its server.
    pub fn expect(&mut self, expected: Expected) {
        self.expected = Some(Box::new(expected));
    }

    /// What was agreed on.
    pub fn info(&self) -> TlsInfo<'_> {
        TlsInfo::new(&self.session, self.expected.as_deref())
    }

    /// Whether nothing more can be read.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether there are records that the kernel does not have, of the session itself or others.
    pub fn wants_write(&self) -> bool {
        self.session.wants_write()
    }

    /// Why the session failed, once.
    pub fn take_failure(&mut self) -> Option<String> {
        self.failure.take()
    }

    /// Reads once from the socket into `wire`, and what is in it into the sink. Like recv(2),
    /// nothing at all is the end of the stream.
    ///
    /// # Errors
    /// Whatever recv(2) says; `WouldBlock` also when what came has no plaintext in it.
    pub fn receive(
        &mut self,
        fd: BorrowedFd<'_>,
        wire: &mut [u8],
        sink: &mut Sink<'_>,
    ) -> io::Result<(usize, usize)> {
        let count = sys::receive(fd, wire)?;
        let mut records = &wire[..count];
        self.ended |= count == 0;
        while !records.is_empty() && !self.ended {
            if let Err(error) = self.session.read_tls(&mut records) {
                self.fail(words::stream_reason(&error));
            } else if let Err(error) = self.session.process_new_packets() {
                self.fail(words::reason(&error));
            }
            self.drain(sink);
        }
        if sink.filled == (0, 0) && !self.ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(sink.filled)
    }

    fn fail(&mut self, why: String) {
        self.ended = true;
        self.failure = Some(why);
    }

    /// Takes what rustls has decrypted.
    fn drain(&mut self, sink: &mut Sink<'_>) {
        let mut reader = self.session.reader();
        while let Ok(plaintext) = reader.fill_buf() {
            if plaintext.is_empty() {
                self.ended = true;
                return;
            }
            let taken = sink.take(plaintext);
            reader.consume(taken);
            if taken == 0 {
                return;
            }
        }
    }

    /// Offers the queue to the kernel as records: encrypted in order, written together. The queue
    /// keeps its bytes until the kernel has all of their records.
    ///
    /// # Errors
    /// Whatever the kernel says, but for a full socket, which is [`Written::Part`].
    pub fn write(
        &mut self,
        fd: BorrowedFd<'_>,
        queue: &mut SendQueue,
        pool: &mut ChunkPool,
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
            for part in queue.parts() {
                let taken = self.session.writer().write(part)?;
                self.in_flight += taken;
                if taken < part.len() {
                    break;
                }
            }
            if self.in_flight == 0 {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
        }
    }

    /// Writes the records that wait. Returns whether the kernel has taken all.
    ///
    /// # Errors
    /// Whatever the kernel says, but for a full socket.
    pub fn flush(&mut self, fd: BorrowedFd<'_>) -> io::Result<bool> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut Wire(fd)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Says that nothing more will be sent (RFC 8446 section 6.1, close_notify). Returns whether
    /// the kernel has taken it, or never will.
    pub fn notify_end(&mut self, fd: BorrowedFd<'_>) -> bool {
        if !self.notified {
            self.notified = true;
            self.session.send_close_notify();
        }
        self.flush(fd).unwrap_or(true)
    }
}
