//! `brisk schema`

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::printer::Printer;

/// Print the JSON Schema of project files, for editors that complete and check YAML
#[derive(Args)]
pub struct Schema {}

impl Schema {
    pub fn run(self) -> Result<ExitCode> {
        Printer::text().json(&schemars::schema_for!(brisk_train::Project))?;
        Ok(ExitCode::SUCCESS)
    }
}
