//! `brisk import FILE.keras`

use std::process::ExitCode;

use anyhow::Result;
use brisk_eval::{Difference, ask};
use brisk_format::{load_keras, save_model};
use serde_json::json;

use super::{Import, check};
use crate::printer::Printer;

pub fn run(import: &Import, printer: &Printer) -> Result<ExitCode> {
    let keras = load_keras(&import.path)?;
    let model = keras.saved;
    let device = import.compute.device();
    let differences = match &import.check {
        Some(paths) => {
            Some(check::compare((&paths[0], &paths[1]), |inputs| Ok(ask(&device, &model, inputs)?))?)
        }
        None => None,
    };
    if !import.json {
        printer.line(&keras.report)?;
    }
    if let Some(output) = &import.output {
        save_model(output, &model)?;
        eprintln!("The model is in {}.", output.display());
    }
    let agrees = |all: &Vec<Difference>| all.iter().all(|d| d.within(import.tolerance));
    let good = differences.as_ref().is_none_or(agrees);
    match (import.json, &differences) {
        (true, _) => {
            let layers = keras.report.layers.iter();
            let layers =
                layers.map(|(name, kind, sizes)| json!({"name": name, "type": kind, "output_shape": sizes}));
            printer.json(&json!({
                "layers": layers.collect::<Vec<_>>(),
                "ignored": keras.report.ignored,
                "unused": keras.report.unused,
                "optimizer": keras.training.as_ref().map(|t| &t.optimizer),
                "steps": keras.training.as_ref().map(|t| t.steps),
                "differences": differences,
            }))?;
        }
        (false, Some(all)) => printer.line(check::table(all, import.tolerance))?,
        (false, None) => {}
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
