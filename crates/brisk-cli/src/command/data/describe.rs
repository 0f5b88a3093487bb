//! `brisk data describe`

use std::process::ExitCode;

use anyhow::Result;
use brisk_data::describe;
use clap::Args;

use super::Source;
use crate::printer::Printer;

/// Show how many samples there are of each class, and the size and brightness of the images
#[derive(Args)]
pub struct Describe {
    #[command(flatten)]
    source: Source,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl Describe {
    pub fn run(self) -> Result<ExitCode> {
        Printer::new(self.json).data(&describe(&self.source.open()?)?)?;
        Ok(ExitCode::SUCCESS)
    }
}
