//! What all protocols share: who is allowed, what fits, who answers, what is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use brisk_data::{Encoded, Notes, Value};
use brisk_eval::Said;
use brisk_runtime::{Cpu, Device};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tracing::Instrument;

use crate::catalog::{Catalog, Picked};
use crate::engine::Engine;
use crate::fault::{Answered, Fault, FaultKind};
use crate::keys::{Keys, Scope};
use crate::metrics::{Metrics, Shadow};
use crate::model::{Field, InferRequest, InferResponse, Row, Served, encode};
use crate::options::Options;
use crate::repository::Source;
use crate::trace;

/// A server's insides.
pub struct App {
    /// How it is set up.
    pub options: Options,
    /// What is served.
    pub catalog: Catalog,
    /// Where versions come from.
    pub source: Source,
    /// What computes.
    pub engine: Engine,
    /// The device of all models.
    pub device: Arc<dyn Device>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Since when it runs.
    pub started: Instant,
    keys: Option<Keys>,
    /// Requests that may still come in.
    places: Arc<Semaphore>,
    /// Kibibytes that they may still bring.
    memory: Arc<Semaphore>,
    /// Requests that may still wait for a place.
    doors: Semaphore,
    /// Comparisons that may still run beside the answers.
    shadows: Arc<Semaphore>,
    /// Large requests that may be read at once.
    readers: Semaphore,
    loaded: AtomicBool,
    came_up: Notify,
    /// Memory is about to be given back.
    pub(crate) giving_back: AtomicBool,
    stopping: AtomicBool,
}

/// Comparisons that may run at once.
const SHADOWS: usize = 64;

/// How long a request waits for a place before it is refused. Nothing of its body is read meanwhile. A client that asks again as soon as
/// it is refused cannot keep the processor busy with refusals then.
const PATIENCE: Duration = Duration::from_millis(100);

/// What a model was asked, and what it said.
pub struct Asked {
    /// The rows as samples.
    pub samples: Vec<Encoded>,
    /// The numbers for each.
    pub said: Vec<Said>,
}

/// A request's place in the house, until its answer is on the way.
pub struct Place {
    _place: OwnedSemaphorePermit,
    memory: OwnedSemaphorePermit,
}

/// Bytes that are read on the thread that they came on; more than that would keep others waiting.
pub const LARGE: usize = 64 << 10;

impl App {
    /// A server without models.
    pub fn new(options: Options, source: Source) -> std::io::Result<App> {
        let cpu = match options.threads {
            0 => Cpu::all_threads(),
            n => Cpu::new(n),
        };
        let device = Arc::new(cpu.with_precision(options.precision));
        let room = options.max_rows.max(options.queue).saturating_mul(2);
        Ok(App {
            catalog: Catalog::default(),
            source,
            engine: Engine::start(options.batching.clone(), room)?,
            device,
            metrics: Arc::default(),
            started: Instant::now(),
            keys: options.keys.as_deref().map(Keys::open).transpose()?,
            places: Arc::new(Semaphore::new(options.queue.clamp(1, Semaphore::MAX_PERMITS))),
            memory: Arc::new(Semaphore::new((options.max_memory >> 10).clamp(1, u32::MAX as usize))),
            doors: Semaphore::new(options.max_connections.clamp(1, Semaphore::MAX_PERMITS)),
            shadows: Arc::new(Semaphore::new(SHADOWS)),
            readers: Semaphore::new(std::thread::available_parallelism().map_or(1, |n| n.get())),
            loaded: AtomicBool::new(false),
            came_up: Notify::new(),
            giving_back: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            options,
        })
    }

    /// Whether a key may do something. Without a file of keys all may ask, and nobody may change anything.
    pub fn allow(&self, key: Option<&str>, scope: Scope) -> Answered<()> {
        match (&self.keys, scope) {
            (None, Scope::Infer) => Ok(()),
            (None, Scope::Admin) => Err(Fault::new(
                FaultKind::Unauthorized,
                "changes need a key, and this server has none: start it with --api-key-file",
            )),
            (Some(keys), _) => keys.check(key, scope).map(|_| ()),
        }
    }

