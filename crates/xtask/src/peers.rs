//! Runs Brisk and its peers in alternation, so that a change in the machine's mood meets all of them alike.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde::Deserialize;

use crate::report::{self, Row};
use crate::venv;

/// Measure Brisk against PyTorch, Keras and JAX, and write docs/benchmarks.md
#[derive(Args)]
pub struct Peers {
    /// What to train
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["cifar10-cnn", "resnet18-cifar", "lenet", "mlp", "lstm-imdb"])]
    presets: Vec<Preset>,
    /// Which sides to run
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["brisk", "torch", "keras", "jax"])]
    only: Vec<Side>,
    /// Examples a step
    #[arg(long, default_value_t = 32)]
    batch_size: usize,
    /// Threads each side may use
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// How many times each side runs
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Timed steps a run (default: about five seconds' worth, by preset)
    #[arg(long)]
    steps: Option<usize>,
    /// Two short rounds: a look, not a measurement
    #[arg(long)]
    quick: bool,
    /// Where the report goes
    #[arg(long, default_value = "docs/benchmarks.md")]
    out: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Preset {
    #[value(name = "cifar10-cnn")]
    Cifar10Cnn,
    #[value(name = "resnet18-cifar")]
    Resnet18Cifar,
    Lenet,
    Mlp,
    LstmImdb,
    Minilm,
    BertBase,
}

impl Preset {
    fn steps(self) -> usize {
        match self {
            Preset::Cifar10Cnn => 250,
            Preset::Resnet18Cifar => 8,
            Preset::Lenet => 800,
            Preset::Mlp => 4000,
            Preset::LstmImdb => 150,
            Preset::Minilm | Preset::BertBase => 4,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Side {
    Brisk,
    Torch,
    Keras,
    Jax,
}

/// What every side prints with `--json`; `framework`, `version` and `variant` only the peers.
#[derive(Clone, Debug, Deserialize)]
pub struct Run {
    pub examples_per_second: f64,
    pub step_ms_median: f64,
    pub peak_rss_mb: f64,
    pub framework: Option<String>,
    pub version: Option<String>,
    pub variant: Option<String>,
    /// Resident memory before the first step: what importing the framework costs.
    pub rss_before_training_mb: Option<f64>,
}

fn name(value: impl ValueEnum) -> String {
    value.to_possible_value().expect("no value is hidden").get_name().to_owned()
}

impl Peers {
    pub fn run(&self) -> Result<()> {
        let mut sides = self.only.clone();
        let python = if sides.iter().any(|&s| s != Side::Brisk) { Some(venv::ensure()?) } else { None };
        let mut brisk = None;
        if sides.contains(&Side::Brisk) {
            match build_brisk() {
                Ok(path) => brisk = Some(path),
                Err(error) => {
                    eprintln!("leaving Brisk out: it does not build: {error:#}");
                    sides.retain(|&s| s != Side::Brisk);
                }
            }
        }

        let rounds = if self.quick { 2 } else { self.rounds };
        let mut rows = Vec::new();
        for &preset in &self.presets {
            let steps = self.steps.unwrap_or(if self.quick { preset.steps() / 4 } else { preset.steps() });
            let mut runs = vec![Vec::<Run>::new(); sides.len()];
            let mut failed = vec![false; sides.len()];
            for round in 1..=rounds {
                for (i, &side) in sides.iter().enumerate().filter(|(i, _)| !failed[*i]).collect::<Vec<_>>() {
                    let label = format!("{} {} round {round}/{rounds}", name(preset), name(side));
                    match self.measure(side, preset, steps, brisk.as_deref(), python.as_deref()) {
                        Ok(run) => {
                            eprintln!("{label}: {:.0} examples/s", run.examples_per_second);
                            runs[i].push(run);
                        }
                        Err(error) => {
                            eprintln!("{label}: left out of this preset: {error:#}");
                            failed[i] = true;
                        }
                    }
                }
            }
            let measured = sides.iter().zip(runs).filter(|(_, runs)| !runs.is_empty());
            rows.extend(measured.map(|(&side, runs)| Row::new(&name(preset), side == Side::Brisk, &runs)));
        }
        if rows.is_empty() {
            bail!("nothing could be measured");
        }

        let command = format!(
            "cargo xtask peers --presets {} --only {} --batch-size {} --threads {} --rounds {rounds}{}",
            self.presets.iter().map(|&p| name(p)).collect::<Vec<_>>().join(","),
            self.only.iter().map(|&s| name(s)).collect::<Vec<_>>().join(","),
            self.batch_size,
            self.threads,
            if self.quick { " --quick" } else { "" },
        );
        let text = report::render(&rows, &command, self.batch_size, self.threads, rounds);
        let out = venv::root().join(&self.out);
        std::fs::write(&out, text).with_context(|| format!("cannot write {}", self.out.display()))?;
        println!("wrote {}", self.out.display());
        Ok(())
    }

    fn measure(
        &self,
        side: Side,
        preset: Preset,
        steps: usize,
        brisk: Option<&Path>,
        python: Option<&Path>,
    ) -> Result<Run> {
        let mut command = match side {
            Side::Brisk => {
                let mut command = Command::new(brisk.context("Brisk was not built")?);
                command.args(["bench", "train", &name(preset)]);
                command
            }
            peer => {
                let script = venv::root().join(format!("bench/peers/peer_{}.py", name(peer)));
                let mut command = Command::new(python.context("the peers were not installed")?);
                command.arg(script).args(["--preset", &name(preset)]);
                command
            }
        };
        for (flag, value) in
            [("--batch-size", self.batch_size), ("--steps", steps), ("--threads", self.threads)]
        {
            command.arg(flag).arg(value.to_string());
        }
        let output = command.arg("--json").output().context("cannot start it")?;
        let stdout = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            bail!("{}: {}", output.status, stderr.trim().lines().next_back().unwrap_or("no message"));
        }
        serde_json::from_str(stdout.trim())
            .with_context(|| format!("expected one JSON object, found {:?}", stdout.trim()))
    }
}

/// Builds the release binary; its path.
pub fn build_brisk() -> Result<PathBuf> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    venv::check(cargo.args(["build", "--release", "--package", "brisk-cli"]).current_dir(venv::root()))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    Ok(venv::root().join(target).join("release/brisk"))
}
