//! Threads that wait for work with little delay.
//!
//! [`Pool::run`] splits a job into numbered tasks; whoever is free takes the next number. What a task computes must
//! depend on its number alone, never on the thread, so that results are the same at any number of threads.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

/// How many times an idle thread looks for work before it goes to sleep: some tens of microseconds.
const SPINS: u32 = 4_000;

type Job = *const (dyn Fn(usize, usize) + Sync);

struct Shared {
    /// Counts jobs; a change wakes the workers.
    epoch: AtomicUsize,
    job: Mutex<Option<(SendJob, usize)>>,
    wake: Condvar,
    next: AtomicUsize,
    /// Workers that have not finished the current job.
    busy: AtomicUsize,
    panicked: AtomicBool,
    stop: AtomicBool,
}

#[derive(Clone, Copy)]
struct SendJob(Job);
// SAFETY: the job is `Sync`, and `Pool::run` keeps it alive until every worker is done with it.
unsafe impl Send for SendJob {}

/// A fixed set of threads, the caller's included.
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
/// let mut pool = brisk_runtime::Pool::new(2);
/// let sum = AtomicUsize::new(0);
/// pool.run(10, &|task, _thread| {
///     sum.fetch_add(task, Relaxed);
/// });
/// assert_eq!(sum.into_inner(), 45);
/// ```
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl Pool {
    /// So many threads, at least one; one of them is whoever calls [`Pool::run`].
    pub fn new(threads: usize) -> Pool {
        let shared = Arc::new(Shared {
            epoch: AtomicUsize::new(0),
            job: Mutex::new(None),
            wake: Condvar::new(),
            next: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        // A thread that cannot be started is done without: the tasks are the same.
        let start = |thread: usize| {
            let shared = shared.clone();
            std::thread::Builder::new()
                .name(format!("brisk-{thread}"))
                .spawn(move || work(&shared, thread))
                .ok()
        };
        let workers = (1..threads.max(1)).map_while(start).collect();
        Pool { shared, workers }
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `job(task, thread)` for each task below `tasks`, and returns when all are done.
    ///
    /// # Panics
    /// If a task panics.
    pub fn run(&mut self, tasks: usize, job: &(dyn Fn(usize, usize) + Sync)) {
        if tasks <= 1 || self.workers.is_empty() {
            (0..tasks).for_each(|task| job(task, 0));
            return;
        }
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes; nobody uses the job after this function returns, since it waits below
        // until every worker has left it.
        let job: Job = unsafe { std::mem::transmute::<&(dyn Fn(usize, usize) + Sync), Job>(job) };
        {
            let mut slot = shared.job.lock().unwrap_or_else(|e| e.into_inner());
            *slot = Some((SendJob(job), tasks));
            shared.next.store(0, Relaxed);
            shared.busy.store(self.workers.len(), Relaxed);
            shared.epoch.fetch_add(1, Release);
        }
        shared.wake.notify_all();
        // The guard waits for the workers also when a task of this thread panics.
        struct Wait<'a>(&'a Shared);
        impl Drop for Wait<'_> {
            fn drop(&mut self) {
                let mut spins = 0;
                while self.0.busy.load(Acquire) != 0 {
                    spins += 1;
                    if spins < SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
                }
            }
        }
        let wait = Wait(shared);
        take_tasks(shared, job, tasks, 0);
        drop(wait);
        if shared.panicked.swap(false, Relaxed) {
            panic!("a task panicked on another thread");
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Release);
        {
            let _slot = self.shared.job.lock().unwrap_or_else(|e| e.into_inner());
            self.shared.epoch.fetch_add(1, Release);
        }
        self.shared.wake.notify_all();
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

fn take_tasks(shared: &Shared, job: Job, tasks: usize, thread: usize) {
    loop {
        let task = shared.next.fetch_add(1, Relaxed);
        if task >= tasks {
            return;
        }
        // SAFETY: `Pool::run` waits until this worker has left the job.
        unsafe { (*job)(task, thread) };
    }
}

fn work(shared: &Shared, thread: usize) {
    let mut seen = 0;
    loop {
        let mut spins = 0;
        while shared.epoch.load(Acquire) == seen && spins < SPINS {
            spins += 1;
            std::hint::spin_loop();
        }
        let (job, tasks) = {
            let mut slot = shared.job.lock().unwrap_or_else(|e| e.into_inner());
            while shared.epoch.load(Acquire) == seen {
                slot = shared.wake.wait(slot).unwrap_or_else(|e| e.into_inner());
            }
            seen = shared.epoch.load(Acquire);
            if shared.stop.load(Acquire) {
                return;
            }
            match *slot {
                Some(job) => job,
                None => continue,
            }
        };
        let run = std::panic::AssertUnwindSafe(|| take_tasks(shared, job.0, tasks, thread));
        if std::panic::catch_unwind(run).is_err() {
            shared.panicked.store(true, Relaxed);
        }
        shared.busy.fetch_sub(1, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_and_borrowed_data_may_be_used() {
        for threads in [1, 2, 4] {
            let mut pool = Pool::new(threads);
            for tasks in [0, 1, 2, 3, 100] {
                let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                pool.run(tasks, &|task, thread| {
                    assert!(thread < threads);
                    counts[task].fetch_add(1, Relaxed);
                });
                assert!(counts.iter().all(|c| c.load(Relaxed) == 1), "{threads} threads, {tasks} tasks");
            }
        }
    }

    #[test]
    fn a_panic_comes_out_and_the_pool_lives_on() {
        let mut pool = Pool::new(3);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            pool.run(50, &|task, _| assert_ne!(task, 33));
        }));
        assert!(result.is_err());
        let sum = AtomicUsize::new(0);
        pool.run(4, &|task, _| {
            sum.fetch_add(task, Relaxed);
        });
        assert_eq!(sum.into_inner(), 6);
    }
}
