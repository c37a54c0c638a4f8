//! The threads of the process beside those that run loops: the blocking pools of two small tokio
//! runtimes, one for names that are looked up, one for the arithmetic of TLS handshakes.
//!
//! They are the only state of the process. Each is started by whoever needs it first, and stays. A
//! forked child has no threads of its parent's, so it starts a pool of its own and leaves the
//! inherited one untouched.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::sys;

/// The most threads of one pool.
const MAX_THREADS: usize = 16;

/// Name lookups: they wait for servers, and each one takes a thread while it does.
pub static LOOKUPS: BlockingPool = BlockingPool::new("evws-lookup", || MAX_THREADS);

/// Steps of TLS handshakes. They compute: more threads than processors would hold up the loop.
pub static HANDSHAKES: BlockingPool = BlockingPool::new("evws-handshake", || {
    thread::available_parallelism().map_or(1, |count| count.get().min(MAX_THREADS))
});

/// Threads for one kind of job. What they cannot do at once waits in a queue.
pub struct BlockingPool {
    name: &'static str,
    max_threads: fn() -> usize,
    /// With the id of the process that started it.
    started: Mutex<Option<(u32, Runtime)>>,
}

impl BlockingPool {
    /// A pool without threads. Starts none.
    pub const fn new(name: &'static str, max_threads: fn() -> usize) -> Self {
        BlockingPool {
            name,
            max_threads,
            started: Mutex::new(None),
        }
    }

    /// Whom [`spawn`] gives jobs to. Starts the pool if there is none.
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
        // The threads of an inherited one exist in the parent only: waiting for them would never end.
        std::mem::forget(started.replace((process, runtime)));
        Ok(handle)
    }

    /// tokio panics where the system refuses it a thread while it has none, and queues the job where
    /// it has one. So a pool begins with a thread, which never leaves, and the system's words come
    /// from a first one that does nothing.
    fn start(&self) -> io::Result<Runtime> {
        let _ = thread::Builder::new().spawn(|| ())?.join();
        let runtime = Builder::new_current_thread()
            .thread_name(self.name)
            .max_blocking_threads((self.max_threads)())
            .thread_keep_alive(Duration::MAX)
            .build()?;
        // Somebody else may have got that thread meanwhile.
        panic::catch_unwind(AssertUnwindSafe(|| runtime.spawn_blocking(|| ())))
            .map_err(|_| io::Error::other("no thread could be started"))?;
        Ok(runtime)
    }
}

/// Has a job done on a thread of a pool, which takes no signals from Perl. One that panics is dropped.
pub fn spawn(pool: &Handle, job: impl FnOnce() + Send + 'static) {
    sys::with_signals_blocked(|| pool.spawn_blocking(job));
}
