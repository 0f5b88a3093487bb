//! The Python environment of the peers: made once under `target/`, made anew when the requirements change.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Installs `bench/peers/requirements.txt` where that has not been done; the path of the interpreter.
pub fn ensure() -> Result<PathBuf> {
    let requirements = root().join("bench/peers/requirements.txt");
    let wanted = fs::read_to_string(&requirements).context("cannot read bench/peers/requirements.txt")?;
    let folder = root().join("target/peers-venv");
    let python = folder.join("bin/python");
    let stamp = folder.join("requirements.installed");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    eprintln!("installing the peers into target/peers-venv (several gigabytes)");
    check(Command::new("python3").args(["-m", "venv"]).arg(&folder))
        .context("cannot make a virtual environment: is python3 with its venv module installed?")?;
    check(Command::new(&python).args(["-m", "pip", "install", "--quiet", "-r"]).arg(&requirements))?;
    fs::write(&stamp, wanted)?;
    Ok(python)
}

/// Runs a command and fails if it does.
pub fn check(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    ensure!(status.success(), "{:?} failed ({status})", command.get_program());
    Ok(())
}
