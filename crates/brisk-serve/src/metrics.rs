//! What is counted: for Prometheus, and for the console.

use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::engine::BatchFacts;

/// A model and its version.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Of {
    /// The model.
    pub model: String,
    /// Its version.
    pub version: u64,
}

/// A page and how it answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Page {
    /// The route, such as `/v2/models/{model}/infer`.
    pub route: String,
    /// The status of HTTP.
    pub status: u16,
}

/// How the answers of a canary compare.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Shadow {
    /// The model.
    pub model: String,
    /// Its version that answers.
    pub version: u64,
    /// The version that is compared with it.
    pub shadow: u64,
    /// `same`, `close` (other numbers, same answer) or `other`.
    pub answer: &'static str,
}

/// All that is counted.
pub struct Metrics {
    registry: Registry,
    /// Answers by page and status.
    pub answers: Family<Page, Counter>,
    /// Seconds from when a request has been read to its answer, by model.
    pub latency: Family<Of, Histogram>,
    /// Rows answered.
    pub rows: Family<Of, Counter>,
    /// Requests that came to nothing.
    pub faults: Family<Of, Counter>,
    /// Rows of batches.
    pub batch_rows: Family<Of, Histogram>,
    /// Seconds that the oldest request of a batch waited.
    pub waited: Family<Of, Histogram>,
    /// Seconds that batches were computed.
    pub computed: Family<Of, Histogram>,
    /// Answers of canaries, compared.
    pub shadows: Family<Shadow, Counter>,
    /// Versions that are in memory.
    pub loaded: Gauge,
    /// Rows that wait, or are being computed.
    pub waiting: Gauge,
    /// Requests dropped before compute.
    pub dropped: Counter,
    /// Connections that are open.
    pub connections: Gauge,
}

fn seconds() -> Histogram {
    Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])
}

fn counts() -> Histogram {
    Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0])
}

impl Default for Metrics {
    fn default() -> Metrics {
        let mut r = Registry::with_prefix("brisk");
        let histograms = |make: fn() -> Histogram| Family::<Of, Histogram>::new_with_constructor(make);
        let metrics = Metrics {
            answers: Family::default(),
            latency: histograms(seconds),
            rows: Family::default(),
            faults: Family::default(),
            batch_rows: histograms(counts),
            waited: histograms(seconds),
            computed: histograms(seconds),
            shadows: Family::default(),
            loaded: Gauge::default(),
            waiting: Gauge::default(),
            dropped: Counter::default(),
            connections: Gauge::default(),
            registry: Registry::default(),
        };
        r.register("answers", "Answers by page or call, and status", metrics.answers.clone());
        r.register("model_rows", "Rows answered", metrics.rows.clone());
        r.register("model_faults", "Requests of a model that came to nothing", metrics.faults.clone());
        let about = "From when a request has been read to its answer";
        r.register_with_unit("model_latency", about, Unit::Seconds, metrics.latency.clone());
        r.register("batch_rows", "Rows of the batches that were computed", metrics.batch_rows.clone());
        let about = "How long the oldest request of a batch waited";
        r.register_with_unit("batch_waited", about, Unit::Seconds, metrics.waited.clone());
        r.register_with_unit(
            "batch_computed",
            "How long batches were computed",
            Unit::Seconds,
            metrics.computed.clone(),
        );
        r.register(
            "shadow_answers",
            "Answers of canaries, compared with those given",
            metrics.shadows.clone(),
        );
        r.register("versions_loaded", "Versions of models in memory", metrics.loaded.clone());
        r.register("rows_waiting", "Rows that wait, or are being computed", metrics.waiting.clone());
        r.register("requests_dropped", "Requests dropped before they were computed", metrics.dropped.clone());
        r.register("connections", "Open connections", metrics.connections.clone());
        Metrics { registry: r, ..metrics }
    }
}

/// A version that is counted. When it goes, so do its figures.
pub struct Counted {
    metrics: Arc<Metrics>,
    /// Which.
    pub of: Of,
}

impl Counted {
    /// From now on.
    pub fn new(metrics: &Arc<Metrics>, of: Of) -> Arc<Counted> {
        Arc::new(Counted { metrics: metrics.clone(), of })
    }

    /// A batch was computed.
    pub fn batch(&self, facts: &BatchFacts) {
        self.metrics.batch(&self.of, facts);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.forget(&self.of);
    }
}

