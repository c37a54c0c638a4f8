//! What a future needs from outside its socket: answers, and a deadline.

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt::Arguments;
use std::future::{poll_fn, Future};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use evws_proto::handshake::Headers;
use evws_proto::http::{HttpRequest, HttpResponse};
use tokio::sync::oneshot;

use super::head;
use crate::event::Id;
use crate::log::{Log, Topic};
use crate::tls::handshake::{HandshakeStep, StepResult};
use crate::tls::info::OwnedTlsInfo;

/// What the program said to a handshake.
pub enum Decision {
    /// The upgrade goes on.
    Accept {
        /// Added to the response.
        headers: Headers,
        /// The subprotocol; `None`: what the policy says.
        protocol: Option<String>,
    },
    /// The client is answered with this.
    Reject(HttpResponse),
}

/// What a future wants to know. The engine looks after each poll.
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
        /// Its body.
        body: Vec<u8>,
        /// Where the answer goes.
        answer: oneshot::Sender<HttpResponse>,
    },
}

/// The answer that the engine will give to a future.
pub enum Awaited {
    /// To [`Question::Lookup`].
    Lookup(oneshot::Sender<io::Result<Vec<SocketAddr>>>),
    /// To [`Question::Step`].
    Step(oneshot::Sender<StepResult>),
    /// To [`Question::Handshake`], and the subprotocols that may be in it.
    Handshake(oneshot::Sender<Decision>, Vec<String>),
    /// To [`Question::Request`].
    Request(oneshot::Sender<HttpResponse>),
}

/// Where a server's connection stands, for those who want it to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Its client has something to say, or the program.
    #[default]
    Asking,
    /// It takes a response.
    Answering,
    /// It has had one, and nobody has said anything since.
    Idle,
}

/// Where a future and the engine meet.
#[derive(Default)]
pub struct Mailbox {
    log: Log,
    /// The connection's, for the log.
    id: Cell<Id>,
    question: RefCell<Option<Question>>,
    /// The deadline that the future has set anew, until the engine takes it up.
    deadline: Cell<Option<Option<Duration>>>,
    is_expired: Cell<bool>,
    /// Where the future stands, if it is a server's.
    pub phase: Cell<Phase>,
    /// What TLS has agreed on, for a program that is asked.
    secured: OnceCell<OwnedTlsInfo>,
}

/// The deadline has passed.
pub struct Elapsed;

impl Mailbox {
    /// Of a future whose steps are written to this log.
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

    /// What the last poll has set.
    pub fn take_deadline(&self) -> Option<Option<Duration>> {
        self.deadline.take()
    }

    /// Keeps what TLS has agreed on: the session itself is the future's.
    pub fn keep_info(&self, info: OwnedTlsInfo) {
        // There is one handshake.
        let _ = self.secured.set(info);
    }

    /// What was kept.
    pub fn info(&self) -> Option<&OwnedTlsInfo> {
        self.secured.get()
    }

    /// The engine says that the deadline has passed, and polls.
    pub fn expire(&self) {
        self.is_expired.set(true);
    }

    /// Whatever `work` comes to, unless the deadline passes first. A future that was told that goes on by itself: it
    /// sets another, or ends.
    ///
    /// # Errors
    /// [`Elapsed`]
    pub async fn in_time<T>(&self, work: impl Future<Output = T>) -> Result<T, Elapsed> {
        let mut work = pin!(work);
        poll_fn(|context| {
            let result = work.as_mut().poll(context);
            match result {
                // The rest of what it is a part of is late all the same: only another deadline takes that back.
                Poll::Ready(result) => Poll::Ready(Ok(result)),
                Poll::Pending if self.is_expired.take() => Poll::Ready(Err(Elapsed)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }
}
