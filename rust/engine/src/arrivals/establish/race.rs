//! Several addresses at once, the first that answers wins (RFC 8305 section 5).
//!
//! Each attempt has a socket of its own, which the engine watches under a token of its own
//! ([`crate::arrivals`]). The two sides meet in [`Attempt`] and nowhere else.

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

/// How far an attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptState {
    /// The answer is awaited.
    Waiting,
    /// It has taken so long that the next address is tried beside it.
    Late,
    /// The answer is there.
    Ready,
    /// The future has no further use for it: it has won, or failed, or another was faster.
    Over,
}

/// A connect(2) that is under way.
pub struct Attempt {
    /// The winner's is empty: it has gone to the stream.
    fd: RefCell<Option<OwnedFd>>,
    raw: RawFd,
    /// Whether there are addresses left to try beside this one.
    pub has_successors: bool,
    /// Written by the engine when something happens, and by the future when it is over.
    pub progress: Cell<AttemptState>,
}

impl Attempt {
    /// Its descriptor, as a number to watch.
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
/// All of them, in the order in which they failed.
pub async fn race(
    stream: &Stream,
    mailbox: &Mailbox,
    addresses: &[SocketAddr],
) -> Result<(), Vec<(SocketAddr, io::Error)>> {
    let mut untried = addresses.iter();
    let mut running: Vec<(SocketAddr, Rc<Attempt>)> = Vec::new();
    let mut failures = Vec::new();
    stream.0.disconnect();
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
            stream.0.accept(winner);
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

/// Looks at the answers that are there. Returns the descriptor of the first good one; sorts out
/// the bad ones, each of which makes room for another.
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

/// Until the engine polls again, which it does when there is something new to see.
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