    /// What a key is for.
    pub fn scopes(&self, key: Option<&str>) -> Vec<Scope> {
        [Scope::Infer, Scope::Admin].into_iter().filter(|&scope| self.allow(key, scope).is_ok()).collect()
    }

    /// Whether keys are asked for.
    pub fn has_keys(&self) -> bool {
        self.keys.is_some()
    }

    /// A place for a request of so many bytes, or the word to come again later.
    pub async fn admit(&self, bytes: usize) -> Answered<Place> {
        let _door = self.doors.try_acquire().map_err(|_| self.engine.overloaded())?;
        let place = async {
            let memory = self.memory.clone().acquire_many_owned(self.kibibytes(bytes)).await.ok()?;
            Some(Place { _place: self.places.clone().acquire_owned().await.ok()?, memory })
        };
        let place = tokio::time::timeout(PATIENCE, place).await.ok().flatten();
        place.ok_or_else(|| self.engine.overloaded())
    }

    /// Room for more bytes of a request that has a place.
    pub async fn grow(&self, place: &mut Place, bytes: usize) -> Answered<()> {
        let left = self.kibibytes(usize::MAX).saturating_sub(place.memory.num_permits() as u32);
        let more = self.kibibytes(bytes).min(left);
        let more = self.memory.clone().acquire_many_owned(more);
        match tokio::time::timeout(PATIENCE, more).await {
            Ok(Ok(more)) => {
                place.memory.merge(more);
                Ok(())
            }
            _ => Err(self.engine.overloaded()),
        }
    }

    /// What is taken of the memory for so many bytes, but never more than there is.
    fn kibibytes(&self, bytes: usize) -> u32 {
        bytes.div_ceil(1024).clamp(1, (self.options.max_memory >> 10).max(1)) as u32
    }

    /// Requests that are in work.
    pub fn in_work(&self) -> usize {
        self.options.queue.saturating_sub(self.places.available_permits())
    }

    /// By when a request that came now must be answered: within what its client grants, but not later than the server's own limit.
    pub fn deadline(&self, granted: Option<Duration>) -> Instant {
        Instant::now() + granted.map_or(self.options.timeout, |d| d.min(self.options.timeout))
    }

    /// Asks a model about rows, and counts.
    pub async fn ask(self: &Arc<App>, picked: &Picked, rows: &[Row], deadline: Instant) -> Answered<Asked> {
        let started = Instant::now();
        let asked = self.ask_one(&picked.served, rows, deadline).await;
        self.count(picked, started, asked.as_ref().map(|a| a.said.len()));
        if let (Ok(asked), Some(shadow)) = (&asked, &picked.shadow) {
            self.compare(&picked.served, shadow, rows, &asked.said, deadline);
        }
        asked
    }

    /// Answers tensors with tensors.
    pub async fn infer(
        self: &Arc<App>,
        picked: &Picked,
        request: InferRequest,
        deadline: Instant,
    ) -> Answered<InferResponse> {
        let served = &picked.served;
        let requested = served.requested(request.outputs, request.binary)?;
        let rows = served.rows_of(request.inputs, self.options.max_rows)?;
        let asked = self.ask(picked, &rows, deadline).await?;
        Ok(served.respond(request.id, requested, &rows, &asked))
    }

