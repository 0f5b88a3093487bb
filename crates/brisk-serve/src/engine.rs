//! The queue, the batches, and the one thread that computes.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use brisk_data::{Encoded, fewer_samples};
use brisk_eval::{Asker, Said};
use brisk_runtime::Device;
use tokio::sync::oneshot;

use crate::app::late;
use crate::fault::{Answered, Fault, FaultKind};

/// How requests are put together.
///
/// ```
/// let batching = brisk_serve::Batching::default();
/// assert!(batching.delay.is_zero());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Batching {
    /// The most rows of a batch.
    pub rows: usize,
    /// The most tokens of a batch of texts; a longer text is alone.
    pub tokens: usize,
    /// How long a batch waits for more rows while nothing else is to be done. The engine's own work makes batches: what arrives while one is
    /// computed is the next.
    pub delay: Duration,
}

impl Default for Batching {
    fn default() -> Batching {
        Batching { rows: 32, tokens: 2048, delay: Duration::ZERO }
    }
}

/// What a batch was, for those who count.
#[derive(Clone, Copy, Debug, Default)]
pub struct BatchFacts {
    /// Its rows.
    pub rows: usize,
    /// How long its oldest request waited.
    pub waited: Duration,
    /// How long it was computed.
    pub computed: Duration,
}

/// A model that the engine computes.
pub struct Lane {
    asker: Mutex<Asker<Arc<dyn Device>>>,
    on_batch: Box<dyn Fn(&BatchFacts) + Send + Sync>,
}

impl Lane {
    /// `on_batch` hears of each batch.
    pub fn new(
        asker: Asker<Arc<dyn Device>>,
        on_batch: impl Fn(&BatchFacts) + Send + Sync + 'static,
    ) -> Arc<Lane> {
        Arc::new(Lane { asker: Mutex::new(asker), on_batch: Box::new(on_batch) })
    }

