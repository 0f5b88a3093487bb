//! `brisk bench`

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use brisk_graph::{DType, Tensor};
use brisk_nn::optimizer::{AdamW, Sgd};
use brisk_nn::zoo::{self, PRESETS};
use brisk_nn::{INPUT, KEY, Loss, Optimizer, Rows, Scaling, Shapes, Task, Y};
use brisk_runtime::{Cpu, Device, Options, Program, State, Timing};
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::printer::Printer;

/// Classes of the models that are measured.
const CLASSES: usize = 10;
/// Different batches that take turns.
const BATCHES: usize = 8;

/// Measure how fast a ready-made model trains or answers
#[derive(Subcommand)]
pub enum Bench {
    /// Measure training steps: forward, backward and update
    Train(Bencher),
    /// Measure predictions
    Infer(Bencher),
}

#[derive(Args)]
pub struct Bencher {
    /// The model
    #[arg(value_parser = PossibleValuesParser::new(PRESETS.iter().map(|p| p.name)))]
    preset: String,
    /// Tokens of a text, for encoders of texts
    #[arg(long, value_name = "L", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=512))]
    seq_len: u32,
    /// Examples in a step
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=65536))]
    batch_size: u32,
    /// Steps to measure, after some to warm up
    #[arg(long, value_name = "S", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    #[command(flatten)]
    compute: super::Compute,
    /// Compute the insides of Transformer layers again for their gradients, rather than keep them
    #[arg(long)]
    gradient_checkpointing: bool,
    /// Show the compiled plan: regions, tiles, kernels, memory (on stderr)
    #[arg(long)]
    explain: bool,
    /// Show where the time goes, kernel by kernel (on stderr)
    #[arg(long)]
    profile: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// What was measured.
#[derive(Serialize)]
struct Figures {
    preset: String,
    batch_size: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq_len: Option<usize>,
    threads: usize,
    dtype: &'static str,
    examples_per_second: f64,
    step_ms_median: f64,
    /// Arithmetic of contractions, as if dense, over the median time.
    gflops: f64,
    /// Missing where the system does not tell.
    peak_rss_mb: Option<f64>,
    plan_ms: f64,
}

impl Bench {
    pub fn run(self) -> Result<ExitCode> {
        match self {
            Bench::Train(b) => b.run(true),
            Bench::Infer(b) => b.run(false),
        }
    }
}

impl Bencher {
    fn run(&self, training: bool) -> Result<ExitCode> {
        let device = self.compute.device();
        let optimizer = optimizer(&self.preset);
        let mut task = task(&self.preset)?;
        task.gradient_checkpointing = self.gradient_checkpointing;
        let mut state = task.init_state(&optimizer, 42)?;
        let stock = self.stock(&task)?;
        let shapes = Shapes::from(&stock[0][..]);
        let graph =
            if training { task.train_graph(&optimizer, shapes)? } else { task.predict_graph(shapes)? };
        let mut program = device.compile(&graph, &Options { profile: self.profile, ..Options::default() })?;
        if self.explain {
            eprintln!("{}", program.explain());
        }
        let mut number = 0;
        let mut step = |program: &mut dyn Program, state: &mut State| -> Result<f64> {
            let start = Instant::now();
            // A fresh batch is copied, as a loader would hand it over.
            let copy = |(name, t): &(String, Tensor)| {
                Ok((name.clone(), Tensor::new(t.shape().clone(), t.data().clone())?))
            };
            let batch = stock[number % BATCHES].iter().map(copy).collect::<Result<Vec<_>>>()?;
            number += 1;
            let mut inputs: Vec<_> =
                batch.iter().filter(|b| training || b.0 != Y).map(|(name, t)| (name.as_str(), t)).collect();
            let key = Tensor::new([2], vec![42, number as i32])?;
            let scalars = optimizer.scalars(optimizer.learning_rate(), number as u64);
            if training {
                inputs.push((KEY, &key));
                inputs.extend(scalars.iter().map(|(name, value)| (*name, value)));
            }
            program.run(&inputs, state)?;
            Ok(start.elapsed().as_secs_f64())
        };
        let long = self.preset.starts_with("resnet") || zoo::is_text_encoder(&self.preset);
        let warmup = if long { 2 } else { 20 };
        for _ in 0..warmup {
            step(program.as_mut(), &mut state)?;
        }
        program.take_profile();
        let start = Instant::now();
        let mut times = Vec::with_capacity(self.steps as usize);
        for _ in 0..self.steps {
            times.push(step(program.as_mut(), &mut state)?);
        }
        let wall = start.elapsed().as_secs_f64();
        self.show_profile(&program.take_profile(), wall * device.threads() as f64);
        times.sort_by(f64::total_cmp);
        let median = (times[times.len() / 2] + times[(times.len() - 1) / 2]) / 2.0;
        self.print(&device, program.as_ref(), wall, median)
    }