    /// Vectors of texts. Also the number of tokens. A canary that only compares is not asked.
    pub async fn embed(
        self: &Arc<App>,
        picked: &Picked,
        texts: Vec<String>,
        deadline: Instant,
    ) -> Answered<(Vec<Vec<f32>>, usize)> {
        let Some(embedder) = &picked.served.embedder else {
            let name = &picked.served.name;
            return Err(Fault::bad(format!("model `{name}` has no encoder of texts that gives vectors")));
        };
        let started = Instant::now();
        let feature = embedder.ready.features.inputs.values().next();
        let sample = |text: String| {
            let mut notes = Notes::default();
            let feature = feature.ok_or_else(|| Fault::internal("an encoder without a text"))?;
            let value = feature.encode(&[&Value::Text(text)], &mut notes).map_err(|e| Fault::bad(e.1))?;
            Ok(Encoded { inputs: vec![value], targets: Vec::new(), notes })
        };
        let bytes = texts.iter().map(String::len).sum();
        let samples = self.read(texts.into_iter(), bytes, deadline, sample).await?;
        let tokens = samples.iter().map(Encoded::tokens).sum();
        let span = trace::model(&picked.served.name, picked.served.version, samples.len());
        let said = self.engine.ask(&embedder.lane, samples, Some(deadline)).instrument(span).await;
        self.count(picked, started, said.as_ref().map(Vec::len));
        Ok((said?.into_iter().filter_map(|s| s.into_iter().next()).collect(), tokens))
    }

    async fn ask_one(&self, served: &Arc<Served>, rows: &[Row], deadline: Instant) -> Answered<Asked> {
        let bytes = rows.iter().flat_map(|row| row.values()).map(weight).sum();
        let samples = self.read(rows.iter(), bytes, deadline, |row| encode(&served.ready, row)).await?;
        let kept = if served.answers_need_samples() { samples.clone() } else { Vec::new() };
        let span = trace::model(&served.name, served.version, rows.len());
        let said = self.engine.ask(&served.lane, samples, Some(deadline)).instrument(span).await?;
        Ok(Asked { samples: kept, said })
    }

    /// Reads a request. Large ones wait for their turn, so that few at once take memory and processor, and others are answered meanwhile.
    async fn read<I, T>(
        &self,
        rows: impl ExactSizeIterator<Item = I>,
        bytes: usize,
        deadline: Instant,
        one: impl Fn(I) -> Answered<T>,
    ) -> Answered<Vec<T>> {
        let large = rows.len() > 8 || bytes > LARGE;
        let in_time = || if deadline > Instant::now() { Ok(()) } else { Err(late()) };
        let work = || rows.map(|row| in_time().and_then(|()| one(row))).collect();
        if !large {
            return work();
        }
        let _turn =
            tokio::time::timeout_at(deadline.into(), self.readers.acquire()).await.map_err(|_| late())?;
        aside(work)
    }

    fn count(&self, picked: &Picked, started: Instant, rows: Result<usize, &Fault>) {
        let (took, of) = (started.elapsed(), &picked.served.counted.of);
        picked.live.add(took, rows.is_ok());
        match rows {
            Ok(rows) => {
                self.metrics.rows.get_or_create(of).inc_by(rows as u64);
                self.metrics.latency.get_or_create(of).observe(took.as_secs_f64());
            }
            Err(_) => {
                self.metrics.faults.get_or_create(of).inc();
            }
        }
    }

    /// Asks another version the same, after the answer was given, and counts how the two compare. Left out when there is too much to do.
    fn compare(
        self: &Arc<App>,
        served: &Arc<Served>,
        shadow: &Arc<Served>,
        rows: &[Row],
        said: &[Said],
        deadline: Instant,
    ) {
        let busy = self.engine.waiting() + rows.len() > self.options.queue / 2;
        let Some(turn) = self.shadows.clone().try_acquire_owned().ok().filter(|_| !busy) else { return };
        let of = served.counted.of.clone();
        let (app, shadow, rows, said) = (self.clone(), shadow.clone(), rows.to_vec(), said.to_vec());
        tokio::spawn(async move {
            if let Ok(other) = app.ask_one(&shadow, &rows, deadline).await {
                for (a, b) in said.iter().zip(&other.said) {
                    let of = of.clone();
                    let answer = alike(a, b);
                    let key = Shadow { model: of.model, version: of.version, shadow: shadow.version, answer };
                    app.metrics.shadows.get_or_create(&key).inc();
                }
            }
            drop(turn);
        });
    }

    /// From now on it is not ready any more.
    pub fn stop(&self) {
        self.stopping.store(true, Relaxed);
    }

