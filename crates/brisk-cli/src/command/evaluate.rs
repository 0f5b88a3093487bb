//! `brisk evaluate`

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use brisk_data::{
    BatchSize, Checks, Encoder, OpenOptions, Part, Rows, SourceSpec, SplitSpec, TableLoader,
    TableLoaderOptions, TableSpec, open, open_tables,
};
use brisk_eval::{Ready, Takes};
use brisk_train::evaluate_table;
use clap::Args;
use serde_json::{Map, Value, json};

use super::Compute;
use crate::exit::bad_input;
use crate::printer::Printer;
use crate::saved::{image, labels, project};

/// Tokens in a batch of texts, and samples in one of other rows.
const TOKENS: usize = 4096;
const SAMPLES: usize = 128;
const ALONE: &str = "a model alone does not know its data: say what to measure it on with --data SOURCE";
const NOTHING: &str =
    "the run has neither test nor validation data: say what to measure on with --data SOURCE";

/// Measure a trained model: loss, accuracy, and a table of its classes
#[derive(Args)]
pub struct Evaluate {
    /// A run (runs/NAME) or a model folder
    run: PathBuf,
    /// A known data set, a folder with a folder for each class, a CSV file; or a table with the model's columns [default: the run's own
    /// test data]
    #[arg(long, value_name = "SOURCE")]
    data: Option<String>,
    #[command(flatten)]
    compute: Compute,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl Evaluate {
    pub fn run(self) -> Result<ExitCode> {
        let saved = Ready::open(&self.run)?;
        if !matches!(saved.takes, Takes::Pictures(_)) {
            return self.table(saved);
        }
        let part = match &self.data {
            Some(source) => given(&saved, source)?,
            None => own(&saved)?,
        };
        let task = saved.model.task();
        let device = self.compute.device();
        let (report, _) = brisk_train::evaluate(&device, &task, &part, &mut saved.model.state.clone(), 0)?;
        Printer::new(self.json).data(&report)?;
        Ok(ExitCode::SUCCESS)
    }

    fn table(&self, saved: Ready) -> Result<ExitCode> {
        let rows = match &self.data {
            Some(path) => open_tables(&TableSpec::at(path))?.for_evaluation().clone(),
            None => own_rows(&saved)?,
        };
        let Ready { model, features, layouts, .. } = saved;
        if features.targets.is_empty() {
            return Err(bad_input(format!(
                "{}: this model has no output that rows could be compared with",
                self.run.display()
            )));
        }
        let (task, features) = (model.task(), Arc::new(features));
        let batch = match features.texts().next() {
            Some(_) => BatchSize::Tokens(TOKENS),
            None => BatchSize::Samples(SAMPLES),
        };
        let options = TableLoaderOptions { batch, shuffle: false, layouts, ..TableLoaderOptions::default() };
        let loader = TableLoader::new(Encoder::new(features.clone(), rows, true)?, options)?;
        loader.notes()?.messages().iter().for_each(|message| eprintln!("warning: {message}"));
        let device = self.compute.device();
        let measured = evaluate_table(&device, &task, &features, &loader, &mut model.state.clone())?;
        let printer = Printer::new(self.json);
        if let Some(report) = &measured.report {
            printer.data(report)?;
            return Ok(ExitCode::SUCCESS);
        }
        let values: Map<String, Value> =
            measured.values.iter().map(|(n, v)| (n.clone(), (*v).into())).collect();
        if self.json {
            let outputs: Map<String, Value> =
                measured.outputs.iter().map(|(n, o)| (n.clone(), json!(o))).collect();
            printer.json(&json!({"values": values, "outputs": outputs}))?;
            return Ok(ExitCode::SUCCESS);
        }
        for (name, value) in &measured.values {
            printer.line(format!("{name:<24} {value:.4}"))?;
        }
        for (name, output) in &measured.outputs {
            printer.line(format!("\n{name}\n{output}"))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The rows that a run was tested on, or else validated on.
fn own_rows(saved: &Ready) -> Result<Rows> {
    let Some(project) = project(saved)? else { return Err(bad_input(ALONE)) };
    let (set, _) = project.open_table()?;
    match (set.test, set.validation) {
        (Some(test), _) => Ok(test),
        (None, Some(validation)) => {
            eprintln!("There are no test data: measuring on the validation data.");
            Ok(validation)
        }
        (None, None) => Err(bad_input(NOTHING)),
    }
}

/// The test part of any source, its classes matched by name to the model's.
fn given(saved: &Ready, source: &str) -> Result<Part> {
    let image = image(saved)?;
    let options = OpenOptions {
        size: Some([image.height, image.width]),
        channels: Some(image.channels),
        checks: Checks::Evaluation,
    };
    let data = open(&SourceSpec::from(source), &options)?;
    let part = data.for_evaluation().with_image_spec(image)?;
    part.with_classes(&labels(saved))
        .with_context(|| format!("--data {source}: its classes are not those of the model"))
}

/// What the run was tested on, or else validated on.
fn own(saved: &Ready) -> Result<Part> {
    let Some(project) = project(saved)? else {
        return Err(bad_input(ALONE));
    };
    let (size, channels) = project.image();
    let data = open(project.source()?, &OpenOptions { size, channels, checks: Checks::Training })?;
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
            return Err(bad_input(NOTHING));
        }
    };
    Ok(part.with_image_spec(image(saved)?)?.with_classes(&labels(saved))?)
}
