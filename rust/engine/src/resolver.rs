//! The jobs that a context has done off its loop, by the threads of [`crate::runtime`]: names are looked
//! up by the system's resolver, and steps of TLS handshakes are taken.

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

/// The result of a job, and the connection that it is for.
pub struct Answer {
    /// The id that the job was begun with.
    pub id: u64,
    /// What the job has come to.
    pub result: JobResult,
}

/// What a job has come to.
pub enum JobResult {
    /// Addresses in the system's order of preference.
    Addresses(io::Result<Vec<SocketAddr>>),
    /// A handshake after its step.
    Stepped(StepResult),
    /// The job has panicked.
    Lost,
}

/// Sends the results of jobs to their context. A job holds it weakly, since it may outlive the context,
/// and must not write to a descriptor that got the same number afterwards.
struct ResultSender {
    sender: Sender<Answer>,
    writer: File,
}

/// One context's way to the threads and back: results arrive on a channel, and a descriptor becomes
/// readable when there are any.
pub struct Resolver {
    reader: File,
    results: Arc<ResultSender>,
    receiver: Receiver<Answer>,
    /// The jobs whose results a connection waits for.
    waiting: BTreeSet<u64>,
    process: u32,
}

impl Resolver {
    /// Opens the descriptor; starts no thread yet.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = sys::wakeup_pair()?;
        let (sender, receiver) = crossbeam_channel::unbounded();
        Ok(Resolver {
            reader,
            results: Arc::new(ResultSender { sender, writer }),
            receiver,
            waiting: BTreeSet::new(),
            process: sys::process_id(),
        })
    }

    /// The descriptor to watch for reading while [`is_busy`](Self::is_busy).
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }

    /// Whether a connection waits for the result of a job.
    pub fn is_busy(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The connection does not wait for its result any more. The job cannot be stopped, so the result
    /// will still come.
    pub fn forget(&mut self, id: u64) {
        self.waiting.remove(&id);
    }

    /// Begins to look up a name.
    ///
    /// # Errors
    /// The pool has no thread, and the system refuses one.
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
    /// The step, if the pool has no thread and the system refuses one.
    pub fn step(&mut self, id: u64, step: HandshakeStep) -> Result<(), HandshakeStep> {
        let Ok(pool) = runtime::HANDSHAKES.handle() else {
            return Err(step);
        };
        self.spawn(&pool, id, move || JobResult::Stepped(step.take()));
        Ok(())
    }

    /// Has a job done, unless the context is gone by then. Its result always arrives.
    fn spawn(&mut self, pool: &Handle, id: u64, job: impl FnOnce() -> JobResult + Send + 'static) {
        let results = Arc::downgrade(&self.results);
        runtime::spawn(pool, move || {
            if results.strong_count() == 0 {
                return;
            }
            let result = panic::catch_unwind(AssertUnwindSafe(job)).unwrap_or(JobResult::Lost);
            if let Some(results) = results.upgrade() {
                // The receiver goes together with the results.
                let _ = results.sender.send(Answer { id, result });
                sys::wake(&results.writer);
            }
        });
        self.waiting.insert(id);
    }

    /// Whether the resolver was made before this process was forked: then no results come back.
    pub fn is_inherited(&self) -> bool {
        sys::process_id() != self.process
    }

    /// The descriptor of a resolver that is given up; results that are still to come go nowhere.
    pub fn into_fd(self) -> OwnedFd {
        self.reader.into()
    }

    /// Takes the results that have arrived. In a forked child none do: the threads are its parent's, and
    /// so is the wakeup, which must not be taken from the parent.
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

    // Jobs of a dropped context were done for nobody, and those of a new one waited behind them.
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
