//! `brisk data describe`

use std::process::ExitCode;

use anyhow::Result;
use brisk_data::{describe, describe_table};
use clap::Args;

use super::{Opened, Source};
use crate::printer::Printer;

/// Show how many samples there are of each class, and the size and brightness of the images; of a table its columns
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
        let printer = Printer::new(self.json);
        match self.source.open()? {
            Opened::Images(images) => printer.data(&describe(&images)?)?,
            Opened::Table(table) => printer.data(&describe_table(&table)?)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
