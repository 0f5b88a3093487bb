//! `brisk data list`

use std::process::ExitCode;

use anyhow::Result;
use brisk_data::{Known, data_dir, known};
use clap::Args;
use serde_json::json;

use crate::printer::Printer;

/// List the data sets that are known by name
#[derive(Args)]
pub struct List {
    /// A JSON array
    #[arg(long)]
    json: bool,
}

impl List {
    pub fn run(self) -> Result<ExitCode> {
        let dir = data_dir()?;
        let here = |k: &Known| k.downloads.is_empty() || dir.join(k.name).is_dir();
        let printer = Printer::new(self.json);
        if self.json {
            let one = |k: &Known| json!({"name": k.name, "summary": k.summary, "licence": k.licence, "present": here(k)});
            printer.json(&known().iter().map(one).collect::<Vec<_>>())?;
            return Ok(ExitCode::SUCCESS);
        }
        let width = known().iter().map(|k| k.name.len()).max().unwrap_or(0);
        for k in known() {
            let mark = if here(k) { "✓" } else { " " };
            printer.line(format!("{mark} {:<width$}  {} [licence: {}]", k.name, k.summary, k.licence))?;
        }
        printer.line(format!("\n✓ is here, in {}; get others with `brisk data get NAME`", dir.display()))?;
        Ok(ExitCode::SUCCESS)
    }
}