    /// The first look at what is to be served is over.
    pub fn started_up(&self) {
        self.loaded.store(true, Relaxed);
        self.came_up.notify_one();
    }

    /// Until the first look is over.
    pub async fn up(&self) {
        self.came_up.notified().await;
    }

    /// Whether requests are taken: what is to be served has been loaded once, and the server is not about to stop.
    pub fn is_ready(&self) -> bool {
        self.loaded.load(Relaxed) && !self.stopping.load(Relaxed)
    }

    /// Whether it is about to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    /// The text of the metrics, brought up to date.
    pub fn metrics_text(&self) -> String {
        self.metrics.waiting.set(self.engine.waiting() as i64);
        self.metrics.dropped.inner().fetch_max(self.engine.dropped(), Relaxed);
        let loaded: usize = self.catalog.table().values().map(|e| e.versions.len()).sum();
        self.metrics.loaded.set(loaded as i64);
        self.metrics.text()
    }
}

/// How two answers compare: the same numbers, others with the same greatest one in each output, or others.
fn alike(a: &Said, b: &Said) -> &'static str {
    let best = |row: &Vec<f32>| row.iter().enumerate().max_by(|x, y| x.1.total_cmp(y.1)).map(|x| x.0);
    let near = |(x, y): (&f32, &f32)| (x - y).abs() <= 1e-5 * (1.0 + x.abs());
    let same = |(x, y): (&Vec<f32>, &Vec<f32>)| x.len() == y.len() && x.iter().zip(y).all(near);
    let close = |(x, y): (&Vec<f32>, &Vec<f32>)| x.len() == y.len() && x.len() > 1 && best(x) == best(y);
    match a.len() == b.len() {
        true if a.iter().zip(b).all(same) => "same",
        true if a.iter().zip(b).all(close) => "close",
        _ => "other",
    }
}

/// Does what takes long while other requests of the thread go on.
pub fn aside<T>(work: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor::MultiThread};
    match Handle::try_current().is_ok_and(|h| h.runtime_flavor() == MultiThread) {
        true => tokio::task::block_in_place(work),
        false => work(),
    }
}

/// Ends what was begun, also if its client goes away.
pub async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Answered<T>> + Send + 'static,
) -> Answered<T> {
    let done = tokio::spawn(work).await;
    done.unwrap_or_else(|_| Err(Fault::internal("something broke; the server's log says more")))
}

/// The client has waited as long as it would.
pub fn late() -> Fault {
    Fault::new(FaultKind::Deadline, "the request's deadline has passed")
}

/// About how many bytes are to be read. Few bytes of a picture may be many pixels.
fn weight(field: &Field) -> usize {
    match field {
        Field::Value(Value::Text(text)) => text.len(),
        Field::Value(Value::List(items)) => items.len() * 16,
        Field::Value(_) => 8,
        Field::Pixels(pixels) => pixels.len() / 8,
        Field::Picture(_) => LARGE + 1,
        Field::Numbers(numbers) => numbers.len(),
    }
}

/// Rows of plain texts for a model with one column.
pub fn text_row(served: &Served, text: String) -> Answered<Row> {
    match &served.signature.inputs[..] {
        [only] => Ok([(only.name.clone(), Field::Value(Value::Text(text)))].into()),
        several => {
            let names: Vec<_> = several.iter().map(|p| p.name.as_str()).collect();
            Err(Fault::bad(format!("expected JSON with the keys {}, found a text", names.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_compared() {
        let of = |v: &[f32]| vec![v.to_vec()];
        assert_eq!(alike(&of(&[0.2, 0.8]), &of(&[0.2, 0.8])), "same");
        assert_eq!(alike(&of(&[0.2, 0.8]), &of(&[0.3, 0.7])), "close");
        assert_eq!(alike(&of(&[0.2, 0.8]), &of(&[0.7, 0.3])), "other");
        assert_eq!(alike(&of(&[1.0]), &of(&[2.0])), "other");
    }
}
