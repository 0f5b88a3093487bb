//! `brisk key`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use brisk_serve::{Keys, Scope};
use clap::{Args, ValueEnum};

use crate::printer::Printer;

/// Make an API key for `brisk serve`: it is shown once, and stored as a hash
#[derive(Args)]
pub struct Key {
    /// Who gets it
    name: String,
    /// The file of keys; made if it is not there
    #[arg(long, value_name = "F", env = "BRISK_API_KEY_FILE")]
    file: PathBuf,
    /// What it is for
    #[arg(long, value_enum, value_delimiter = ',', default_value = "infer")]
    scopes: Vec<Purpose>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Purpose {
    /// Asking models
    Infer,
    /// Loading, unloading, moving aliases
    Admin,
}

impl Key {
    pub fn run(self) -> Result<ExitCode> {
        let scope = |p: &Purpose| match p {
            Purpose::Infer => Scope::Infer,
            Purpose::Admin => Scope::Admin,
        };
        let scopes: Vec<Scope> = self.scopes.iter().map(scope).collect();
        let key = Keys::add(&self.file, &self.name, &scopes)?;
        Printer::text().line(key)?;
        eprintln!("This key is not shown again.");
        Ok(ExitCode::SUCCESS)
    }
}
