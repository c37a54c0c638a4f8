//! Names to addresses, off the loop: the system's resolver runs on a small tokio runtime.
//!
//! The runtime is the only state of the process. It is started by the first name and stays. A
//! forked child has no threads of its parent's, so it starts a runtime of its own and leaves the
//! inherited one untouched.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender};
use parking_lot::Mutex;
use tokio::runtime::{Handle, Runtime};

use crate::sys;

struct Shared {
    process: u32,
    runtime: Runtime,
}

static RUNTIME: Mutex<Option<Shared>> = Mutex::new(None);

fn runtime() -> io::Result<Handle> {
    let mut slot = RUNTIME.lock();
    let process = sys::process_id();
    if let Some(shared) = slot.as_ref() {
        if shared.process == process {
            return Ok(shared.runtime.handle().clone());
        }
    }
    ask_for_a_thread()?;
    let runtime = sys::with_signals_blocked(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(16)
            .thread_name("evws-resolver")
            .build()
    })?;
    let handle = runtime.handle().clone();
    if let Some(inherited) = slot.replace(Shared { process, runtime }) {
        // Its threads exist in the parent only: waiting for them would never end.
        std::mem::forget(inherited.runtime);
    }
    Ok(handle)
}

/// The runtime panics where the system refuses it a thread, and says so on STDERR. This gives the system's words.
fn ask_for_a_thread() -> io::Result<()> {
    let probe = sys::with_signals_blocked(|| thread::Builder::new().spawn(|| ()))?;
    let _ = probe.join();
    Ok(())
}

/// An answer: which lookup it belongs to, and what was found.
pub struct Answer {
    /// The id that was given to [`Resolver::lookup`].
    pub id: u64,
    /// The addresses in the system's order of preference.
    pub result: io::Result<Vec<SocketAddr>>,
}

/// One context's way to the runtime and back: answers arrive on a channel, and a descriptor
/// becomes readable when there are some.
pub struct Resolver {
    reader: OwnedFd,
    writer: Arc<OwnedFd>,
    sender: Sender<Answer>,
    receiver: Receiver<Answer>,
    /// The lookups whose answers somebody waits for.
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
            writer: Arc::new(writer),
            sender,
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
    /// The runtime could not be started, or has no thread for this name.
    pub fn lookup(&mut self, id: u64, host: String, port: u16) -> io::Result<()> {
        let sender = self.sender.clone();
        // The job holds the descriptor: it may outlive the context, and must not write elsewhere.
        let writer = Arc::clone(&self.writer);
        let runtime = runtime()?;
        ask_for_a_thread()?;
        runtime.spawn(async move {
            // In a task of its own, which panics if that thread has gone to somebody else meanwhile.
            let found = tokio::spawn(async move {
                let addresses = tokio::net::lookup_host((host, port)).await?;
                Ok(addresses.collect())
            });
            let result = found
                .await
                .unwrap_or_else(|_| Err(io::Error::other("no thread could be started")));
            // A context that is gone wants no answer.
            if sender.send(Answer { id, result }).is_ok() {
                sys::wake(writer.as_fd());
            }
        });
        self.waiting.insert(id);
        Ok(())
    }

    /// Takes the answers that have arrived. In a forked child none do: the threads are its parent's,
    /// and so is the wakeup, which must not be taken from it.
    pub fn answers(&mut self) -> Vec<Answer> {
        if sys::process_id() != self.process {
            self.waiting.clear();
            return Vec::new();
        }
        sys::drain_wakeup(self.reader.as_fd());
        let answers: Vec<_> = self.receiver.try_iter().collect();
        for answer in &answers {
            self.waiting.remove(&answer.id);
        }
        answers
    }
}
