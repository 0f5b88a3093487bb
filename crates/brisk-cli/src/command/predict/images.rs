//! Pictures.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use brisk_data::{Encoded, EncodedValue, ImageSpec, Notes, decode_image};
use brisk_eval::{Asker, Guess, Ready, guesses, shown};
use serde::Serialize;

use super::Predict;
use crate::exit::{BAD_INPUT, bad_input, code, error_line, message};
use crate::files::images;
use crate::printer::Printer;
use crate::saved::labels;

/// Images that are looked at together.
const BATCH: usize = 32;

/// What is said about a file.
#[derive(Serialize)]
#[serde(untagged)]
enum Answer {
    Said { file: String, label: String, probability: f32, probabilities: Vec<Guess> },
    Failed { file: String, error: String },
}

pub fn run(args: &Predict, ready: &Ready, image: ImageSpec) -> Result<ExitCode> {
    if ready.features.targets.is_empty() {
        return Err(bad_input(format!("{}: this model does not tell classes apart", args.run.display())));
    }
    if args.inputs.is_empty() {
        return Err(bad_input("this model takes pictures: give files, or folders of pictures"));
    }
    let files = images(&args.inputs.iter().map(PathBuf::from).collect::<Vec<_>>())?;
    let (device, labels) = (args.compute.device(), labels(ready));
    let mut asker = Asker::new(&device, ready);
    let width = files.iter().map(|f| f.display().to_string().chars().count()).max().unwrap_or(0);
    let (printer, mut answers, mut worst) = (Printer::new(args.json), Vec::new(), 0);
    for files in files.chunks(BATCH) {
        let read: Vec<_> = files.iter().map(|f| sample(f, image)).collect();
        let samples: Vec<Encoded> = read.iter().flatten().cloned().collect();
        let mut said =
            asker.ask(&samples)?.into_iter().flatten().map(|row| guesses(&row, &labels, args.top as usize));
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
fn sample(file: &Path, image: ImageSpec) -> Result<Encoded> {
    let name = file.display().to_string();
    let bytes = std::fs::read(file).with_context(|| name.clone())?;
    let pixels = decode_image(&bytes, &name)?.convert(image)?.into_pixels();
    Ok(Encoded { inputs: vec![EncodedValue::Image(pixels)], targets: vec![], notes: Notes::default() })
}
