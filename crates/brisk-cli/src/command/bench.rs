//! `brisk bench`

mod profile;
mod stock;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use brisk_format::{import_onnx, read_onnx};
use brisk_graph::{DType, Tensor};
use brisk_nn::optimizer::{AdamW, Sgd};
use brisk_nn::zoo::{self, PRESETS};
use brisk_nn::{INPUT, KEY, Loss, Optimizer, Scaling, Shapes, Task, Y};
use brisk_runtime::{Cpu, Device, Facts, Options, Program, State, chrome_trace};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::import::extension;
use crate::exit::bad_input;
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
    /// A preset; or, to measure predictions, a model file (.onnx)
    #[arg(value_name = "PRESET|FILE.onnx", value_parser = subject)]
    preset: String,
    /// Tokens of a text, for encoders of texts
    #[arg(long, value_name = "L", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=512))]
    seq_len: u32,
    /// Tokens of the texts, one number a line, taken in order batch after batch: real lengths, in place of one for all
    #[arg(long, value_name = "FILE", conflicts_with = "seq_len")]
    lengths: Option<PathBuf>,
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
    /// Measure the machine, and show the compiled plan: what it costs at least, regions, tiles, kernels, memory (on stderr)
    #[arg(long)]
    explain: bool,
    /// Show where the time goes, kernel by kernel (on stderr)
    #[arg(long)]
    profile: bool,
    /// Write the kernels' calls of the last step, thread by thread, for Perfetto or chrome://tracing
    #[arg(long, value_name = "FILE")]
    profile_trace: Option<PathBuf>,
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
    /// Arithmetic of contractions, as if dense.
    gflops: f64,
    /// Missing where the system does not tell.
    peak_rss_mb: Option<f64>,
    /// The longest time that compiling a program took.
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
        let (mut task, mut state) = match is_file(&self.preset) {
            true if training => {
                return Err(bad_input("presets are trained; of a model file predictions are measured"));
            }
            true => {
                let path = Path::new(&self.preset);
                let model = import_onnx(path, read_onnx(path)?)?;
                (model.task(), model.state)
            }
            false => {
                let task = task(&self.preset)?;
                let state = task.init_state(&optimizer, 42)?;
                (task, state)
            }
        };
        task.gradient_checkpointing = self.gradient_checkpointing;
        let stock = stock::stock(&task, self.batch_size as usize, &self.lengths()?)?;
        // A program for each shape of batch, and the number of that which each batch needs.
        let mut shapes: Vec<Shapes> = Vec::new();
        let (mut graphs, mut programs, mut program_of) = (Vec::new(), Vec::new(), Vec::new());
        for batch in &stock {
            let own = Shapes::from(&batch[..]);
            let known = shapes.iter().position(|s| *s == own);
            program_of.push(known.unwrap_or(programs.len()));
            if known.is_none() {
                let graph = match training {
                    true => task.train_graph(&optimizer, own.clone())?,
                    false => task.predict_graph(own.clone())?,
                };
                let profile = self.profile || self.profile_trace.is_some();
                programs.push(device.compile(&graph, &Options { profile, ..Options::default() })?);
                graphs.push(graph);
                shapes.push(own);
            }
        }
        let mut number = 0;
        let mut step = |programs: &mut [Box<dyn Program>], state: &mut State| -> Result<f64> {
            let start = Instant::now();
            // A fresh batch is copied, as a loader would hand it over.
            let copy = |(name, t): &(String, Tensor)| {
                Ok((name.clone(), Tensor::new(t.shape().clone(), t.data().clone())?))
            };
            let batch = stock[number % BATCHES].iter().map(copy).collect::<Result<Vec<_>>>()?;
            let program = &mut programs[program_of[number % BATCHES]];
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
        let long =
            self.preset.starts_with("resnet") || zoo::is_text_encoder(&self.preset) || is_file(&self.preset);
        let warmup = match programs.len() {
            1 if long => 2,
            1 => 20,
            _ => BATCHES,
        };
        for _ in 0..warmup {
            step(&mut programs, &mut state)?;
        }
        programs.iter_mut().for_each(|p| drop(p.take_profile()));
        let start = Instant::now();
        let mut times = Vec::with_capacity(self.steps as usize);
        for _ in 0..self.steps {
            times.push(step(&mut programs, &mut state)?);
        }
        let wall = start.elapsed().as_secs_f64();
        let peak_rss_mb = peak_rss_mb();
        if self.explain {
            let device = device.clone().measured()?;
            for graph in &graphs {
                eprintln!("{}", device.compile(graph, &Options::default())?.explain());
            }
        }
        if self.profile {
            let timings = programs.iter_mut().map(|p| p.take_profile());
            profile::show(timings.collect(), self.steps as usize, wall * device.threads() as f64);
        }
        if let Some(path) = &self.profile_trace {
            let last = program_of[(number + BATCHES - 1) % BATCHES];
            std::fs::write(path, chrome_trace(&programs[last].events()))
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        times.sort_by(f64::total_cmp);
        let median = (times[times.len() / 2] + times[(times.len() - 1) / 2]) / 2.0;
        let facts: Vec<Facts> = program_of.iter().map(|&p| programs[p].facts()).collect();
        self.print(&device, &facts, wall, median, peak_rss_mb)
    }

    /// Tokens of the texts, taken in turn.
    fn lengths(&self) -> Result<Vec<usize>> {
        match &self.lengths {
            None => Ok(vec![self.seq_len as usize]),
            Some(_) if !zoo::is_text_encoder(&self.preset) => {
                let encoders = PRESETS.iter().map(|p| p.name).filter(|p| zoo::is_text_encoder(p));
                let encoders = encoders.collect::<Vec<_>>().join(", ");
                Err(bad_input(format!(
                    "--lengths is for encoders of texts ({encoders}); inputs of {} have one shape",
                    self.preset
                )))
            }
            Some(path) => stock::read_lengths(path),
        }
    }

    /// `facts` are those of the programs of the batches that took turns.
    fn print(
        &self,
        device: &Cpu,
        facts: &[Facts],
        wall: f64,
        median: f64,
        peak_rss_mb: Option<f64>,
    ) -> Result<ExitCode> {
        let flops = facts.iter().map(|f| f.flops).sum::<f64>() / facts.len() as f64;
        let plan_ms = facts.iter().map(|f| f.plan_ms).fold(0.0, f64::max);
        let round = |x: f64, digits: i32| (x * 10f64.powi(digits)).round() / 10f64.powi(digits);
        let figures = Figures {
            preset: self.preset.clone(),
            batch_size: self.batch_size as usize,
            seq_len: (zoo::is_text_encoder(&self.preset) && self.lengths.is_none())
                .then_some(self.seq_len as usize),
            threads: device.threads(),
            dtype: device.precision().name(),
            examples_per_second: round(f64::from(self.batch_size) * f64::from(self.steps) / wall, 1),
            step_ms_median: round(median * 1e3, 4),
            gflops: round(flops * f64::from(self.steps) / wall / 1e9, 2),
            peak_rss_mb: peak_rss_mb.map(|m| round(m, 1)),
            plan_ms: round(plan_ms, 3),
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

fn is_file(subject: &str) -> bool {
    extension(Path::new(subject)) == "onnx"
}

/// What may be measured.
fn subject(text: &str) -> Result<String, String> {
    match is_file(text) || zoo::preset(text).is_ok() {
        true => Ok(text.into()),
        false => {
            let known: Vec<_> = PRESETS.iter().map(|p| p.name).collect();
            Err(format!("expected a model file (.onnx) or one of {}", known.join(", ")))
        }
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
