//! Pictures.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use brisk_data::{ImageSpec, decode_image};
use brisk_eval::Predictor;
use brisk_graph::{DType, Tensor};
use brisk_nn::X;
use serde::Serialize;

use super::{Guess, Predict, guesses, shown};
use crate::exit::{BAD_INPUT, bad_input, code, error_line, message};
use crate::files::images;
use crate::printer::Printer;
use crate::saved::Saved;

/// Images that are looked at together.
const BATCH: usize = 32;

/// What is said about a file.
#[derive(Serialize)]
#[serde(untagged)]
enum Answer {
    Said { file: String, label: String, probability: f32, probabilities: Vec<Guess> },
    Failed { file: String, error: String },
}

pub fn run(args: &Predict, saved: &Saved) -> Result<ExitCode> {
    if !saved.model.outputs.iter().all(|o| o.loss.is_classification()) {
        return Err(bad_input(format!("{}: this model does not tell classes apart", args.run.display())));
    }
    if args.inputs.is_empty() {
        return Err(bad_input("this model takes pictures: give files, or folders of pictures"));
    }
    let image = saved.image()?;
    let files = images(&args.inputs.iter().map(PathBuf::from).collect::<Vec<_>>())?;
    let (task, device, labels) = (saved.model.task(), args.threads.device(), saved.labels());
    let mut predictor = Predictor::new(&device, &task);
    let mut state = saved.model.state.clone();
    let width = files.iter().map(|f| f.display().to_string().chars().count()).max().unwrap_or(0);
    let (printer, mut answers, mut worst) = (Printer::new(args.json), Vec::new(), 0);
    for files in files.chunks(BATCH) {
        let read: Vec<_> = files.iter().map(|f| pixels(f, image)).collect();
        let good: Vec<&[u8]> = read.iter().flatten().map(Vec::as_slice).collect();
        let mut said = Vec::new();
        if !good.is_empty() {
            let batch = batch(&good, image, task.model.inputs()[0].dtype)?;
            let said_to_all = predictor.run(&[(X, &batch)], &mut state)?.swap_remove(0);
            let columns = said_to_all.shape().last();
            let rows = said_to_all.f32s()?.chunks(columns);
            said.extend(rows.map(|row| guesses(row, &labels, args.top as usize)));
        }
        let mut said = said.into_iter();
        for (file, read) in files.iter().zip(&read) {
            let file = file.display().to_string();
            if let Err(error) = read {
                worst = worst.max(code(error)); // a file that cannot be read is bad input (2)
                error_line(error);
                answers.push(Answer::Failed { file, error: message(error) });
            } else if let Some(guesses) = said.next() {
                if !args.json {
                    printer.line(format!("{file:<width$}  {}", shown(&guesses)))?;
                }
                let (label, probability) = (guesses[0].label.clone(), guesses[0].probability);
                answers.push(Answer::Said { file, label, probability, probabilities: guesses });
            }
        }
    }
    if args.json {
        printer.json(&answers)?;
    }
    Ok(ExitCode::from(if worst == 0 { 0 } else { BAD_INPUT }))
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