    /// What computes it.
    pub fn asker(&self) -> MutexGuard<'_, Asker<Arc<dyn Device>>> {
        self.asker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Rows of one request that are computed together.
struct Job {
    rows: Vec<Encoded>,
    tokens: usize,
    arrived: Instant,
    deadline: Option<Instant>,
    reply: oneshot::Sender<Answered<Vec<Said>>>,
}

#[derive(Default)]
struct Queue {
    /// Models with jobs, in no order.
    lanes: Vec<(Arc<Lane>, VecDeque<Job>)>,
    stop: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    batching: Batching,
    /// The most rows of requests in work, and how many they are.
    room: usize,
    taken: AtomicUsize,
    /// Rows computed, and the nanoseconds that it took.
    done: AtomicU64,
    busy: AtomicU64,
    dropped: AtomicU64,
}

/// Computes what is asked of all models, a batch at a time. When it goes, it ends what it has begun, and refuses the rest.
pub struct Engine {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Starts the thread. `room` is the most rows of requests in work.
    pub fn start(batching: Batching, room: usize) -> std::io::Result<Engine> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            batching,
            room,
            taken: AtomicUsize::new(0),
            done: AtomicU64::new(0),
            busy: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        });
        let own = shared.clone();
        let thread = std::thread::Builder::new().name("engine".into()).spawn(move || own.work())?;
        Ok(Engine { shared, thread: Some(thread) })
    }

    /// Rows that wait, or are being computed.
    pub fn waiting(&self) -> usize {
        self.shared.taken.load(Relaxed)
    }

    /// Requests that were dropped before compute: their clients had gone, or their deadlines passed.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Relaxed)
    }

    /// How long what waits will take, by what has been computed so far.
    pub fn backlog(&self) -> Duration {
        let rows = self.shared.done.load(Relaxed).max(1);
        let each = self.shared.busy.load(Relaxed) / rows;
        Duration::from_nanos(each.saturating_mul(self.waiting() as u64))
    }

    /// What a model says about rows. Rows beyond a batch become several, of which few wait at a time: so those of others come in between.
    pub async fn ask(
        &self,
        lane: &Arc<Lane>,
        rows: Vec<Encoded>,
        deadline: Option<Instant>,
    ) -> Answered<Vec<Said>> {
        let n = rows.len();
        let _taken = self.take(n)?;
        let mut said = Vec::with_capacity(n);
        let mut pieces = pieces(rows, &self.shared.batching).into_iter();
        let mut replies = VecDeque::new();
        loop {
            // The next one is there when the one before is done.
            while replies.len() < 2
                && let Some((rows, tokens)) = pieces.next()
            {
                replies.push_back(self.enqueue(lane, rows, tokens, deadline)?);
            }
            let Some(reply) = replies.pop_front() else { return Ok(said) };
            let reply = match deadline {
                Some(deadline) => {
                    tokio::time::timeout_at(deadline.into(), reply).await.map_err(|_| late())?
                }
                None => reply.await,
            };
            said.append(&mut reply.map_err(|_| stopping())??);
        }
    }

    /// Room for rows, for as long as they are asked about.
    fn take(&self, rows: usize) -> Answered<Taken<'_>> {
        let taken = Taken { of: &self.shared.taken, rows };
        match taken.of.fetch_add(rows, Relaxed) + rows > self.shared.room {
            true => Err(self.overloaded()),
            false => Ok(taken),
        }
    }

    fn enqueue(
        &self,
        lane: &Arc<Lane>,
        rows: Vec<Encoded>,
        tokens: usize,
        deadline: Option<Instant>,
    ) -> Answered<oneshot::Receiver<Answered<Vec<Said>>>> {
        let (reply, receiver) = oneshot::channel();
        let job = Job { rows, tokens, arrived: Instant::now(), deadline, reply };
        let mut queue = self.shared.lock();
        if queue.stop {
            return Err(stopping());
        }
        match queue.lanes.iter_mut().find(|l| Arc::ptr_eq(&l.0, lane)) {
            Some((_, waiting)) => waiting.push_back(job),
            None => queue.lanes.push((lane.clone(), [job].into())),
        }
        drop(queue);
        self.shared.wake.notify_one();
        Ok(receiver)
    }

    /// Too much to do, and when there may be less.
    pub fn overloaded(&self) -> Fault {
        Fault {
            retry_after: Some(self.backlog().max(Duration::from_secs(1))),
            ..Fault::new(FaultKind::Overloaded, "too many requests wait already; ask again later")
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Rows that have room.
struct Taken<'e> {
    of: &'e AtomicUsize,
    rows: usize,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.of.fetch_sub(self.rows, Relaxed);
    }
}

fn stopping() -> Fault {
    Fault::new(FaultKind::Unavailable, "the server is about to stop")
}

