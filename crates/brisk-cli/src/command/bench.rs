//! `brisk bench`

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use brisk_graph::{DType, Tensor};
use brisk_nn::optimizer::Sgd;
use brisk_nn::zoo::{self, PRESETS};
use brisk_nn::{KEY, Loss, Optimizer, Scaling, Task, X, Y};
use brisk_runtime::{Cpu, Device, Options, Program, State};
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
    /// Examples in a step
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=65536))]
    batch_size: u32,
    /// Steps to measure, after some to warm up
    #[arg(long, value_name = "S", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    #[command(flatten)]
    threads: super::Threads,
    /// Show the compiled plan: regions, tiles, kernels, memory (on stderr)
    #[arg(long)]
    explain: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// What was measured.
#[derive(Serialize)]
struct Figures {
    preset: String,
    batch_size: usize,
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
        let batch = self.batch_size as usize;
        let device = self.threads.device();
        let optimizer = optimizer(&self.preset);
        let task = task(&self.preset)?;
        let mut state = task.init_state(&optimizer, 42)?;
        let graph = if training { task.train_graph(&optimizer, batch)? } else { task.predict_graph(batch)? };
        let mut program = device.compile(&graph, &Options::default())?;
        if self.explain {
            eprintln!("{}", program.explain());
        }
        let stock = stock(&task, batch)?;
        let mut number = 0;
        let mut step = |program: &mut dyn Program, state: &mut State| -> Result<f64> {
            let start = Instant::now();
            let (images, labels) = &stock[number % BATCHES];
            number += 1;
            // A fresh batch is copied, as a loader would hand it over.
            let x = Tensor::new(images.shape().clone(), images.u8s()?.to_vec())?;
            let mut inputs = vec![(X, &x)];
            let key = Tensor::new([2], vec![42, number as i32])?;
            let scalars = optimizer.scalars(optimizer.learning_rate(), number as u64);
            if training {
                inputs.extend([(Y, labels), (KEY, &key)]);
                inputs.extend(scalars.iter().map(|(name, value)| (*name, value)));
            }
            program.run(&inputs, state)?;
            Ok(start.elapsed().as_secs_f64())
        };
        let warmup = if self.preset.starts_with("resnet") { 2 } else { 20 };
        for _ in 0..warmup {
            step(program.as_mut(), &mut state)?;
        }
        let start = Instant::now();
        let mut times = Vec::with_capacity(self.steps as usize);
        for _ in 0..self.steps {
            times.push(step(program.as_mut(), &mut state)?);
        }
        let wall = start.elapsed().as_secs_f64();
        times.sort_by(f64::total_cmp);
        let median = (times[times.len() / 2] + times[(times.len() - 1) / 2]) / 2.0;
        self.print(&device, program.as_ref(), wall, median)
    }

    fn print(&self, device: &Cpu, program: &dyn Program, wall: f64, median: f64) -> Result<ExitCode> {
        let facts = program.facts();
        let round = |x: f64, digits: i32| (x * 10f64.powi(digits)).round() / 10f64.powi(digits);
        let figures = Figures {
            preset: self.preset.clone(),
            batch_size: self.batch_size as usize,
            threads: device.threads(),
            dtype: "f32",
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

/// The preset on images of bytes, trained on cross-entropy with nothing measured beside it, as its peers are.
fn task(preset: &str) -> Result<Task> {
    let preset = zoo::preset(preset)?;
    let model = (preset.build)(preset.input_shape.to_vec().into(), CLASSES)?;
    let mut task = Task::new(model, Loss::sparse_categorical_crossentropy());
    task.metrics.clear();
    task.scaling = Scaling::bytes();
    task.input_dtype = DType::U8;
    Ok(task)
}

/// Momentum for a ResNet, as the CIFAR papers use it; Adam for the rest.
fn optimizer(preset: &str) -> Optimizer {
    match preset.starts_with("resnet") {
        true => Optimizer::Sgd(Sgd { learning_rate: 0.1, momentum: 0.9, ..Sgd::default() }),
        false => Optimizer::adam(1e-3),
    }
}

/// Batches of noise, made beforehand.
fn stock(task: &Task, batch: usize) -> Result<Vec<(Tensor, Tensor)>> {
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let shape = [&[batch], task.model.input_shape().dims()].concat();
    let one = |_| {
        let images: Vec<u8> = (0..shape.iter().product()).map(|_| (next() >> 32) as u8).collect();
        let labels: Vec<i32> = (0..batch).map(|_| ((next() >> 32) % CLASSES as u64) as i32).collect();
        Ok((Tensor::new(shape.clone(), images)?, Tensor::new([batch], labels)?))
    };
    (0..BATCHES).map(one).collect()
}

/// The most memory that this process has held, where the system tells.
fn peak_rss_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
}