    /// Batches of noise, made beforehand.
    fn stock(&self, task: &Task) -> Result<Vec<Vec<(String, Tensor)>>> {
        let mut seed = 0x9e37_79b9_7f4a_7c15u64;
        let mut next = move |bound: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed >> 32) % bound
        };
        let (batch, length) = (self.batch_size as usize, self.seq_len as usize);
        let mut one = |_| {
            let mut tensors = Vec::new();
            for input in task.model.inputs() {
                let sizes = input.shape.iter().map(|d| d.unwrap_or(length));
                let rows = if input.rows == Rows::Tokens { batch * length } else { batch };
                let shape: Vec<usize> = std::iter::once(rows).chain(sizes).collect();
                let places = 0..shape.iter().product::<usize>();
                let part = input.name.rsplit('.').next().unwrap_or_default();
                let tensor = match (input.dtype, part) {
                    (DType::U8, _) => {
                        Tensor::new(shape, places.map(|_| next(256) as u8).collect::<Vec<_>>())?
                    }
                    (_, "segments") => {
                        let starts = (0..batch).flat_map(|i| [(i * length) as i32, length as i32]);
                        Tensor::new(shape, starts.collect::<Vec<_>>())?
                    }
                    (_, "positions") => {
                        Tensor::new(shape, places.map(|i| (i % length) as i32).collect::<Vec<_>>())?
                    }
                    (_, "types") => Tensor::zeros(DType::I32, shape),
                    // Words without padding: any of 1 to 19,999.
                    _ => Tensor::new(shape, places.map(|_| next(19_999) as i32 + 1).collect::<Vec<_>>())?,
                };
                tensors.push((input.tensor().to_string(), tensor));
            }
            let classes = task.model.output_shape().last().max(2) as u64;
            let labels: Vec<i32> = (0..batch).map(|_| next(classes) as i32).collect();
            tensors.push((Y.to_string(), Tensor::new([batch], labels)?));
            Ok(tensors)
        };
        (0..BATCHES).map(&mut one).collect()
    }

    /// A table of kernels; `total` is the wall time of all threads together.
    fn show_profile(&self, timings: &[Timing], total: f64) {
        if !self.profile {
            return;
        }
        let steps = f64::from(self.steps);
        eprintln!("{:>10} {:>6} {:>8} {:>6}  kernel", "ms a step", "share", "GFLOP/s", "steps");
        let row = |seconds: f64, flops: f64, count: String, kernel: &str| {
            let speed =
                if flops > 0.0 { format!("{:.1}", flops * steps / seconds / 1e9) } else { String::new() };
            let (ms, share) = (seconds * 1e3 / steps, seconds / total * 100.0);
            eprintln!("{ms:>10.3} {share:>5.1}% {speed:>8} {count:>6}  {kernel}");
        };
        for t in timings.iter().filter(|t| t.seconds > total * 1e-3) {
            row(t.seconds, t.flops, t.steps.to_string(), &t.kernel);
        }
        let rest = total - timings.iter().map(|t| t.seconds).sum::<f64>();
        row(rest, 0.0, String::new(), "between steps: waiting, sums of groups, copying batches");
    }

    fn print(&self, device: &Cpu, program: &dyn Program, wall: f64, median: f64) -> Result<ExitCode> {
        let facts = program.facts();
        let round = |x: f64, digits: i32| (x * 10f64.powi(digits)).round() / 10f64.powi(digits);
        let figures = Figures {
            preset: self.preset.clone(),
            batch_size: self.batch_size as usize,
            seq_len: zoo::is_text_encoder(&self.preset).then_some(self.seq_len as usize),
            threads: device.threads(),
            dtype: device.precision().name(),
            examples_per_second: round(f64::from(self.batch_size) * f64::from(self.steps) / wall, 1),
            step_ms_median: round(median * 1e3, 3),
            gflops: round(facts.flops / median / 1e9, 2),
            peak_rss_mb: peak_rss_mb().map(|m| round(m, 1)),
            plan_ms: round(facts.plan_ms, 3),
        };
        let printer = Printer::new(self.json);
        if self.json {
            printer.json_line(&figures)?;
            return Ok(ExitCode::SUCCESS);
        }
        let fields = serde_json::to_value(&figures)?;
        for (key, value) in fields.as_object().into_iter().flatten() {
            printer.line(format!("{key:<20} {}", value.to_string().trim_matches('"')))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The preset trained on cross-entropy with nothing measured beside it, as its peers are: on images of bytes with ten classes,
/// or on texts of two.
fn task(preset: &str) -> Result<Task> {
    let encoder = zoo::is_text_encoder(preset);
    let preset = zoo::preset(preset)?;
    if encoder {
        let mut task = Task::new((preset.build)([].into(), 2)?, Loss::sparse_categorical_crossentropy());
        task.outputs.iter_mut().for_each(|o| o.metrics.clear());
        return Ok(task);
    }
    if preset.input_shape.len() == 1 {
        let model = (preset.build)(preset.input_shape.to_vec().into(), 1)?;
        let mut task = Task::new(model, Loss::binary_crossentropy());
        task.outputs.iter_mut().for_each(|o| o.metrics.clear());
        return Ok(task);
    }
    let mut model = (preset.build)(preset.input_shape.to_vec().into(), CLASSES)?;
    model.set_stored(INPUT, DType::U8, Scaling::bytes())?;
    let mut task = Task::new(model, Loss::sparse_categorical_crossentropy());
    task.outputs.iter_mut().for_each(|o| o.metrics.clear());
    Ok(task)
}

/// Momentum for a ResNet, as the CIFAR papers use it; AdamW for encoders of texts; Adam for the rest.
fn optimizer(preset: &str) -> Optimizer {
    match preset.starts_with("resnet") {
        true => Optimizer::Sgd(Sgd { learning_rate: 0.1, momentum: 0.9, ..Sgd::default() }),
        false if zoo::is_text_encoder(preset) => {
            Optimizer::AdamW(AdamW { learning_rate: 5e-5, ..AdamW::default() })
        }
        false => Optimizer::adam(1e-3),
    }
}

/// The most memory that this process has held, where the system tells.
fn peak_rss_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
}