/// The rows of a request in pieces that fit a batch, with the tokens of each.
fn pieces(rows: Vec<Encoded>, batching: &Batching) -> Vec<(Vec<Encoded>, usize)> {
    let mut all: Vec<(Vec<Encoded>, usize)> = Vec::new();
    for row in rows {
        let tokens = row.tokens();
        match all.last_mut() {
            Some((piece, sum)) if piece.len() < batching.rows && *sum + tokens <= batching.tokens => {
                piece.push(row);
                *sum += tokens;
            }
            _ => all.push((vec![row], tokens)),
        }
    }
    all
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some((lane, jobs)) = self.next() {
            let started = Instant::now();
            let rows: usize = jobs.iter().map(|j| j.rows.len()).sum();
            let waited = jobs.iter().map(|j| started - j.arrived).max().unwrap_or_default();
            answer(&mut lane.asker(), jobs);
            let computed = started.elapsed();
            self.done.fetch_add(rows as u64, Relaxed);
            self.busy.fetch_add(computed.as_nanos() as u64, Relaxed);
            (lane.on_batch)(&BatchFacts { rows, waited, computed });
        }
    }

    /// The next batch: the jobs of the lane whose first has waited longest, as many as fit. `None` when all is over.
    fn next(&self) -> Option<(Arc<Lane>, Vec<Job>)> {
        let mut queue = self.lock();
        loop {
            if queue.stop {
                queue.lanes.clear();
                return None;
            }
            self.drop_dead(&mut queue);
            let oldest = |(_, jobs): &(Arc<Lane>, VecDeque<Job>)| jobs.front().map(|j| j.arrived);
            let Some(at) = (0..queue.lanes.len()).min_by_key(|&i| oldest(&queue.lanes[i])) else {
                queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let (n, full) = self.fitting(&queue.lanes[at].1);
            let age = queue.lanes[at].1.front().map_or(Duration::MAX, |j| j.arrived.elapsed());
            if !full && queue.lanes.len() == 1 && age < self.batching.delay {
                let rest = self.batching.delay - age;
                queue = self.wake.wait_timeout(queue, rest).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            let jobs: Vec<Job> = queue.lanes[at].1.drain(..n).collect();
            let lane = queue.lanes[at].0.clone();
            if queue.lanes[at].1.is_empty() {
                queue.lanes.swap_remove(at);
            }
            return Some((lane, jobs));
        }
    }

    /// How many jobs from the front fit a batch, and whether one more would not.
    fn fitting(&self, jobs: &VecDeque<Job>) -> (usize, bool) {
        let (mut rows, mut tokens, mut n) = (0, 0, 0);
        for job in jobs {
            if n > 0
                && (rows + job.rows.len() > self.batching.rows || tokens + job.tokens > self.batching.tokens)
            {
                return (n, true);
            }
            rows += job.rows.len();
            tokens += job.tokens;
            n += 1;
        }
        // Batches of few sizes have few programs; one row a job is what they are made of.
        let few = if rows == n && n > 1 { fewer_samples(n) } else { n };
        (few, rows >= self.batching.rows)
    }

    /// Nobody waits for these any more.
    fn drop_dead(&self, queue: &mut Queue) {
        let now = Instant::now();
        for (_, jobs) in &mut queue.lanes {
            jobs.retain_mut(|job| {
                let is_late = job.deadline.is_some_and(|d| d <= now);
                let gone = is_late || job.reply.is_closed();
                if gone {
                    self.dropped.fetch_add(1, Relaxed);
                }
                if is_late {
                    let (unused, _) = oneshot::channel();
                    let _ = std::mem::replace(&mut job.reply, unused).send(Err(late()));
                }
                !gone
            });
        }
        queue.lanes.retain(|l| !l.1.is_empty());
    }
}

/// Computes a batch and replies to its jobs. If that fails, each job is computed alone, so that one cannot spoil the others.
fn answer(asker: &mut Asker<Arc<dyn Device>>, jobs: Vec<Job>) {
    let rows: Vec<&Encoded> = jobs.iter().flat_map(|j| &j.rows).collect();
    match compute(asker, &rows) {
        Ok(said) => {
            let mut said = said.into_iter();
            for job in jobs {
                let own = said.by_ref().take(job.rows.len()).collect();
                let _ = job.reply.send(Ok(own));
            }
        }
        Err(fault) if jobs.len() == 1 => jobs.into_iter().for_each(|job| {
            let _ = job.reply.send(Err(fault.clone()));
        }),
        Err(_) => jobs.into_iter().for_each(|job| answer(asker, vec![job])),
    }
}

fn compute(asker: &mut Asker<Arc<dyn Device>>, rows: &[&Encoded]) -> Answered<Vec<Said>> {
    match catch_unwind(AssertUnwindSafe(|| asker.batch(rows))) {
        Ok(Ok(said)) => Ok(said),
        Ok(Err(error @ brisk_eval::Error::Runtime(brisk_runtime::Error::Data { .. }))) => {
            Err(Fault::bad(error.to_string()))
        }
        Ok(Err(error)) => Err(Fault::internal(error.to_string())),
        Err(_) => Err(Fault::internal("the computation failed; the server's log says more")),
    }
}
