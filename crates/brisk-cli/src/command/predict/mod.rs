//! `brisk predict`

mod answer;
mod batch;
mod embed;
mod images;
#[cfg(feature = "parquet")]
mod parquet;
mod tensors;
mod texts;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use brisk_eval::{Ready, Takes};
use brisk_train::{TaskProgress, Unit};
use clap::{ArgGroup, Args};

use super::Compute;
use super::import::extension;
use crate::exit::bad_input;

/// Nothing is said about progress before.
const PATIENCE: Duration = Duration::from_secs(1);

/// Ask a trained model about pictures, texts, or the rows of a table
///
/// Of a model over pictures give files or folders. Of a model over texts give texts, a file (`--file`: a text a line, or a table), or lines
/// on stdin. `--embed` writes a vector for each text instead of an answer; a Hugging Face folder of an encoder can be asked directly.
///
/// `--input FILE.npz --output FILE.npz` takes tensors by the names of the model's inputs, and writes those of its outputs.
///
/// `--input TABLE --output FILE` answers all rows of a table into a file. Rows that cannot be answered go to a side file, and a job that
/// was stopped goes on where it was when the same command is run again.
#[derive(Args)]
#[command(group = ArgGroup::new("written").args(["embed", "input"]).multiple(true))]
pub struct Predict {
    /// A run (runs/NAME), a model folder, a Hugging Face folder, or a model file (.onnx)
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
    /// Answer all rows of a table (.csv, .tsv, .jsonl, .parquet; pictures by their paths in the column `image`), or tensors (.npz)
    #[arg(long, value_name = "TABLE", requires = "output", conflicts_with_all = ["inputs", "file", "json"])]
    input: Option<PathBuf>,
    /// With --input: FILE.jsonl, .csv, .tsv or .parquet. With --embed alone: FILE.npy (numpy), or FILE.parquet with the columns text
    /// and embedding
    #[arg(long, value_name = "FILE", requires = "written")]
    output: Option<PathBuf>,
    /// With --input: where rows go that cannot be answered [default: OUTPUT.errors.jsonl]
    #[arg(long, value_name = "FILE", requires = "input")]
    errors: Option<PathBuf>,
    /// With --input: replace the files of an earlier job
    #[arg(long, requires = "input")]
    overwrite: bool,
    #[command(flatten)]
    compute: Compute,
    /// A JSON array with an object for each file, text or row
    #[arg(long)]
    json: bool,
}

impl Predict {
    pub fn run(self) -> Result<ExitCode> {
        if let (Some(input), Some(output)) = (&self.input, &self.output) {
            if extension(input) == "npz" {
                return tensors::run(&self, input, output);
            }
            return batch::run(&self, input, output);
        }
        let ready = Ready::open(&self.run)?;
        match (ready.takes, &self.output) {
            (Takes::Pictures(image), None) if self.file.is_none() => images::run(&self, &ready, image),
            (Takes::Pictures(_), _) => Err(bad_input(format!(
                "{}: this model takes pictures: give their files; --file and --embed are for texts; of a table that names them, --input",
                self.run.display()
            ))),
            (_, None) => answer::run(&self, &ready),
            (_, Some(output)) => embed::run(&self, &ready, output),
        }
    }
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
