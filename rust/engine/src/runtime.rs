//! The threads of the process beside those that run loops: two pools, one for names that are looked up, one for the
//! arithmetic of TLS handshakes.
//!
//! The two pools are the only state of the process. A pool is started by the context that needs it
//! first, and stays. A forked child does not have its parent's threads, so it starts pools of its own and
//! leaves the inherited ones untouched.

use std::collections::VecDeque;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::thread;

use parking_lot::{Condvar, Mutex};

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
    /// The threads, with the id of the process that started them.
    started: Mutex<Option<(u32, Handle)>>,
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

    /// The pool as [`spawn`] takes it. Starts it if this process has not done so, with one thread: while there is one, a
    /// job is done some time, whatever the system says to further ones.
    ///
    /// # Errors
    /// The system refuses its first thread.
    pub fn handle(&self) -> io::Result<Handle> {
        let mut started = self.started.lock();
        let process = sys::process_id();
        if let Some((owner, handle)) = &*started {
            if *owner == process {
                return Ok(handle.clone());
            }
        }
        let handle = Handle(Arc::new(Threads {
            name: self.name,
            max: (self.max_threads)(),
            jobs: Mutex::default(),
            has_job: Condvar::new(),
        }));
        handle.start_thread(&mut handle.0.jobs.lock())?;
        // The threads of an inherited pool exist in the parent only, and one may have held the lock.
        std::mem::forget(started.replace((process, handle.clone())));
        Ok(handle)
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// A pool that has been started.
#[derive(Clone)]
pub struct Handle(Arc<Threads>);

/// The threads of a pool, and what they share.
struct Threads {
    name: &'static str,
    max: usize,
    jobs: Mutex<Jobs>,
    has_job: Condvar,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    threads: usize,
    /// How many of the threads wait for a job.
    idle: usize,
}

impl Handle {
    /// Starts one more thread, which takes no signals from Perl.
    fn start_thread(&self, jobs: &mut Jobs) -> io::Result<()> {
        let pool = self.clone();
        let thread = thread::Builder::new().name(self.0.name.to_owned());
        sys::with_signals_blocked(|| thread.spawn(move || pool.work()))?;
        jobs.threads += 1;
        Ok(())
    }

    /// What a thread does, for ever.
    fn work(&self) {
        loop {
            let job = self.next_job();
            let _ = panic::catch_unwind(AssertUnwindSafe(job));
        }
    }

    fn next_job(&self) -> Job {
        let mut jobs = self.0.jobs.lock();
        loop {
            if let Some(job) = jobs.waiting.pop_front() {
                return job;
            }
            jobs.idle += 1;
            self.0.has_job.wait(&mut jobs);
            jobs.idle -= 1;
        }
    }
}

/// Has a job done on a thread of a pool. A panic ends the job only.
pub fn spawn(pool: &Handle, job: impl FnOnce() + Send + 'static) {
    let mut jobs = pool.0.jobs.lock();
    jobs.waiting.push_back(Box::new(job));
    if jobs.waiting.len() > jobs.idle && jobs.threads < pool.0.max {
        // If the system refuses it, the job waits for one of those that there are.
        let _ = pool.start_thread(&mut jobs);
    }
    pool.0.has_job.notify_one();
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn as_many_jobs_as_threads_are_done_at_once_and_others_wait() {
        static POOL: BlockingPool = BlockingPool::new("test", || 3);
        let pool = POOL.handle().unwrap();
        let (started, starts) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let released = Arc::new(Mutex::new(released));
        for number in 0..5 {
            let (started, released) = (started.clone(), Arc::clone(&released));
            spawn(&pool, move || {
                started.send(number).unwrap();
                let _ = released.lock().recv();
            });
        }
        let mut first: Vec<i32> = starts.iter().take(3).collect();
        first.sort_unstable();
        assert_eq!(first, [0, 1, 2]);
        let early = starts.recv_timeout(Duration::from_millis(20));
        assert!(early.is_err());
        drop(release);
        let mut rest: Vec<i32> = starts.iter().take(2).collect();
        rest.sort_unstable();
        assert_eq!(rest, [3, 4]);
        // One more thread is not started for one that is idle.
        while pool.0.jobs.lock().idle < 3 {
            thread::yield_now();
        }
        spawn(&pool, move || started.send(5).unwrap());
        assert_eq!(starts.recv(), Ok(5));
        assert_eq!(pool.0.jobs.lock().threads, 3);
    }

    #[test]
    fn a_panic_ends_its_job_only() {
        static POOL: BlockingPool = BlockingPool::new("test", || 1);
        let pool = POOL.handle().unwrap();
        spawn(&pool, || panic::resume_unwind(Box::new(())));
        let (done, is_done) = mpsc::channel();
        spawn(&pool, move || done.send(()).unwrap());
        assert_eq!(is_done.recv(), Ok(()));
    }
}
