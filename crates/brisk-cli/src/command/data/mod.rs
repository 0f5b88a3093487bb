//! `brisk data`

mod check;
mod describe;
mod get;
mod list;

use std::process::ExitCode;

use anyhow::Result;
use brisk_data::{Checks, Dataset, OpenOptions, SourceSpec, open};
use clap::{Args, Subcommand};

/// Get, check and describe data sets
#[derive(Subcommand)]
pub enum Data {
    List(list::List),
    Get(get::Get),
    Check(check::Check),
    Describe(describe::Describe),
}

impl Data {
    pub fn run(self) -> Result<ExitCode> {
        match self {
            Data::List(c) => c.run(),
            Data::Get(c) => c.run(),
            Data::Check(c) => c.run(),
            Data::Describe(c) => c.run(),
        }
    }
}

/// Data to look at.
#[derive(Args)]
struct Source {
    /// A known data set, a folder with a folder for each class, IDX or CIFAR files, or a CSV file
    source: String,
}

impl Source {
    /// As they are, whatever is wrong with them.
    fn open(&self) -> Result<Dataset> {
        let options = OpenOptions { checks: Checks::None, ..OpenOptions::default() };
        Ok(open(&SourceSpec::from(self.source.as_str()), &options)?)
    }
}
