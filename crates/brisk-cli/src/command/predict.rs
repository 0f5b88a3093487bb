//! `brisk predict`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use brisk_data::{ImageSpec, decode_image};
use brisk_eval::Predictor;
use brisk_graph::{DType, Tensor};
use clap::Args;
use serde::Serialize;

use super::Threads;
use crate::exit::{BAD_INPUT, bad_input, code, error_line, message};
use crate::files::images;
use crate::printer::Printer;
use crate::saved::Saved;

/// Images that are looked at together.
const BATCH: usize = 32;

/// Ask a trained model about pictures
#[derive(Args)]
pub struct Predict {
    /// A run (runs/NAME) or a model folder
    run: PathBuf,
    /// Pictures (PNG, JPEG, WebP, BMP), or folders of pictures
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How many of the most probable classes to show
    #[arg(long, value_name = "K", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,
    #[command(flatten)]
    threads: Threads,
    /// A JSON array with an object for each file
    #[arg(long)]
    json: bool,
}

/// What is said about a file.
#[derive(Serialize)]
#[serde(untagged)]
enum Answer {
    Said { file: String, label: String, probability: f32, probabilities: Vec<Guess> },
    Failed { file: String, error: String },
}

#[derive(Serialize)]
struct Guess {
    label: String,
    probability: f32,
}

impl Predict {
    pub fn run(self) -> Result<ExitCode> {
        let saved = Saved::open(&self.run)?;
        if !saved.model.loss.is_classification() {
            return Err(bad_input(format!("{}: this model does not tell classes apart", self.run.display())));
        }
        let files = images(&self.files)?;
        let (task, device, labels) = (saved.model.task(), self.threads.device(), saved.labels());
        let mut predictor = Predictor::new(&device, &task);
        let mut state = saved.model.state.clone();
        let width = files.iter().map(|f| f.display().to_string().chars().count()).max().unwrap_or(0);
        let (printer, mut answers, mut worst) = (Printer::new(self.json), Vec::new(), 0);
        for files in files.chunks(BATCH) {
            let read: Vec<_> = files.iter().map(|f| pixels(f, saved.image)).collect();
            let good: Vec<&[u8]> = read.iter().flatten().map(Vec::as_slice).collect();
            let mut said = Vec::new();
            if !good.is_empty() {
                let said_to_all = predictor.run(&batch(&good, saved.image, task.input_dtype)?, &mut state)?;
                let columns = said_to_all.shape().last();
                said.extend(
                    said_to_all.f32s()?.chunks(columns).map(|row| guesses(row, &labels, self.top as usize)),
                );
            }
            let mut said = said.into_iter();
            for (file, read) in files.iter().zip(&read) {
                let file = file.display().to_string();
                if let Err(error) = read {
                    worst = worst.max(code(error)); // a file that cannot be read is bad input (2)
                    error_line(error);
                    answers.push(Answer::Failed { file, error: message(error) });
                } else if let Some(guesses) = said.next() {
                    if !self.json {
                        printer.line(line(&file, width, &guesses))?;
                    }
                    let (label, probability) = (guesses[0].label.clone(), guesses[0].probability);
                    answers.push(Answer::Said { file, label, probability, probabilities: guesses });
                }
            }
        }
        if self.json {
            printer.json(&answers)?;
        }
        Ok(ExitCode::from(if worst == 0 { 0 } else { BAD_INPUT }))
    }
}

/// An image in the size that the model takes.
fn pixels(file: &Path, image: ImageSpec) -> Result<Vec<u8>> {
    let name = file.display().to_string();
    let bytes = std::fs::read(file).with_context(|| name.clone())?;
    Ok(decode_image(&bytes, &name)?.convert(image)?.into_pixels())
}

fn batch(images: &[&[u8]], image: ImageSpec, dtype: DType) -> Result<Tensor> {
    let shape = [images.len(), image.height, image.width, image.channels];
    let pixels = images.concat();
    Ok(match dtype {
        DType::U8 => Tensor::new(shape, pixels)?,
        _ => Tensor::new(shape, pixels.into_iter().map(f32::from).collect::<Vec<_>>())?,
    })
}

/// The most probable classes. A single output is the probability of the second of two classes.
fn guesses(row: &[f32], labels: &[String], top: usize) -> Vec<Guess> {
    let row = if let [p] = row { vec![1.0 - p, *p] } else { row.to_vec() };
    let mut order: Vec<usize> = (0..row.len()).collect();
    order.sort_by(|&a, &b| row[b].total_cmp(&row[a]).then(a.cmp(&b)));
    let label = |i: usize| labels.get(i).cloned().unwrap_or_else(|| i.to_string());
    order.into_iter().take(top).map(|i| Guess { label: label(i), probability: row[i] }).collect()
}

fn line(file: &str, width: usize, guesses: &[Guess]) -> String {
    let guesses: Vec<_> =
        guesses.iter().map(|g| format!("{} {:.1} %", g.label, g.probability * 100.0)).collect();
    format!("{file:<width$}  {}", guesses.join("  "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_probable_come_first() {
        let labels = ["cat", "dog", "emu"].map(String::from);
        let top = guesses(&[0.2, 0.1, 0.7], &labels, 2);
        assert_eq!(line("a.png", 6, &top), "a.png   emu 70.0 %  cat 20.0 %");
        let binary = guesses(&[0.25], &labels[..2], 5);
        assert_eq!(line("a", 1, &binary), "a  cat 75.0 %  dog 25.0 %");
    }
}
