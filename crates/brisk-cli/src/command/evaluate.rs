//! `brisk evaluate`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use brisk_data::{Checks, OpenOptions, Part, SourceSpec, SplitSpec, open};
use clap::Args;

use super::Threads;
use crate::exit::bad_input;
use crate::printer::Printer;
use crate::saved::Saved;

/// Measure a trained model: loss, accuracy, and a table of its classes
#[derive(Args)]
pub struct Evaluate {
    /// A run (runs/NAME) or a model folder
    run: PathBuf,
    /// A known data set, a folder with a folder for each class, or a CSV file [default: the run's own test data]
    #[arg(long, value_name = "SOURCE")]
    data: Option<String>,
    #[command(flatten)]
    threads: Threads,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl Evaluate {
    pub fn run(self) -> Result<ExitCode> {
        let saved = Saved::open(&self.run)?;
        let part = match &self.data {
            Some(source) => given(&saved, source)?,
            None => own(&saved)?,
        };
        let task = saved.model.task();
        let device = self.threads.device();
        let (report, _) = brisk_train::evaluate(&device, &task, &part, &mut saved.model.state.clone(), 0)?;
        Printer::new(self.json).data(&report)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The test part of any source, its classes matched by name to the model's.
fn given(saved: &Saved, source: &str) -> Result<Part> {
    let image = saved.image;
    let options = OpenOptions {
        size: Some([image.height, image.width]),
        channels: Some(image.channels),
        checks: Checks::Evaluation,
    };
    let data = open(&SourceSpec::from(source), &options)?;
    let part = data.for_evaluation().with_image_spec(image)?;
    part.with_classes(&saved.labels())
        .with_context(|| format!("--data {source}: its classes are not those of the model"))
}

/// What the run was tested on, or else validated on.
fn own(saved: &Saved) -> Result<Part> {
    let Some(project) = saved.project()? else {
        return Err(bad_input(
            "a model alone does not know its data: say what to measure it on with --data SOURCE",
        ));
    };
    let (size, channels) = project.image();
    let data = open(&project.data.source, &OpenOptions { size, channels, checks: Checks::Training })?;
    let spec = SplitSpec {
        validation: project.data.validation_split,
        test: project.data.test_split,
        seed: project.train.seed,
    };
    let splits = data.split(&spec)?;
    let part = match (splits.test, splits.validation) {
        (Some(test), _) => test,
        (None, Some(validation)) => {
            eprintln!("There are no test data: measuring on the validation data.");
            validation
        }
        (None, None) => {
            return Err(bad_input(
                "the run has neither test nor validation data: say what to measure on with --data SOURCE",
            ));
        }
    };
    Ok(part.with_image_spec(saved.image)?.with_classes(&saved.labels())?)
}
