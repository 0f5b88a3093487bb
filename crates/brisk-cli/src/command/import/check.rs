//! `--check`: whether a converted model says what it said before.

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use brisk_eval::{Difference, ask, differences};
use brisk_format::{SavedModel, load_npz, save_model};
use brisk_runtime::Cpu;

use super::Import;
use crate::exit::bad_input;
use crate::printer::Printer;

impl Import {
    /// How far the model lies from what the other framework said, if that was asked.
    pub fn differences(&self, model: &SavedModel) -> Result<Option<Vec<Difference>>> {
        let Some([inputs, outputs]) = self.check.as_deref() else { return Ok(None) };
        compare(inputs, outputs, &self.compute.device(), model).map(Some)
    }

    /// Writes the model folder, if one was asked for.
    pub fn write(&self, model: &SavedModel) -> Result<()> {
        if let Some(output) = &self.output {
            save_model(output, model)?;
            eprintln!("The model is in {}.", output.display());
        }
        Ok(())
    }

    /// Shows what was compared, and how the program ends.
    pub fn verdict(&self, differences: Option<&[Difference]>, printer: &Printer) -> Result<ExitCode> {
        let all = differences.unwrap_or_default();
        if !self.json && !all.is_empty() {
            printer.line(table(all, self.tolerance))?;
        }
        let good = all.iter().all(|d| d.within(self.tolerance));
        Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// How far each output lies from what the other framework said.
fn compare(inputs: &Path, outputs: &Path, device: &Cpu, model: &SavedModel) -> Result<Vec<Difference>> {
    let (given, expected) = (load_npz(inputs)?, load_npz(outputs)?);
    if expected.is_empty() {
        return Err(bad_input(format!("{}: there are no tensors in it", outputs.display())));
    }
    Ok(differences(&ask(device, model, &given)?, &expected)?)
}

/// A line for each output.
fn table(differences: &[Difference], tolerance: f64) -> String {
    let mut text = String::new();
    for d in differences {
        let verdict = if d.within(tolerance) { "agrees" } else { "DIFFERS" };
        let _ = write!(text, "{verdict:<8} {} {:?}: at most {:.2e} apart", d.output, d.shape, d.largest);
        if d.largest != 0.0 {
            let _ = write!(text, " (at {:?}: expected {}, found {})", d.at, d.expected, d.found);
        }
        text.push('\n');
    }
    text
}
