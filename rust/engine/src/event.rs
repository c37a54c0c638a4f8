//! What the engine tells its caller: events, and which descriptors to watch for what.

use std::fmt;
use std::ops::BitOr;
use std::rc::Rc;

use evws_proto::deflate;

use crate::limits::{Limits, RateLimit};

/// A connection or another source of readiness: slot in the low half, generation in the high one.
/// A stale id names no source, until its slot has been used four thousand million times.
pub type Id = u64;

/// What a descriptor is watched for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interest(u8);

impl Interest {
    /// Nothing: it need not be watched.
    pub const NONE: Interest = Interest(0);
    /// Bytes to read, a connection to accept, or the end.
    pub const READ: Interest = Interest(1);
    /// Room to write.
    pub const WRITE: Interest = Interest(2);

    /// Bit 0 for reading, bit 1 for writing.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// Whether nothing is wanted.
    pub fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for Interest {
    type Output = Interest;
    fn bitor(self, other: Interest) -> Interest {
        Interest(self.0 | other.0)
    }
}

impl fmt::Display for Interest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self.0 {
            0 => "nothing",
            1 => "reading",
            2 => "writing",
            _ => "reading and writing",
        })
    }
}

/// A descriptor and what it is to be watched for from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// The source that readiness is to be reported for.
    pub token: Id,
    /// The descriptor, which stays open until the next call of
    /// [`Context::poll_watch`](crate::Context::poll_watch) at least.
    pub fd: i32,
    /// `None`: stop watching, and forget the token.
    pub interest: Option<Interest>,
}

/// Which events the caller has a use for; the others are not made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wants {
    /// [`Event::Drain`].
    pub drain: bool,
    /// [`Event::Pong`].
    pub pong: bool,
    /// [`Event::Message`]. Without it, messages are checked and dropped.
    pub message: bool,
    /// [`Event::RateLimited`].
    pub limit: bool,
    /// [`Event::Rejected`]: a listener's.
    pub reject: bool,
    /// [`Event::Dropped`].
    pub dropped: bool,
}

/// The options of a connection.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Bytes; 0: no limit.
    pub max_message_size: u64,
    /// Whether text is checked.
    pub validate_utf8: bool,
    /// Which events are made.
    pub wants: Wants,
    /// What is allowed of permessage-deflate; `None`: it is neither offered nor accepted.
    pub deflate: Option<deflate::Options>,
    /// What is limited; all connections of a listener share it.
    pub limits: Rc<Limits>,
}

/// Why a client of a listener did not become a connection. Its numbers, from 0 on, may be used as indices of counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectCause {
    /// The TLS handshake has failed.
    Tls,
    /// The request cannot be understood, or asks for what the listener does not do: it got a 4xx, or 501.
    Request,
    /// The request is for a host that is not served.
    Host,
    /// The request comes from a page that may not ask.
    Origin,
    /// The program has refused the upgrade.
    Program,
    /// The client, or the program, took too long.
    Timeout,
    /// The client went away before its request was complete, or before it was answered.
    Gone,
    /// There are as many connections as there may be.
    Limit,
    /// What a proxy before us says about its client is missing, cannot be understood, or comes from somebody else.
    Proxy,
    /// The context is shutting down.
    Shutdown,
}

impl RejectCause {
    /// All of them, in the order of their numbers.
    pub const ALL: [RejectCause; 10] = [
        RejectCause::Tls,
        RejectCause::Request,
        RejectCause::Host,
        RejectCause::Origin,
        RejectCause::Program,
        RejectCause::Timeout,
        RejectCause::Gone,
        RejectCause::Limit,
        RejectCause::Proxy,
        RejectCause::Shutdown,
    ];

    /// Its number.
    pub fn index(self) -> usize {
        self as usize
    }
}

/// What happened. Payloads and headers lie in the context until its next call.
///
/// As the compiler lays it out by itself, what is small stands where other events have an id, and is read with those that
/// are not there: a processor waits for what was written in smaller parts than it reads. So the order is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Event {
    /// A client asks `listener` for an upgrade: answer with
    /// [`Context::accept_handshake`](crate::Context::accept_handshake) or
    /// [`Context::reject_handshake`](crate::Context::reject_handshake).
    Handshake {
        /// The request's `Origin` is not among those that the listener allows, and the program decides on it.
        foreign: bool,
        /// The connection.
        id: Id,
        /// Where it came in; `None`: it was adopted.
        listener: Option<Id>,
    },
    /// A client of `listener` sends a request that is no upgrade; its body is the payload. Answer
    /// with [`Context::answer_request`](crate::Context::answer_request).
    Request {
        /// The connection.
        id: Id,
        /// Where it came in.
        listener: Id,
    },
    /// The upgrade is done.
    Connect {
        /// The connection.
        id: Id,
        /// Where it came in; `None` for a client, and one that was adopted.
        listener: Option<Id>,
    },
    /// A whole message.
    Message {
        /// Whether it is binary.
        binary: bool,
        /// The connection.
        id: Id,
    },
    /// A Pong frame.
    Pong {
        /// The connection.
        id: Id,
    },
    /// The send queue has become empty.
    Drain {
        /// The connection.
        id: Id,
    },
    /// The peer has sent more than it may, and is not read from for a while. Of all pauses of a
    /// connection the first one is told.
    RateLimited {
        /// What the peer has sent too much of.
        limit: RateLimit,
        /// The connection.
        id: Id,
    },
    /// Published messages were dropped because the connection is too slow for them.
    Dropped {
        /// The connection.
        id: Id,
        /// How many, since the last such event.
        messages: u64,
    },
    /// A topic, whose name is the payload, has got its first subscriber, or has lost its last one.
    TopicUsed {
        /// Which of both.
        is_used: bool,
    },
    /// The peer broke the protocol; [`Event::Close`] follows. The text is the payload.
    Error {
        /// The connection.
        id: Id,
    },
    /// A connection could not be made. The text is the payload, and the id is stale now.
    ConnectFailed {
        /// The connection.
        id: Id,
    },
    /// The connection has ended. The reason is the payload, and the id is stale now.
    Close {
        /// A close code of RFC 6455 section 7.4, 1005 and 1006 included.
        code: u16,
        /// The connection.
        id: Id,
    },
    /// A client of a listener did not become a connection, and none of its requests was answered by the program. The text
    /// that says why is the payload, the headers are those of its request, as far as one could be read. The id is stale
    /// now, or will be soon.
    Rejected {
        /// Why, for whoever counts.
        cause: RejectCause,
        /// The connection that will not be.
        id: Id,
        /// Where it came in.
        listener: Id,
    },
    /// A client of a listener has gone after it was accepted and before [`Event::Connect`], which
    /// will not come. The id is stale now.
    HandshakeEnded {
        /// The connection that will not be.
        id: Id,
    },
    /// A listener that was stopped is named by no further event. Its id is stale now.
    ListenerEnded {
        /// The listener.
        listener: Id,
    },
    /// A shutdown is over: there are no connections any more. One for each call of
    /// [`Context::begin_shutdown`](crate::Context::begin_shutdown).
    ShutDown {
        /// How many connections were ended because their peers did not close in time.
        timed_out: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::Interest;

    /// As a line of the log has it.
    #[test]
    fn the_log_says_what_a_descriptor_is_watched_for() {
        let all = [
            Interest::NONE,
            Interest::READ,
            Interest::WRITE,
            Interest::READ | Interest::WRITE,
        ];
        let said = all.map(|interest| interest.to_string());
        assert_eq!(
            said,
            ["nothing", "reading", "writing", "reading and writing"]
        );
    }
}