impl Metrics {
    /// All of it in the text format of OpenMetrics.
    pub fn text(&self) -> String {
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            let _ = write!(text, "# EOF");
        }
        text
    }

    /// Counts a batch.
    pub fn batch(&self, of: &Of, facts: &BatchFacts) {
        self.batch_rows.get_or_create(of).observe(facts.rows as f64);
        self.waited.get_or_create(of).observe(facts.waited.as_secs_f64());
        self.computed.get_or_create(of).observe(facts.computed.as_secs_f64());
    }

    /// Forgets a version that is gone.
    pub fn forget(&self, of: &Of) {
        for family in [&self.latency, &self.batch_rows, &self.waited, &self.computed] {
            family.remove(of);
        }
        self.rows.remove(of);
        self.faults.remove(of);
    }
}

/// Seconds that the console shows.
pub const WINDOW: usize = 120;
/// Steps of latency: four for each doubling, from 16 microseconds.
const STEPS: usize = 96;

/// Traffic of the last two minutes, second by second.
pub struct Live {
    started: Instant,
    seconds: Mutex<Vec<Second>>,
}

#[derive(Clone)]
struct Second {
    at: u64,
    answers: u32,
    faults: u32,
    steps: [u16; STEPS],
}

/// Traffic of some seconds.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Traffic {
    /// Answers a second, oldest first.
    pub answers: Vec<u32>,
    /// Faults a second.
    pub faults: Vec<u32>,
    /// Half of the answers of each second took at most so many milliseconds; null for seconds without answers.
    pub p50_ms: Vec<Option<f64>>,
    /// The same of 99 %.
    pub p99_ms: Vec<Option<f64>>,
}

impl Default for Live {
    fn default() -> Live {
        let none = Second { at: u64::MAX, answers: 0, faults: 0, steps: [0; STEPS] };
        Live { started: Instant::now(), seconds: Mutex::new(vec![none; WINDOW]) }
    }
}

impl Live {
    /// Counts an answer.
    pub fn add(&self, took: Duration, good: bool) {
        let at = self.started.elapsed().as_secs();
        let mut seconds = self.seconds.lock().unwrap_or_else(PoisonError::into_inner);
        let second = &mut seconds[at as usize % WINDOW];
        if second.at != at {
            *second = Second { at, answers: 0, faults: 0, steps: [0; STEPS] };
        }
        match good {
            true => {
                second.answers += 1;
                let step = &mut second.steps[step(took)];
                *step = step.saturating_add(1);
            }
            false => second.faults += 1,
        }
    }

    /// The whole seconds before this one.
    pub fn traffic(&self) -> Traffic {
        let now = self.started.elapsed().as_secs();
        let seconds = self.seconds.lock().unwrap_or_else(PoisonError::into_inner);
        let mut traffic = Traffic::default();
        for at in now.saturating_sub(WINDOW as u64 - 1)..now {
            let second = &seconds[at as usize % WINDOW];
            let known = second.at == at;
            traffic.answers.push(if known { second.answers } else { 0 });
            traffic.faults.push(if known { second.faults } else { 0 });
            traffic.p50_ms.push(if known { quantile(&second.steps, 0.5) } else { None });
            traffic.p99_ms.push(if known { quantile(&second.steps, 0.99) } else { None });
        }
        traffic
    }
}

fn step(took: Duration) -> usize {
    let micros = (took.as_micros() as f64).max(1.0);
    ((micros / 16.0).log2() * 4.0).clamp(0.0, (STEPS - 1) as f64) as usize
}

/// The middle of the step in which a share of the answers has come.
fn quantile(steps: &[u16; STEPS], share: f64) -> Option<f64> {
    let all: u64 = steps.iter().map(|&n| u64::from(n)).sum();
    let wanted = ((all as f64 * share).ceil() as u64).max(1);
    let mut sum = 0;
    let at = steps.iter().position(|&n| {
        sum += u64::from(n);
        sum >= wanted
    })?;
    Some(16e-3 * ((at as f64 + 0.5) / 4.0).exp2())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_near() {
        let mut steps = [0; STEPS];
        for ms in 1..=100 {
            steps[step(Duration::from_millis(ms))] += 1;
        }
        let (p50, p99) = (quantile(&steps, 0.5).unwrap(), quantile(&steps, 0.99).unwrap());
        assert!((42.0..60.0).contains(&p50) && (85.0..115.0).contains(&p99), "{p50} {p99}");
        assert_eq!(quantile(&[0; STEPS], 0.5), None);
        assert_eq!(step(Duration::from_secs(3600)), STEPS - 1);
    }

    #[test]
    fn the_text_is_openmetrics() {
        let metrics = Metrics::default();
        let of = Of { model: "a\"b".into(), version: 3 };
        metrics.rows.get_or_create(&of).inc_by(2);
        metrics.batch(&of, &BatchFacts { rows: 4, ..BatchFacts::default() });
        let text = metrics.text();
        assert!(text.contains(r#"brisk_model_rows_total{model="a\"b",version="3"} 2"#), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
        metrics.forget(&of);
        assert!(!metrics.text().contains("version=\"3\""));
    }
}
