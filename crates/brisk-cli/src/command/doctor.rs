//! `brisk doctor`
//! (thin for now)

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

/// Look at this machine: processor, threads, memory, measured speed, data, and what is missing
#[derive(Args)]
pub struct Doctor {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub fn run(self) -> Result<ExitCode> {
        Ok(ExitCode::SUCCESS)
    }
}
