//! `brisk import FILE.keras`

use std::process::ExitCode;

use anyhow::Result;
use brisk_format::load_keras;
use serde_json::json;

use super::Import;
use crate::printer::Printer;

pub fn run(import: &Import, printer: &Printer) -> Result<ExitCode> {
    let keras = load_keras(&import.path)?;
    let model = keras.saved;
    let differences = import.differences(&model)?;
    if !import.json {
        printer.line(&keras.report)?;
    }
    import.write(&model)?;
    if import.json {
        let layers = keras.report.layers.iter();
        let layers =
            layers.map(|(name, kind, sizes)| json!({"name": name, "type": kind, "output_shape": sizes}));
        printer.json(&json!({
            "layers": layers.collect::<Vec<_>>(),
            "logits": keras.report.logits,
            "ignored": keras.report.ignored,
            "unused": keras.report.unused,
            "optimizer": keras.training.as_ref().map(|t| &t.optimizer),
            "steps": keras.training.as_ref().map(|t| t.steps),
            "differences": differences,
        }))?;
    }
    import.verdict(differences.as_deref(), printer)
}
