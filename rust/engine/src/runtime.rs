//! The threads of the process beside those that run loops: a small tokio runtime, for the names that
//! are looked up and for the arithmetic of TLS handshakes.
//!
//! It is the only state of the process. It is started by whoever needs it first and stays. A forked
//! child has no threads of its parent's, so it starts a runtime of its own and leaves the inherited
//! one untouched.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender};
use parking_lot::Mutex;
use tokio::runtime::{Handle, Runtime};

use crate::sys;

type Job = Box<dyn FnOnce() + Send>;

struct Shared {
    process: u32,
    runtime: Runtime,
    crew: Arc<Crew>,
}

/// Jobs that compute, in the order in which they are done. The runtime's own thread does them, and
/// others help as long as there are processors: more threads than these would hold up the loop.
struct Crew {
    sender: Sender<Job>,
    receiver: Receiver<Job>,
    helpers: AtomicUsize,
    most: usize,
}

static RUNTIME: Mutex<Option<Shared>> = Mutex::new(None);

fn with<T>(act: impl FnOnce(&Shared) -> T) -> io::Result<T> {
    let mut slot = RUNTIME.lock();
    let process = sys::process_id();
    if let Some(shared) = slot.as_ref() {
        if shared.process == process {
            return Ok(act(shared));
        }
    }
    let started = start(process)?;
    let result = act(&started);
    if let Some(inherited) = slot.replace(started) {
        // Its threads exist in the parent only: waiting for them would never end.
        std::mem::forget(inherited.runtime);
    }
    Ok(result)
}

fn start(process: u32) -> io::Result<Shared> {
    ask_for_a_thread()?;
    let runtime = sys::with_signals_blocked(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(16)
            .thread_name("evws-worker")
            .build()
    })?;
    let (sender, receiver) = crossbeam_channel::unbounded();
    let crew = Arc::new(Crew {
        sender,
        receiver,
        helpers: AtomicUsize::new(0),
        most: thread::available_parallelism().map_or(1, |count| count.get()) - 1,
    });
    Ok(Shared {
        process,
        runtime,
        crew,
    })
}

/// The runtime, which is started if there is none.
///
/// # Errors
/// The system refuses a thread.
pub fn handle() -> io::Result<Handle> {
    with(|shared| shared.runtime.handle().clone())
}

/// The runtime panics where the system refuses it a thread, and says so on STDERR. This gives the system's words.
///
/// # Errors
/// These.
pub fn ask_for_a_thread() -> io::Result<()> {
    let probe = sys::with_signals_blocked(|| thread::Builder::new().spawn(|| ()))?;
    let _ = probe.join();
    Ok(())
}

/// Has a job done on another thread.
///
/// # Errors
/// The runtime could not be started. The job was not done.
pub fn compute(job: impl FnOnce() + Send + 'static) -> io::Result<()> {
    with(|shared| {
        let crew = Arc::clone(&shared.crew);
        // The receiver is beside it.
        let _ = crew.sender.send(Box::new(job));
        shared.runtime.spawn(async move {
            crew.call_for_help();
            // One for each: if no helper comes, this thread does all of them.
            if let Ok(job) = crew.receiver.try_recv() {
                job();
            }
        });
    })
}

impl Crew {
    /// Starts a helper if more than one job waits. The runtime keeps its thread for a while.
    fn call_for_help(self: &Arc<Self>) {
        if self.receiver.len() < 2 || self.helpers.load(Ordering::Relaxed) >= self.most {
            return;
        }
        self.helpers.fetch_add(1, Ordering::Relaxed);
        let helper = Helper(Arc::clone(self));
        // In a task of its own, which panics if the thread has gone to somebody else meanwhile: a panic
        // here would take a job with it, whose connection then waits for nothing.
        tokio::spawn(async move {
            if ask_for_a_thread().is_ok() {
                tokio::task::spawn_blocking(move || helper.work());
            }
        });
    }
}

/// One that does jobs until there are none.
struct Helper(Arc<Crew>);

impl Helper {
    fn work(&self) {
        while let Ok(job) = self.0.receiver.try_recv() {
            job();
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.0.helpers.fetch_sub(1, Ordering::Relaxed);
    }
}
