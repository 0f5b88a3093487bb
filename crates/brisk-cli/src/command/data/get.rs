//! `brisk data get`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use brisk_data::{GetOptions, get};
use brisk_train::{TaskProgress, Unit};
use clap::Args;

use crate::printer::Printer;

/// Download a known data set, or take it from files that are there already
#[derive(Args)]
pub struct Get {
    /// Its name; see `brisk data list`
    name: String,
    /// The downloaded file, or the folder with the files
    #[arg(long, value_name = "PATH")]
    from: Option<PathBuf>,
}

impl Get {
    pub fn run(self) -> Result<ExitCode> {
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
        let mut options = GetOptions { from: self.from, dir: None, progress: Some(&mut progress) };
        let place = get(&self.name, &mut options);
        if let Some((_, mut bar)) = bar {
            bar.finish();
        }
        let (name, place) = (self.name, place?);
        Printer::text().line(format!(
            "{name} is in {}\nUse it as `source: {name}` in a project; look at it with: brisk data describe {name}",
            place.display()
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}
