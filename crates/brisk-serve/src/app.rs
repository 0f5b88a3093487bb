//! What all protocols share: who is allowed, what fits, who answers, what is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use brisk_data::{Encoded, Notes, Value};
use brisk_eval::Said;
use brisk_runtime::{Cpu, Device};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::Instrument;

use crate::catalog::{Catalog, Picked};
use crate::engine::Engine;
use crate::fault::{Answered, Fault, FaultKind};
use crate::keys::{Keys, Scope};
use crate::metrics::{Metrics, Of, Shadow};
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
    /// Comparisons that run beside the answers.
    shadows: AtomicUsize,
    loaded: AtomicBool,
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

/// A request's place in the house, until it is answered.
pub struct Place {
    _place: OwnedSemaphorePermit,
    _memory: OwnedSemaphorePermit,
}

impl App {
    /// A server without models.
    pub fn new(options: Options, source: Source) -> std::io::Result<App> {
        let device: Arc<dyn Device> = match options.threads {
            0 => Arc::new(Cpu::all_threads()),
            n => Arc::new(Cpu::new(n)),
        };
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
            shadows: AtomicUsize::new(0),
            loaded: AtomicBool::new(false),
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
        let kib = bytes.div_ceil(1024).min(self.options.max_memory >> 10).max(1) as u32;
        let _door = self.doors.try_acquire().map_err(|_| self.engine.overloaded())?;
        let place = async {
            let _place = self.places.clone().acquire_owned().await.ok()?;
            Some(Place { _place, _memory: self.memory.clone().acquire_many_owned(kib).await.ok()? })
        };
        let place = tokio::time::timeout(PATIENCE, place).await.ok().flatten();
        place.ok_or_else(|| self.engine.overloaded())
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
        let of = Of { model: picked.served.name.clone(), version: picked.served.version };
        self.count(picked, &of, started, asked.as_ref().map(|a| a.said.len()));
        if let (Ok(asked), Some(shadow)) = (&asked, &picked.shadow) {
            self.compare(shadow, of, rows, &asked.said, deadline);
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

    /// Vectors of texts. Also the number of tokens.
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
        let samples = heavy(texts.len(), || texts.into_iter().map(sample).collect::<Answered<Vec<_>>>())?;
        let tokens = samples.iter().map(Encoded::tokens).sum();
        let span = trace::model(&picked.served.name, picked.served.version, samples.len());
        let said = self.engine.ask(&embedder.lane, samples, Some(deadline)).instrument(span).await;
        let of = Of { model: picked.served.name.clone(), version: picked.served.version };
        self.count(picked, &of, started, said.as_ref().map(Vec::len));
        Ok((said?.into_iter().filter_map(|s| s.into_iter().next()).collect(), tokens))
    }

    async fn ask_one(&self, served: &Arc<Served>, rows: &[Row], deadline: Instant) -> Answered<Asked> {
        let encode = || rows.iter().map(|row| encode(&served.ready, row)).collect::<Answered<Vec<_>>>();
        let samples = heavy(rows.len(), encode)?;
        let kept = if served.answers_need_samples() { samples.clone() } else { Vec::new() };
        let span = trace::model(&served.name, served.version, rows.len());
        let said = self.engine.ask(&served.lane, samples, Some(deadline)).instrument(span).await?;
        Ok(Asked { samples: kept, said })
    }

    fn count(&self, picked: &Picked, of: &Of, started: Instant, rows: Result<usize, &Fault>) {
        let took = started.elapsed();
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
        shadow: &Arc<Served>,
        of: Of,
        rows: &[Row],
        said: &[Said],
        deadline: Instant,
    ) {
        if self.shadows.fetch_add(1, Relaxed) >= SHADOWS {
            self.shadows.fetch_sub(1, Relaxed);
            return;
        }
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
            app.shadows.fetch_sub(1, Relaxed);
        });
    }

    /// From now on it is not ready any more.
    pub fn stop(&self) {
        self.stopping.store(true, Relaxed);
    }

    /// The first look at what is to be served is over.
    pub fn started_up(&self) {
        self.loaded.store(true, Relaxed);
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
        let dropped = &self.metrics.dropped;
        dropped.inc_by(self.engine.dropped().saturating_sub(dropped.get()));
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

/// Work on many rows must not keep other requests of the thread waiting.
fn heavy<T>(rows: usize, work: impl FnOnce() -> T) -> T {
    match rows > 8
        && tokio::runtime::Handle::current().runtime_flavor() == tokio::runtime::RuntimeFlavor::MultiThread
    {
        true => tokio::task::block_in_place(work),
        false => work(),
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
