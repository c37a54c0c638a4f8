//! The threads of the process beside those that run loops: the blocking pools of two small tokio
//! runtimes, one for names that are looked up, one for the arithmetic of TLS handshakes.
//!
//! The two pools are the only state of the process. A pool is started by the context that needs it
//! first, and stays. A forked child does not have its parent's threads, so it starts pools of its own and
//! leaves the inherited ones untouched.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::sys;

/// The most threads of one pool.
const MAX_THREADS: usize = 16;

/// Threads for name lookups: a lookup waits for servers, and takes a thread while it does.
pub static LOOKUPS: BlockingPool = BlockingPool::new("evws-lookup", || MAX_THREADS);

/// Threads for steps of TLS handshakes, which compute: more threads than processors would hold up the
/// loop.
pub static HANDSHAKES: BlockingPool = BlockingPool::new("evws-handshake", || {
    thread::available_parallelism().map_or(1, |count| count.get().min(MAX_THREADS))
});

/// Threads for one kind of job. A job that finds no thread free waits in a queue.
pub struct BlockingPool {
    name: &'static str,
    max_threads: fn() -> usize,
    /// The runtime, with the id of the process that started it.
    started: Mutex<Option<(u32, Runtime)>>,
}

impl BlockingPool {
    /// A pool that is not started yet.
    pub const fn new(name: &'static str, max_threads: fn() -> usize) -> Self {
        BlockingPool {
            name,
            max_threads,
            started: Mutex::new(None),
        }
    }

    /// The pool as [`spawn`] takes it. Starts it if this process has not done so.
    ///
    /// # Errors
    /// The system refuses its first thread.
    pub fn handle(&self) -> io::Result<Handle> {
        let mut started = self.started.lock();
        let process = sys::process_id();
        if let Some((owner, runtime)) = &*started {
            if *owner == process {
                return Ok(runtime.handle().clone());
            }
        }
        let runtime = sys::with_signals_blocked(|| self.start())?;
        let handle = runtime.handle().clone();
        // The threads of an inherited runtime exist in the parent only. Dropping it would wait for them.
        std::mem::forget(started.replace((process, runtime)));
        Ok(handle)
    }

    /// tokio panics if the system refuses it a thread while it has none, and queues the job if it has
    /// one. So a pool begins with a thread that never ends; and since a panic does not carry the system's
    /// error, a thread that does nothing is tried before.
    fn start(&self) -> io::Result<Runtime> {
        let _ = thread::Builder::new().spawn(|| ())?.join();
        let runtime = Builder::new_current_thread()
            .thread_name(self.name)
            .max_blocking_threads((self.max_threads)())
            .thread_keep_alive(Duration::MAX)
            .build()?;
        // Another process may have taken the system's last thread since then.
        without_words(|| panic::catch_unwind(AssertUnwindSafe(|| runtime.spawn_blocking(|| ()))))
            .map_err(|_| io::Error::other("no thread could be started"))?;
        Ok(runtime)
    }
}

/// Works without the words that a panic has for STDERR, which is the program's. The hook that says them is that of this
/// library's threads alone: it has its own copy of Rust's standard library.
fn without_words<T>(work: impl FnOnce() -> T) -> T {
    let says = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let result = work();
    panic::set_hook(says);
    result
}

/// Has a job done on a thread of a pool, which takes no signals from Perl. A panic ends the job only.
pub fn spawn(pool: &Handle, job: impl FnOnce() + Send + 'static) {
    sys::with_signals_blocked(|| pool.spawn_blocking(job));
}
