//! `brisk predict`

mod answer;
mod ask;
mod embed;
mod images;
#[cfg(feature = "parquet")]
mod parquet;
mod texts;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use brisk_train::{TaskProgress, Unit};
use clap::Args;
use serde::Serialize;

use super::Threads;
use crate::exit::bad_input;
use crate::saved::{Saved, Takes};

/// Nothing is said about progress before.
const PATIENCE: Duration = Duration::from_secs(1);

/// Ask a trained model about pictures, texts, or the rows of a table
///
/// Of a model over pictures give files or folders. Of a model over texts give texts, a file (`--file`: a text a line, or a table), or lines
/// on stdin. `--embed` writes a vector for each text instead of an answer; a Hugging Face folder of an encoder can be asked directly.
#[derive(Args)]
pub struct Predict {
    /// A run (runs/NAME), a model folder, or a Hugging Face folder
    run: PathBuf,
    /// Pictures (PNG, JPEG, WebP, BMP) or folders of pictures; or texts [default: a text a line from stdin]
    #[arg(value_name = "FILE|TEXT")]
    inputs: Vec<OsString>,
    /// A text a line, or a table (.csv, .tsv, .jsonl) with the model's columns
    #[arg(long, value_name = "FILE", conflicts_with = "inputs")]
    file: Option<PathBuf>,
    /// How many of the most probable classes to show
    #[arg(long, value_name = "K", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,
    /// Write a vector for each text: [texts, size], in the order of the texts
    #[arg(long, requires = "output", conflicts_with = "json")]
    embed: bool,
    /// With --embed: FILE.npy (numpy), or FILE.parquet with the columns text and embedding
    #[arg(long, value_name = "FILE", requires = "embed")]
    output: Option<PathBuf>,
    #[command(flatten)]
    threads: Threads,
    /// A JSON array with an object for each file, text or row
    #[arg(long)]
    json: bool,
}

impl Predict {
    pub fn run(self) -> Result<ExitCode> {
        let saved = Saved::open(&self.run)?;
        match (&saved.takes, &self.output) {
            (Takes::Images(_), None) if self.file.is_none() => images::run(&self, &saved),
            (Takes::Images(_), _) => Err(bad_input(format!(
                "{}: this model takes pictures: give their files; --file and --embed are for texts",
                self.run.display()
            ))),
            (Takes::Table { .. }, None) => answer::run(&self, saved),
            (Takes::Table { .. }, Some(output)) => embed::run(&self, saved, output),
        }
    }
}

/// A class with its probability.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Guess {
    label: String,
    probability: f32,
}

/// The most probable classes. A single output is the probability of the second of two classes.
fn guesses(row: &[f32], labels: &[String], top: usize) -> Vec<Guess> {
    let row = if let [p] = row { vec![1.0 - p, *p] } else { row.to_vec() };
    ranked(&row, labels).into_iter().take(top).collect()
}

/// All labels, the most probable first.
fn ranked(row: &[f32], labels: &[String]) -> Vec<Guess> {
    let label = |i: usize| labels.get(i).cloned().unwrap_or_else(|| i.to_string());
    let guess = |(i, &probability): (usize, &f32)| Guess { label: label(i), probability };
    let mut all: Vec<Guess> = row.iter().enumerate().map(guess).collect();
    all.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    all
}

/// `cat 70.0 %  dog 20.0 %`
fn shown(guesses: &[Guess]) -> String {
    let all: Vec<_> = guesses.iter().map(|g| format!("{} {:.1} %", g.label, g.probability * 100.0)).collect();
    all.join("  ")
}

/// Progress that begins to be seen when it takes long.
struct Patient {
    started: Instant,
    total: usize,
    done: usize,
    bar: Option<TaskProgress>,
}

impl Patient {
    /// `total` is 0 if it is not known.
    fn new(total: usize) -> Patient {
        Patient { started: Instant::now(), total, done: 0, bar: None }
    }

    fn add(&mut self, n: usize) {
        self.done += n;
        if self.bar.is_none() && self.started.elapsed() > PATIENCE {
            self.bar = Some(TaskProgress::stderr("Predicting", self.total as u64, Unit::Items("samples")));
        }
        if let Some(bar) = &mut self.bar {
            bar.set(self.done as u64);
        }
    }

    fn finish(self) {
        if let Some(mut bar) = self.bar {
            bar.finish();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_probable_come_first() {
        let labels = ["cat", "dog", "emu"].map(String::from);
        assert_eq!(shown(&guesses(&[0.2, 0.1, 0.7], &labels, 2)), "emu 70.0 %  cat 20.0 %");
        assert_eq!(shown(&guesses(&[0.25], &labels[..2], 5)), "cat 75.0 %  dog 25.0 %");
    }
}
