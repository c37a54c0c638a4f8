//! One established connection: its protocol state, its queue, and where it stands.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use evws_proto::connection::{Config, Connection, State};
use evws_proto::Role;

use crate::event::{Interest, Wants};
use crate::queue::{ChunkPool, SendQueue, Written};
use crate::receive::BUFFER;
use crate::sys;
use crate::tls::records::Tls;

/// How long a connection that is being closed may go without any progress.
pub const CLOSING_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the peer of such a connection may go on sending, once it takes nothing more of ours.
pub const CLOSING_LIMIT: Duration = Duration::from_secs(60);
/// How long a closed connection may take to see the peer's end of the stream.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a peer may send Pings without taking the Pongs.
pub const PONG_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of unread Pongs beyond which nothing more is read from their peer.
pub const PONG_BACKLOG: u32 = 64 * 1024;

/// How far a connection has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Its upgrade is done, but the program has not been told yet.
    Announced,
    /// The program uses it.
    Open,
    /// It has failed or ended; the program will be told next.
    Ended,
    /// The program was told that it is closed; the last bytes are on their way.
    Lingering,
}

/// See above.
pub struct Link {
    /// Its socket.
    pub fd: OwnedFd,
    /// What secures it.
    pub tls: Option<Box<Tls>>,
    /// The state of RFC 6455.
    pub proto: Connection,
    /// Frames that the kernel has not taken.
    pub queue: SendQueue,
    /// Bytes that were read, but not parsed yet. While there are some, nothing is read.
    pub rest: Vec<u8>,
    /// Bytes that were read into the message being assembled, but not parsed yet.
    pub direct: usize,
    /// The negotiated subprotocol.
    pub protocol: Option<Box<str>>,
    /// The negotiated extension, as the server's response says it.
    pub extensions: Option<Box<str>>,
    /// Bytes of Pongs in the queue, at most.
    pub pong_backlog: u32,
    /// How far the queue must be written for the last of these Pongs to be out.
    pub pongs_end: u64,
    /// Which end this is.
    pub role: Role,
    /// Others have descriptors of the same socket, so that closing ours ends nothing.
    pub shared: bool,
    /// It stands in the list of connections that hold a codec.
    pub holder: bool,
    /// How far it has come.
    pub stage: Stage,
    /// What the program has a use for.
    pub wants: Wants,
    /// The program wants nothing delivered.
    pub paused: bool,
    /// It stands in the list of connections with something new to write.
    pub dirty: bool,
    /// The kernel refused bytes and will say when it takes more.
    pub write_blocked: bool,
    /// The stream takes nothing more; what arrived before that is still read.
    pub write_dead: bool,
    /// The program has queued something since the last event of an empty queue.
    pub drain_due: bool,
    /// Both Close frames have passed, and nothing unread is left.
    pub clean: bool,
    /// The end of our side of the stream was sent.
    pub write_shut: bool,
    /// How long the peer's Close is waited for, once ours is queued.
    pub closing_ends: Option<Instant>,
}

impl Link {
    /// An idle connection that wants no events yet.
    pub fn new(fd: OwnedFd, config: &Config, stage: Stage) -> Self {
        Link {
            fd,
            tls: None,
            proto: Connection::new(config),
            queue: SendQueue::default(),
            rest: Vec::new(),
            direct: 0,
            protocol: None,
            extensions: None,
            pong_backlog: 0,
            pongs_end: 0,
            role: config.role,
            shared: false,
            holder: false,
            stage,
            wants: Wants::default(),
            paused: false,
            dirty: false,
            write_blocked: false,
            write_dead: false,
            drain_due: false,
            clean: false,
            write_shut: false,
            closing_ends: None,
        }
    }

    /// Whether the program may know it as connected or closing.
    pub fn is_known(&self) -> bool {
        matches!(self.stage, Stage::Open | Stage::Ended)
    }

    /// Whether the program knows it before it is told that it is open.
    pub fn is_known_early(&self) -> bool {
        self.role == Role::Client || self.shared
    }

    /// Whether the program may send on it.
    pub fn is_open(&self) -> bool {
        self.stage == Stage::Open && self.proto.state() == State::Open
    }

    /// Whether what arrives must wait.
    pub fn holds_back(&self) -> bool {
        match self.stage {
            Stage::Announced | Stage::Ended => true,
            Stage::Open => {
                (self.paused && self.proto.state() == State::Open)
                    || self.pong_backlog > PONG_BACKLOG
            }
            Stage::Lingering => false,
        }
    }

    /// Whether something was read that is not parsed yet, or the end was read behind it.
    pub fn has_rest(&self) -> bool {
        self.has_bytes() || self.tls.as_ref().is_some_and(|tls| tls.has_ended())
    }

    /// Whether bytes were read that are not parsed yet.
    pub fn has_bytes(&self) -> bool {
        !self.rest.is_empty() || self.direct > 0
    }

    /// Offers the queue to the kernel.
    ///
    /// # Errors
    /// As [`SendQueue::write`].
    pub fn write_queue(&mut self, pool: &mut ChunkPool, wire: &mut Vec<u8>) -> io::Result<Written> {
        match &mut self.tls {
            Some(tls) => {
                wire.resize(BUFFER, 0);
                tls.write(self.fd.as_fd(), &mut self.queue, pool, wire)
            }
            None => self.queue.write(self.fd.as_fd(), pool),
        }
    }

    /// Ends our side of a TLS session. Returns whether the kernel has taken that, or never will.
    pub fn notify_end(&mut self) -> bool {
        match &mut self.tls {
            Some(tls) => tls.notify_end(self.fd.as_fd()),
            None => true,
        }
    }

    /// Ends the stream, if closing the descriptor will not.
    pub fn end_shared(&self) {
        if self.shared {
            sys::shutdown(self.fd.as_fd());
        }
    }

    /// What its descriptor is to be watched for.
    pub fn interest(&self) -> Interest {
        let read = if self.holds_back() {
            Interest::NONE
        } else {
            Interest::READ
        };
        let write = if self.write_blocked {
            Interest::WRITE
        } else {
            Interest::NONE
        };
        read | write
    }

    /// Whether our Close frame is out and the peer's is awaited.
    pub fn is_closing(&self) -> bool {
        self.stage == Stage::Open && self.proto.state() != State::Open
    }
}
