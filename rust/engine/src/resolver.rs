//! What a context has done off its loop, by the threads of [`crate::runtime`]: names looked up by the
//! system's resolver, and steps of TLS handshakes.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use tokio::runtime::Handle;

use crate::tls::handshake::{HandshakeStep, StepResult};
use crate::{runtime, sys};

/// An answer, and whom it is for.
pub struct Answer {
    /// The id that was given with the question.
    pub id: u64,
    /// What came of it.
    pub result: JobResult,
}

/// What came of a job.
pub enum JobResult {
    /// Addresses in the system's order of preference.
    Addresses(io::Result<Vec<SocketAddr>>),
    /// A handshake after its step.
    Stepped(StepResult),
    /// Nothing: the job has panicked.
    Lost,
}

/// Where a context's answers arrive. Jobs hold it weakly: they may outlive the context, and must
/// not write to what has its descriptor's number by then.
struct ResultSender {
    sender: Sender<Answer>,
    writer: File,
}

/// One context's way to those threads and back: answers arrive on a channel, and a descriptor
/// becomes readable when there are some.
pub struct Resolver {
    reader: File,
    mailbox: Arc<ResultSender>,
    receiver: Receiver<Answer>,
    /// The jobs whose answers somebody waits for.
    waiting: BTreeSet<u64>,
    process: u32,
}

impl Resolver {
    /// Opens the descriptor; starts no thread yet.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = sys::wakeup_pair()?;
        let (sender, receiver) = crossbeam_channel::unbounded();
        Ok(Resolver {
            reader,
            mailbox: Arc::new(ResultSender { sender, writer }),
            receiver,
            waiting: BTreeSet::new(),
            process: sys::process_id(),
        })
    }

    /// The descriptor to watch for reading while [`is_busy`](Self::is_busy).
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }

    /// Whether an answer is still to come that somebody waits for.
    pub fn is_busy(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Nobody waits for this answer any more. The system cannot be told: it will still come.
    pub fn forget(&mut self, id: u64) {
        self.waiting.remove(&id);
    }

    /// Begins to look up a name.
    ///
    /// # Errors
    /// There is no thread for it.
    pub fn lookup(&mut self, id: u64, host: String, port: u16) -> io::Result<()> {
        let pool = runtime::LOOKUPS.handle()?;
        self.spawn(&pool, id, move || {
            let found = (host, port).to_socket_addrs();
            JobResult::Addresses(found.map(Iterator::collect))
        });
        Ok(())
    }

    /// Has a step of a handshake taken.
    ///
    /// # Errors
    /// There is no thread for it: the step comes back.
    pub fn step(&mut self, id: u64, step: HandshakeStep) -> Result<(), HandshakeStep> {
        let Ok(pool) = runtime::HANDSHAKES.handle() else {
            return Err(step);
        };
        self.spawn(&pool, id, move || JobResult::Stepped(step.take()));
        Ok(())
    }

    /// Has a job done, unless the context is gone by then. Its answer always arrives.
    fn spawn(&mut self, pool: &Handle, id: u64, job: impl FnOnce() -> JobResult + Send + 'static) {
        let mailbox = Arc::downgrade(&self.mailbox);
        runtime::spawn(pool, move || {
            if mailbox.strong_count() == 0 {
                return;
            }
            let result = panic::catch_unwind(AssertUnwindSafe(job)).unwrap_or(JobResult::Lost);
            if let Some(mailbox) = mailbox.upgrade() {
                // The receiver goes together with the mailbox.
                let _ = mailbox.sender.send(Answer { id, result });
                sys::wake(&mailbox.writer);
            }
        });
        self.waiting.insert(id);
    }

    /// Whether it was made before this process was forked: then nothing comes back to it.
    pub fn is_inherited(&self) -> bool {
        sys::process_id() != self.process
    }

    /// Takes it apart; what is still to come goes nowhere.
    pub fn into_fd(self) -> OwnedFd {
        self.reader.into()
    }

    /// Takes the answers that have arrived. In a forked child none do: the threads are its parent's,
    /// and so is the wakeup, which must not be taken from it.
    pub fn answers(&mut self) -> Vec<Answer> {
        if self.is_inherited() {
            self.waiting.clear();
            return Vec::new();
        }
        sys::drain_wakeup(&self.reader);
        let answers: Vec<_> = self.receiver.try_iter().collect();
        for answer in &answers {
            self.waiting.remove(&answer.id);
        }
        answers
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::runtime::BlockingPool;

    // They were done for nobody, and a loop that had begun anew waited for its turn behind them.
    #[test]
    fn a_context_that_is_gone_has_nothing_done() {
        let threads = BlockingPool::new("test", || 1);
        let pool = threads.handle().unwrap();
        let (release, released) = mpsc::channel::<()>();
        runtime::spawn(&pool, move || assert!(released.recv().is_err()));
        let (done, who) = mpsc::channel();
        let job = |name: &'static str| {
            let done = done.clone();
            move || {
                done.send(name).unwrap();
                JobResult::Lost
            }
        };
        let mut gone = Resolver::new().unwrap();
        gone.spawn(&pool, 1, job("gone"));
        drop(gone);
        let mut there = Resolver::new().unwrap();
        there.spawn(&pool, 2, job("there"));
        drop(release);
        assert_eq!(who.recv(), Ok("there"));
    }
}
