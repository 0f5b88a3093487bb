//! `brisk data`

mod check;
mod describe;
mod get;
mod list;

use std::process::ExitCode;

use anyhow::Result;
use brisk_data::{
    Checks, Dataset, Error, OpenOptions, SourceSpec, TableFormat, TableSet, TableSpec, open, open_tables,
};
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
    /// A known data set, a folder with a folder for each class, IDX or CIFAR files, a CSV file; or a table (.csv, .tsv, .jsonl)
    source: String,
}

impl Source {
    /// As they are, whatever is wrong with them. What is no list of pictures may be a table.
    fn open(&self) -> Result<Opened> {
        let options = OpenOptions { checks: Checks::None, ..OpenOptions::default() };
        let table = || open_tables(&TableSpec::at(&self.source));
        match open(&SourceSpec::from(self.source.as_str()), &options) {
            Ok(images) => Ok(Opened::Images(images)),
            Err(Error::Column { .. }) => Ok(Opened::Table(table()?)),
            Err(_) if TableFormat::of(self.source.as_ref()).is_some_and(|f| f != TableFormat::Csv) => {
                Ok(Opened::Table(table()?))
            }
            Err(error @ Error::UnknownKind { .. }) => Ok(Opened::Table(table().map_err(|_| error)?)),
            Err(error) => Err(error.into()),
        }
    }
}

/// Data that are open.
enum Opened {
    Images(Dataset),
    Table(TableSet),
}
