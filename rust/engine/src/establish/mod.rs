//! The cold path: everything between a descriptor and an established connection, as one `async fn`
//! a role. The engine polls a connection's future by hand whenever something it waits for is there.

pub mod client;
mod dial;
mod proxy;
pub mod race;
mod secure;
pub mod server;
pub mod stream;
pub mod transport;

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use evws_proto::handshake::{Headers, Negotiated};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::oneshot;

use crate::event::{Id, Interest};
use crate::tls::handshake::{Handshake, Step};
use crate::tls::records::Tls;
use race::Attempt;
use stream::Socket;

/// The end of a future that succeeded.
pub struct Established {
    /// The peer's headers, for the program.
    pub headers: Headers,
    /// The negotiated subprotocol.
    pub protocol: Option<String>,
    /// What was agreed on of permessage-deflate.
    pub deflate: Option<Negotiated>,
    /// Bytes that were read beyond the head.
    pub leftover: Vec<u8>,
    /// The session that the connection goes on with; `None`: there is no TLS.
    pub tls: Option<Box<Tls>>,
}

/// The end of a future that did not.
pub enum Failure {
    /// A client's program is told why.
    Client(String),
    /// A server has answered the request already; its program is not told.
    Server,
}

/// What the program said to a handshake.
pub struct Decision {
    /// Whether the upgrade goes on.
    pub accept: bool,
    /// Added to the response.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// What a future needs from outside its socket. The engine looks after each poll.
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
        step: Step,
        /// Where its outcome goes.
        answer: oneshot::Sender<Stepped>,
    },
    /// The program's decision on a request.
    Handshake {
        /// The request's headers.
        headers: Headers,
        /// Where the answer goes.
        answer: oneshot::Sender<Decision>,
    },
}

/// What a step of a TLS handshake leaves.
pub type Stepped = Result<Box<Handshake>, rustls::Error>;

/// Where a future puts its question.
pub type Desk = Rc<RefCell<Option<Question>>>;

/// The answer that the engine will give to a future.
pub enum Awaited {
    /// To [`Question::Lookup`].
    Lookup(oneshot::Sender<io::Result<Vec<SocketAddr>>>),
    /// To [`Question::Step`].
    Step(oneshot::Sender<Stepped>),
    /// To [`Question::Handshake`].
    Handshake(oneshot::Sender<Decision>),
}

type Task = Pin<Box<dyn Future<Output = Result<Established, Failure>>>>;

/// A connection that is being established.
pub struct Establishing {
    task: Task,
    /// Its socket.
    pub socket: Rc<Socket>,
    desk: Desk,
    /// Whom an answer goes to.
    pub awaited: Option<Awaited>,
    /// The attempts of a race of addresses, with the tokens that they are watched under.
    pub attempts: Vec<(Id, Rc<Attempt>)>,
    /// Held in the middle of a TLS handshake: there are as many as handshakes under way.
    pub crowd: Option<Rc<()>>,
}

impl Establishing {
    /// Around a future that uses this socket and this desk.
    pub fn new(
        socket: Rc<Socket>,
        desk: Desk,
        task: impl Future<Output = Result<Established, Failure>> + 'static,
    ) -> Self {
        Establishing {
            task: Box::pin(task),
            socket,
            desk,
            awaited: None,
            attempts: Vec::new(),
            crowd: None,
        }
    }

    /// Goes on as far as can be. `ready`: the descriptor is.
    pub fn poll(&mut self, ready: bool) -> Poll<Result<Established, Failure>> {
        self.socket.begin_poll(ready);
        self.task
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
    }

    /// The question that the last poll has raised.
    pub fn take_question(&mut self) -> Option<Question> {
        self.desk.take()
    }

    /// What the descriptor is to be watched for.
    pub fn wants(&self) -> Interest {
        self.socket.wants()
    }
}

/// Reads once, appending to `head` what came.
async fn read_more(from: &mut (impl AsyncRead + Unpin), head: &mut Vec<u8>) -> io::Result<usize> {
    const STEP: usize = 4096;
    let before = head.len();
    head.resize(before + STEP, 0);
    let result = from.read(&mut head[before..]).await;
    head.truncate(before + *result.as_ref().unwrap_or(&0));
    result
}
