//! `brisk data check`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use brisk_data::{Severity, check, describe_table};
use clap::Args;

use super::{Opened, Source};
use crate::exit::{BAD_INPUT, bad_input};
use crate::printer::Printer;

/// Look for unreadable images, duplicates, the same image in two parts, imbalance, labels out of range
///
/// Of a table: rows that cannot be read, missing values, duplicates, the same row in two parts. Exit code 2 if something keeps the data
/// from being used.
#[derive(Args)]
pub struct Check {
    #[command(flatten)]
    source: Source,
    /// Write all problems to this CSV file
    #[arg(long, value_name = "LIST.csv")]
    output: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl Check {
    pub fn run(self) -> Result<ExitCode> {
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
        let images = match self.source.open()? {
            Opened::Images(images) => images,
            Opened::Table(_) if self.output.is_some() => {
                return Err(bad_input(
                    "--output is for the problems of pictures; those of a table are shown in full",
                ));
            }
            Opened::Table(table) => {
                Printer::new(self.json).data(&describe_table(&table)?)?;
                return Ok(ExitCode::SUCCESS);
            }
        };
        let report = check(&images, threads);
        Printer::new(self.json).data(&report)?;
        if let Some(path) = &self.output {
            report.write_list(path)?;
            eprintln!("The list of problems ({}) is in {}", report.problems.len(), path.display());
        }
        Ok(ExitCode::from(if report.worst() == Some(Severity::Error) { BAD_INPUT } else { 0 }))
    }
}
