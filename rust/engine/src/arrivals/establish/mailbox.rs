//! What a connection's future needs beside its socket: questions to the engine with their answers, and a
//! deadline.

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt::Arguments;
use std::future::{poll_fn, Future};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use evws_proto::forwarded::Peer;
use evws_proto::handshake::Headers;
use evws_proto::http::{HttpRequest, HttpResponse};
use tokio::sync::oneshot;

use super::head;
use crate::event::Id;
use crate::log::{Log, Topic};
use crate::tls::handshake::{HandshakeStep, StepResult};
use crate::tls::info::OwnedTlsInfo;

/// The program's decision on a request for an upgrade.
pub enum Decision {
    /// The upgrade goes on.
    Accept {
        /// Added to the response.
        headers: Headers,
        /// The subprotocol; `None`: what the policy says.
        protocol: Option<String>,
    },
    /// The upgrade is refused with this response.
    Reject(HttpResponse),
    /// Nobody decides any more: a shutdown has begun.
    Unavailable,
}

/// What a future asks the engine, which takes the question after each poll.
pub enum Question {
    /// The addresses of a name.
    Lookup {
        /// The name.
        host: String,
        /// The port, which every address will carry.
        port: u16,
        /// Where the answer goes.
        answer: oneshot::Sender<io::Result<Vec<SocketAddr>>>,
    },
    /// A step of a TLS handshake, to be taken here or on another thread.
    Step {
        /// The step.
        step: HandshakeStep,
        /// Where its outcome goes.
        answer: oneshot::Sender<StepResult>,
    },
    /// The program's decision on a request for an upgrade.
    Handshake {
        /// The request's headers.
        headers: Headers,
        /// The subprotocols that the client asks for.
        protocols: Vec<String>,
        /// Its `Origin` is not among those that the policy allows.
        foreign: bool,
        /// Where the answer goes.
        answer: oneshot::Sender<Decision>,
    },
    /// The program's answer to any other request.
    Request {
        /// The request.
        request: Box<HttpRequest>,
        /// The request's body.
        body: Vec<u8>,
        /// Where the answer goes.
        answer: oneshot::Sender<HttpResponse>,
    },
}

/// Where the engine sends the answer to a question that waits for it.
pub enum Awaited {
    /// The answer to [`Question::Lookup`].
    Lookup(oneshot::Sender<io::Result<Vec<SocketAddr>>>),
    /// The answer to [`Question::Step`].
    Step(oneshot::Sender<StepResult>),
    /// The answer to [`Question::Handshake`], and the subprotocols that the client asks for.
    Handshake(oneshot::Sender<Decision>, Vec<String>),
    /// The answer to [`Question::Request`].
    Request(oneshot::Sender<HttpResponse>),
}

/// How far a connection has come, which decides how a shutdown or a timer ends it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// The client's request or the program's answer is awaited.
    #[default]
    Asking,
    /// A response is being sent.
    Answering,
    /// A response was sent, and no further request has begun.
    Idle,
    /// A client was refused, and reads what the server says about that.
    Refused,
}

/// What a future and the engine share beside the socket.
#[derive(Default)]
pub struct Mailbox {
    log: Log,
    /// The connection's, for the log.
    id: Cell<Id>,
    question: RefCell<Option<Question>>,
    /// The deadline that the future has set, until the engine takes it.
    deadline: Cell<Option<Option<Duration>>>,
    is_expired: Cell<bool>,
    is_shutting_down: Cell<bool>,
    /// How far a server's connection has come.
    pub phase: Cell<Phase>,
    /// Who the client is, if a proxy says that.
    pub claimed: Cell<Option<Peer>>,
    /// What TLS has agreed on, for a program that is asked.
    secured: OnceCell<OwnedTlsInfo>,
}

/// The deadline has passed.
pub struct Elapsed;

impl Mailbox {
    /// A mailbox whose future writes to this log.
    pub fn new(log: Log) -> Self {
        Mailbox {
            log,
            ..Mailbox::default()
        }
    }

    /// Under which id.
    pub fn set_id(&self, id: Id) {
        self.id.set(id);
    }

    /// Writes a line about a step of the future.
    pub fn log(&self, text: Arguments<'_>) {
        self.log.write(Topic::Handshake, self.id.get(), text);
    }

    /// Writes the lines of a head that was sent or received, as far as it is one. What it has of
    /// credentials is not shown.
    pub fn log_head(&self, way: &str, bytes: &[u8]) {
        if self.log.is_on() {
            head::lines(bytes, |line| self.log(format_args!("{way} {line}")));
        }
    }

    /// Writes a line about a descriptor of the future.
    pub fn log_descriptor(&self, text: Arguments<'_>) {
        self.log.write(Topic::Descriptor, self.id.get(), text);
    }

    /// Asks the engine.
    pub fn ask(&self, question: Question) {
        *self.question.borrow_mut() = Some(question);
    }

    /// The question that the last poll has raised.
    pub fn take_question(&self) -> Option<Question> {
        self.question.take()
    }

    /// Sets the one deadline of the future, or drops it.
    pub fn set_deadline(&self, after: Option<Duration>) {
        self.is_expired.set(false);
        self.deadline.set(Some(after));
    }

    /// The deadline that the last poll has set, if it has.
    pub fn take_deadline(&self) -> Option<Option<Duration>> {
        self.deadline.take()
    }

    /// Keeps what TLS has agreed on: the session itself is the future's.
    pub fn keep_info(&self, info: OwnedTlsInfo) {
        // It is set once, since there is one TLS handshake.
        let _ = self.secured.set(info);
    }

    /// What TLS has agreed on, if that was kept.
    pub fn info(&self) -> Option<&OwnedTlsInfo> {
        self.secured.get()
    }

    /// The engine says that the deadline has passed, and polls.
    pub fn expire(&self) {
        self.is_expired.set(true);
    }

    /// The same for a shutdown, which waits for nobody.
    pub fn expire_for_shutdown(&self) {
        self.is_shutting_down.set(true);
        self.expire();
    }

    /// Whether it is a shutdown that has ended its time.
    pub fn is_shutting_down(&self) -> bool {
        self.is_shutting_down.get()
    }

    /// Does `work`, unless the deadline passes first. A future that gets [`Elapsed`] sets another deadline, or ends.
    ///
    /// # Errors
    /// [`Elapsed`]
    pub async fn in_time<T>(&self, work: impl Future<Output = T>) -> Result<T, Elapsed> {
        let mut work = pin!(work);
        poll_fn(|context| {
            let result = work.as_mut().poll(context);
            match result {
                // A deadline that has passed stays so for the work that follows, until another is set.
                Poll::Ready(result) => Poll::Ready(Ok(result)),
                Poll::Pending if self.is_expired.take() => Poll::Ready(Err(Elapsed)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }
}
