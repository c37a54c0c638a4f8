//! What a context has done off its loop, by the threads of [`crate::runtime`]: names looked up by the
//! system's resolver, and steps of TLS handshakes.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use crate::establish::desk::Stepped;
use crate::tls::handshake::Step;
use crate::{runtime, sys};

/// An answer, and whom it is for.
pub struct Answer {
    /// The id that was given with the question.
    pub id: u64,
    /// What was found.
    pub found: Found,
}

/// See above.
pub enum Found {
    /// Addresses in the system's order of preference.
    Addresses(io::Result<Vec<SocketAddr>>),
    /// A handshake after its step.
    Stepped(Stepped),
    /// Nothing: the thread has failed.
    Nothing,
}

/// The way of an answer to its context. It always arrives, unless the context is gone.
struct Reply {
    id: u64,
    found: Found,
    sender: Sender<Answer>,
    /// Held by the job: it may outlive the context, and must not write elsewhere.
    writer: Arc<OwnedFd>,
}

impl Reply {
    fn send(mut self, found: Found) {
        self.found = found;
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        let (id, found) = (self.id, std::mem::replace(&mut self.found, Found::Nothing));
        // A context that is gone wants no answer.
        if self.sender.send(Answer { id, found }).is_ok() {
            sys::wake(self.writer.as_fd());
        }
    }
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
        let runtime = runtime::handle()?;
        runtime::ask_for_a_thread()?;
        let reply = self.reply(id);
        runtime.spawn(async move {
            // In a task of its own, which panics if that thread has gone to somebody else meanwhile.
            let found = tokio::spawn(async move {
                let addresses = tokio::net::lookup_host((host, port)).await?;
                Ok(addresses.collect())
            });
            let result = found
                .await
                .unwrap_or_else(|_| Err(io::Error::other("no thread could be started")));
            reply.send(Found::Addresses(result));
        });
        self.waiting.insert(id);
        Ok(())
    }

    /// Has a step of a handshake taken.
    ///
    /// # Errors
    /// There is no thread for it: the step comes back.
    pub fn step(&mut self, id: u64, step: Step) -> Result<(), Step> {
        if runtime::handle().is_err() {
            return Err(step);
        }
        let reply = self.reply(id);
        // Were it refused after all, this drops the reply, which says so.
        let _ = runtime::compute(move || reply.send(Found::Stepped(step.take())));
        self.waiting.insert(id);
        Ok(())
    }

    /// Whether it was made before this process was forked: then nothing comes back to it.
    pub fn is_inherited(&self) -> bool {
        sys::process_id() != self.process
    }

    /// Takes it apart; what is still to come goes nowhere.
    pub fn into_fd(self) -> OwnedFd {
        self.reader
    }

    fn reply(&self, id: u64) -> Reply {
        Reply {
            id,
            found: Found::Nothing,
            sender: self.sender.clone(),
            writer: Arc::clone(&self.writer),
        }
    }

    /// Takes the answers that have arrived. In a forked child none do: the threads are its parent's,
    /// and so is the wakeup, which must not be taken from it.
    pub fn answers(&mut self) -> Vec<Answer> {
        if self.is_inherited() {
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
