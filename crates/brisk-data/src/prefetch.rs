//! Work done ahead on threads of its own, its results in order.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use crate::{Error, Result};

/// What makes the result of a step.
type Make<T> = Arc<dyn Fn(usize) -> Result<T> + Send + Sync>;

/// The results of steps, in order. Dropping it stops its threads.
pub(crate) struct Prefetch<T> {
    make: Make<T>,
    step: usize,
    steps: usize,
    /// Worker `w` of `W` makes the steps whose number leaves the remainder `w`, so that the order is kept
    /// and its bounded queue is all the synchronization there is.
    queues: Vec<Receiver<Result<T>>>,
    threads: Vec<JoinHandle<()>>,
}

impl<T: Send + 'static> Prefetch<T> {
    /// Steps from `step` to `steps`, made by `workers` threads, each up to `ahead` steps before they are wanted; 0 workers: in the
    /// caller's thread.
    pub fn new(
        make: impl Fn(usize) -> Result<T> + Send + Sync + 'static,
        step: usize,
        steps: usize,
        workers: usize,
        ahead: usize,
    ) -> Prefetch<T> {
        let workers = workers.min(steps.saturating_sub(step));
        let mut prefetch =
            Prefetch { make: Arc::new(make), step, steps, queues: Vec::new(), threads: Vec::new() };
        for w in 0..workers {
            let (send, receive) = sync_channel(ahead.max(1));
            let make = prefetch.make.clone();
            // The first step from `step` on that is this worker's.
            let first = step + (w + workers - step % workers) % workers;
            let work = move || {
                for s in (first..steps).step_by(workers) {
                    if send.send(make(s)).is_err() {
                        return; // nobody wants more
                    }
                }
            };
            match std::thread::Builder::new().name(format!("brisk-data-{w}")).spawn(work) {
                Ok(thread) => {
                    prefetch.queues.push(receive);
                    prefetch.threads.push(thread);
                }
                Err(_) => {
                    // No threads to be had: work in the caller's thread instead.
                    prefetch.stop();
                    return prefetch;
                }
            }
        }
        prefetch
    }
}

impl<T> Prefetch<T> {
    fn stop(&mut self) {
        self.queues.clear();
        for thread in self.threads.drain(..) {
            // A panic of a worker has been reported by the missing result.
            let _ = thread.join();
        }
    }
}

impl<T> Iterator for Prefetch<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        let step = self.step;
        if step >= self.steps {
            return None;
        }
        self.step += 1;
        Some(match self.queues.len() {
            0 => (self.make)(step),
            workers => self.queues[step % workers].recv().unwrap_or(Err(Error::Worker { batch: step })),
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.steps.saturating_sub(self.step);
        (left, Some(left))
    }
}

impl<T> Drop for Prefetch<T> {
    fn drop(&mut self) {
        self.stop();
    }
}
