//! Connecting to several addresses at once: the first that answers wins (RFC 8305 section 5).
//!
//! Each attempt has a socket of its own, which the engine watches under a token of its own
//! ([`crate::arrivals`]). The future and the engine share nothing but [`Attempt`].

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::task::Poll;

use super::dial;
use super::mailbox::Mailbox;
use super::stream::Stream;
use crate::{error, sys};

/// How far an attempt to connect has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptState {
    /// The answer is awaited.
    Waiting,
    /// The attempt has taken so long that the next address is tried beside it.
    Late,
    /// The answer is there.
    Ready,
    /// The attempt has won or failed, or another one was faster.
    Over,
}

/// A connect(2) that is under way.
pub struct Attempt {
    /// Empty once the descriptor was taken.
    fd: RefCell<Option<OwnedFd>>,
    raw: RawFd,
    /// Whether there are addresses left to try beside this one.
    pub has_successors: bool,
    /// Set by the engine when something happens, and by the future when the attempt is over.
    pub progress: Cell<AttemptState>,
}

impl Attempt {
    /// The number of its descriptor.
    pub fn raw_fd(&self) -> RawFd {
        self.raw
    }

    /// Takes the descriptor, for the stream or for being closed.
    pub fn take(&self) -> Option<OwnedFd> {
        self.fd.borrow_mut().take()
    }

    fn result(&self) -> io::Result<()> {
        match self.fd.borrow().as_ref() {
            Some(fd) => sys::take_error(fd.as_fd()),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// Connects `stream` to the first of these addresses that answers. A further one is tried whenever
/// one fails, or the one before has not answered after a while (250 ms, RFC 8305 section 8).
///
/// # Errors
/// The addresses with their errors, in the order in which they failed.
pub async fn race(
    stream: &Stream,
    mailbox: &Mailbox,
    addresses: &[SocketAddr],
) -> Result<(), Vec<(SocketAddr, io::Error)>> {
    let mut untried = addresses.iter();
    let mut running: Vec<(SocketAddr, Rc<Attempt>)> = Vec::new();
    let mut failures = Vec::new();
    stream.0.replace(None);
    let mut another = true;
    loop {
        while another || running.is_empty() {
            let Some(address) = untried.next() else {
                break;
            };
            match begin(mailbox, address, !untried.as_slice().is_empty()) {
                Ok(attempt) => {
                    stream.0.announce(Rc::clone(&attempt));
                    running.push((*address, attempt));
                    another = false;
                }
                Err(error) => failures.push((*address, error)),
            }
        }
        if running.is_empty() {
            return Err(failures);
        }
        next_poll().await;
        if let Some(winner) = take_finished(mailbox, &mut running, &mut failures, &mut another) {
            for (_, attempt) in &running {
                attempt.progress.set(AttemptState::Over);
            }
            stream.0.replace(Some(winner));
            return Ok(());
        }
        let newest = running.last().map(|(_, attempt)| attempt.progress.get());
        another |= newest == Some(AttemptState::Late);
    }
}

fn begin(mailbox: &Mailbox, address: &SocketAddr, has_successors: bool) -> io::Result<Rc<Attempt>> {
    let fd = dial::begin(mailbox, address)?;
    Ok(Rc::new(Attempt {
        raw: fd.as_raw_fd(),
        fd: RefCell::new(Some(fd)),
        has_successors,
        progress: Cell::new(AttemptState::Waiting),
    }))
}

/// Removes the attempts that have an answer. Returns the descriptor of one that has succeeded; for each
/// one that has failed `another` address is to be tried.
fn take_finished(
    mailbox: &Mailbox,
    running: &mut Vec<(SocketAddr, Rc<Attempt>)>,
    failures: &mut Vec<(SocketAddr, io::Error)>,
    another: &mut bool,
) -> Option<OwnedFd> {
    let mut winner = None;
    running.retain(|(address, attempt)| {
        if winner.is_some() || attempt.progress.get() != AttemptState::Ready {
            return true;
        }
        attempt.progress.set(AttemptState::Over);
        match attempt.result() {
            Ok(()) => {
                dial::log_connected(mailbox, address);
                winner = attempt.take();
            }
            Err(error) => {
                let text = error::system_text(&error);
                mailbox.log(format_args!("connect to {address}: {text}"));
                failures.push((*address, error));
                *another = true;
            }
        }
        false
    });
    winner
}

/// Waits until the engine polls the future again.
async fn next_poll() {
    let mut polled = false;
    poll_fn(|_| {
        if std::mem::replace(&mut polled, true) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}
