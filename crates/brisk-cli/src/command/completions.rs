//! `brisk completions`

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use clap_complete::{Shell, generate};

use crate::printer::Printer;

/// Print a script that completes brisk's commands in a shell: source <(brisk completions bash)
#[derive(Args)]
pub struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub fn run(self) -> Result<ExitCode> {
        let mut script = Vec::new();
        generate(self.shell, &mut crate::definition(), "brisk", &mut script);
        Printer::text().line(String::from_utf8_lossy(&script))?;
        Ok(ExitCode::SUCCESS)
    }
}
