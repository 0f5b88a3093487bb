//! Where the time goes: clocks by step, and the calls of the last run.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::plan::Plan;

/// The time that steps of one kind took.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// The kernel, with its sizes where they matter.
    pub kernel: String,
    /// Steps of the plan that call it.
    pub steps: usize,
    /// Seconds, all threads added up.
    pub seconds: f64,
    /// Arithmetic operations of contractions that it did in that time, as if dense.
    pub flops: f64,
    /// Bytes of the operands that it read and of the results that it wrote in that time. Many of them stay in caches.
    pub bytes: f64,
}

/// A call of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The kernel, with its sizes where they matter.
    pub kernel: String,
    /// The thread that called it.
    pub thread: usize,
    /// When, in seconds since the run began.
    pub start: f64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Which part of the step it was: `samples 4` or `part 1 of 8`.
    pub part: String,
    /// Arithmetic operations of contractions, as if dense.
    pub flops: f64,
    /// Bytes of operands and results.
    pub bytes: f64,
}

/// Calls of kernels in the Trace Event Format, which Perfetto and chrome://tracing show.
///
/// ```
/// use brisk_runtime::{Event, chrome_trace};
/// let event = Event {
///     kernel: "matmul 1 x [4, 3] [3, 2]".into(),
///     thread: 0,
///     start: 1e-3,
///     seconds: 2e-6,
///     part: "samples 4".into(),
///     flops: 48.0,
///     bytes: 104.0,
/// };
/// assert!(chrome_trace(&[event]).contains(r#""ph":"X","pid":1,"tid":0,"ts":1000.000,"dur":2.000"#));
/// ```
pub fn chrome_trace(events: &[Event]) -> String {
    let mut text = String::from("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[");
    for (i, e) in events.iter().enumerate() {
        let (ts, dur) = (e.start * 1e6, e.seconds * 1e6);
        let _ = write!(
            text,
            "{}\n{{\"name\":{},\"ph\":\"X\",\"pid\":1,\"tid\":{},\"ts\":{ts:.3},\"dur\":{dur:.3},\
             \"args\":{{\"part\":{},\"flop\":{},\"bytes\":{}}}}}",
            if i > 0 { "," } else { "" },
            quoted(&e.kernel),
            e.thread,
            quoted(&e.part),
            e.flops,
            e.bytes,
        );
    }
    text + "\n]}\n"
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c < ' ' => _ = write!(quoted, "\\u{:04x}", c as u32),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

/// Part of a step: the samples of a tile, or one of equal parts.
#[derive(Clone, Copy)]
pub enum Part {
    /// So many samples.
    Samples(usize),
    /// `(part, parts)`
    Of(usize, usize),
}

/// A thread's call of part of a step; times are in nanoseconds.
struct Call {
    step: usize,
    part: Part,
    start: u64,
    duration: u64,
}

/// What is kept of a program that is watched.
pub struct Profile {
    /// Runs since the clocks were last read.
    runs: u64,
    begun: Instant,
    /// Nanoseconds that each step has taken, all threads added up.
    clocks: Vec<AtomicU64>,
    /// For each thread, its calls in the last run.
    calls: Vec<Mutex<Vec<Call>>>,
}

impl Profile {
    /// For so many steps and threads.
    pub fn new(steps: usize, threads: usize) -> Profile {
        let clocks = (0..steps).map(|_| AtomicU64::new(0)).collect();
        let calls = (0..threads).map(|_| Mutex::new(Vec::new())).collect();
        Profile { runs: 0, begun: Instant::now(), clocks, calls }
    }

    /// A run begins.
    pub fn begin(&mut self) {
        self.runs += 1;
        self.begun = Instant::now();
        self.calls.iter_mut().for_each(|c| c.get_mut().unwrap_or_else(|e| e.into_inner()).clear());
    }

    /// A thread has run part of a step since `start`.
    pub fn note(&self, step: usize, part: Part, thread: usize, start: Instant) {
        let duration = start.elapsed().as_nanos() as u64;
        self.clocks[step].fetch_add(duration, Ordering::Relaxed);
        let start = start.duration_since(self.begun).as_nanos() as u64;
        let mut calls = self.calls[thread].lock().unwrap_or_else(|e| e.into_inner());
        calls.push(Call { step, part, start, duration });
    }

    /// The clocks by kernel, the most costly first; they begin anew.
    pub fn take(&mut self, plan: &Plan) -> Vec<Timing> {
        let mut timings: Vec<Timing> = Vec::new();
        let mut known: HashMap<String, usize> = HashMap::new();
        let runs = std::mem::take(&mut self.runs) as f64;
        let bytes = plan.step_bytes();
        for (s, step) in plan.steps.iter().enumerate() {
            let kernel = step.kernel.describe();
            let at = *known.entry(kernel.clone()).or_insert(timings.len());
            if at == timings.len() {
                timings.push(Timing { kernel, steps: 0, seconds: 0.0, flops: 0.0, bytes: 0.0 });
            }
            timings[at].steps += 1;
            timings[at].seconds += std::mem::take(self.clocks[s].get_mut()) as f64 / 1e9;
            timings[at].flops += runs * step.kernel.flops(plan.batch);
            timings[at].bytes += runs * bytes[s];
        }
        timings.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        timings
    }

    /// The calls of the last run, thread by thread in order of time.
    pub fn events(&self, plan: &Plan) -> Vec<Event> {
        let mut events = Vec::new();
        for (thread, calls) in self.calls.iter().enumerate() {
            for call in calls.lock().unwrap_or_else(|e| e.into_inner()).iter() {
                let (share, part) = match call.part {
                    Part::Samples(n) => (n as f64 / plan.batch as f64, format!("samples {n}")),
                    Part::Of(part, parts) => (1.0 / parts as f64, format!("part {} of {parts}", part + 1)),
                };
                let kernel = &plan.steps[call.step].kernel;
                events.push(Event {
                    kernel: kernel.describe(),
                    thread,
                    start: call.start as f64 / 1e9,
                    seconds: call.duration as f64 / 1e9,
                    part,
                    flops: share * kernel.flops(plan.batch),
                    bytes: plan.part_bytes(call.step, call.part),
                });
            }
        }
        events
    }
}
