//! `brisk import FILE.pt --into MODEL`

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use brisk_eval::open_model;
use brisk_format::{LoadReport, SavedModel, TorchFile, WeightRule};
use brisk_nn::{Loss, Task};
use brisk_runtime::State;
use brisk_train::Project;
use serde_json::json;

use super::Import;
use crate::command::summary;
use crate::exit::bad_input;
use crate::printer::Printer;

pub fn run(import: &Import, printer: &Printer) -> Result<ExitCode> {
    let file = TorchFile::open(&import.path)?;
    let tensors = file.state_dict(import.key.as_deref())?;
    let Some(into) = &import.into else { return contents(import, &file, printer) };
    let mut model = target(into)?;
    // All of it is replaced, and need not stand beside what comes.
    model.state = State::default();
    let rules = import.rename.iter().map(|rule| rule.parse::<WeightRule>().map_err(bad_input));
    let rules = rules.collect::<Result<Vec<_>>>()?;
    let (state, report) = tensors.load_state(&model.model, &rules)?;
    if !report.fresh.is_empty() && import.output.is_some() {
        return Err(missing(&report));
    }
    model.state = state;
    let differences = if report.fresh.is_empty() { import.differences(&model)? } else { None };
    import.write(&model)?;
    if import.json {
        printer.json(&json!({
            "state_dict": tensors.key(),
            "loaded": report.loaded.iter().map(|(ours, theirs)| json!({"name": ours, "from": theirs})).collect::<Vec<_>>(),
            "ignored": report.ignored.iter().map(|(n, why)| json!({"name": n, "reason": why})).collect::<Vec<_>>(),
            "reordered": report.reordered.iter().map(|(n, why)| json!({"name": n, "reason": why})).collect::<Vec<_>>(),
            "unexpected": report.unexpected,
            "missing": report.fresh.iter().map(|(n, s)| json!({"name": n, "shape": s.dims()})).collect::<Vec<_>>(),
            "differences": differences,
        }))?;
    } else {
        printer.line(report)?;
    }
    import.verdict(differences.as_deref(), printer)
}

fn missing(report: &LoadReport) -> anyhow::Error {
    bad_input(format!(
        "nothing is written, as some parameters have no counterpart in the file:\n{report}\nsay which is which with --rename \"THEIRS -> OURS\""
    ))
}

/// The model that the tensors are for.
fn target(into: &str) -> Result<SavedModel> {
    let path = Path::new(into);
    if path.is_dir() {
        return Ok(open_model(path)?);
    }
    let task = match path.is_file() {
        true => {
            Project::load(path, &[])?.prepare().with_context(|| format!("{into} cannot be prepared"))?.task
        }
        false => Task::new(summary::model(into)?, Loss::sparse_categorical_crossentropy()),
    };
    let state = task.model.init_state(0)?;
    Ok(SavedModel::new(&task, &state))
}

/// What is in a file.
fn contents(import: &Import, file: &TorchFile, printer: &Printer) -> Result<ExitCode> {
    if import.output.is_some() || import.check.is_some() {
        return Err(bad_input(
            "a checkpoint of PyTorch holds tensors, but not what is computed with them; name the model that they are for: --into \
             MODEL (a model folder, a project, or a preset)",
        ));
    }
    let shapes: Vec<_> = file
        .names()
        .map(|n| (n, file.dtype(n).map(|d| d.to_string()), file.shape(n).map(|s| s.to_vec())))
        .collect();
    if import.json {
        let each = shapes.iter().map(|(n, d, s)| json!({"name": n, "dtype": d, "shape": s}));
        printer.json(&json!({ "tensors": each.collect::<Vec<_>>() }))?;
        return Ok(ExitCode::SUCCESS);
    }
    for (name, dtype, shape) in shapes {
        printer.line(format!("{name}  {} {:?}", dtype.unwrap_or_default(), shape.unwrap_or_default()))?;
    }
    Ok(ExitCode::SUCCESS)
}
