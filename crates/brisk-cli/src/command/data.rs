//! `brisk data`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use brisk_data::{
    Checks, Dataset, GetOptions, OpenOptions, Severity, SourceSpec, check, data_dir, describe, get, known,
    open,
};
use brisk_train::{TaskProgress, Unit};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::exit::BAD_INPUT;
use crate::printer::Printer;

/// Get, check and describe data sets
#[derive(Subcommand)]
pub enum Data {
    List(List),
    Get(Get),
    Check(Check),
    Describe(Describe),
}

/// List the data sets that are known by name
#[derive(Args)]
pub struct List {
    /// A JSON array
    #[arg(long)]
    json: bool,
}

/// Download a known data set, or take it from files that are there already
#[derive(Args)]
pub struct Get {
    /// Its name; see `brisk data list`
    name: String,
    /// The downloaded file, or the folder with the files
    #[arg(long, value_name = "PATH")]
    from: Option<PathBuf>,
}

/// Look for unreadable images, duplicates, the same image in two parts, imbalance, labels out of range
///
/// Exit code 2 if something keeps the data from being used.
#[derive(Args)]
pub struct Check {
    /// A known data set, a folder with a folder for each class, IDX or CIFAR files, or a CSV file
    source: String,
    /// Write all problems to this CSV file
    #[arg(long, value_name = "LIST.csv")]
    output: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Show how many samples there are of each class, and the size and brightness of the images
#[derive(Args)]
pub struct Describe {
    /// A known data set, a folder with a folder for each class, IDX or CIFAR files, or a CSV file
    source: String,
    /// One JSON object
    #[arg(long)]
    json: bool,
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

impl List {
    fn run(self) -> Result<ExitCode> {
        let dir = data_dir()?;
        let here = |k: &brisk_data::Known| k.downloads.is_empty() || dir.join(k.name).is_dir();
        let printer = Printer::new(self.json);
        if self.json {
            let all: Vec<_> = known()
                .iter()
                .map(|k| json!({"name": k.name, "summary": k.summary, "licence": k.licence, "present": here(k)}))
                .collect();
            printer.json(&all)?;
            return Ok(ExitCode::SUCCESS);
        }
        let width = known().iter().map(|k| k.name.len()).max().unwrap_or(0);
        for k in known() {
            let mark = if here(k) { "✓" } else { " " };
            printer.line(format!("{mark} {:<width$}  {} [{}]", k.name, k.summary, k.licence))?;
        }
        printer
            .line(format!("\n✓ is here (folder {}); get others with `brisk data get NAME`", dir.display()))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Get {
    fn run(self) -> Result<ExitCode> {
        let mut bar: Option<(String, TaskProgress)> = None;
        let mut progress = |file: &str, done: u64, total: Option<u64>| {
            if bar.as_ref().is_none_or(|(name, _)| name != file) {
                if let Some((_, mut before)) = bar.take() {
                    before.finish();
                }
                bar = Some((file.into(), TaskProgress::stderr(file, total.unwrap_or(0), Unit::Bytes)));
            }
            if let Some((_, bar)) = &mut bar {
                bar.set(done);
            }
        };
        let place =
            get(&self.name, &mut GetOptions { from: self.from, dir: None, progress: Some(&mut progress) });
        if let Some((_, mut bar)) = bar {
            bar.finish();
        }
        let printer = Printer::text();
        printer.line(format!("{} is in {}", self.name, place?.display()))?;
        printer.line(format!(
            "Use it as `source: {}` in a project, or: brisk data describe {}",
            self.name, self.name
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Check {
    fn run(self) -> Result<ExitCode> {
        let data = opened(&self.source)?;
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
        let report = check(&data, threads);
        Printer::new(self.json).data(&report)?;
        if let Some(path) = &self.output {
            report.write_list(path)?;
            eprintln!("The list of {} problems is in {}", report.problems.len(), path.display());
        }
        Ok(ExitCode::from(if report.worst() == Some(Severity::Error) { BAD_INPUT } else { 0 }))
    }
}

impl Describe {
    fn run(self) -> Result<ExitCode> {
        Printer::new(self.json).data(&describe(&opened(&self.source)?)?)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Data as they are, whatever is wrong with them.
fn opened(source: &str) -> Result<Dataset> {
    let options = OpenOptions { checks: Checks::None, ..OpenOptions::default() };
    Ok(open(&SourceSpec::from(source), &options)?)
}
