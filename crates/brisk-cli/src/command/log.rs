//! The log of commands that run for long: stderr, and traces where OpenTelemetry is configured.

use std::io::IsTerminal;

use anyhow::Result;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::prelude::*;

use crate::exit::bad_input;

/// What must be kept until the end, so that nothing is lost.
pub struct Log;

/// Starts the log.
pub fn start(level: &str, json: bool) -> Result<Log> {
    let filter = EnvFilter::try_new(level).map_err(|e| {
        bad_input(format!("--log: {e}; expected error, warn, info, debug, or `target=level`"))
    })?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    match json {
        true => registry.with(lines.json().flatten_event(true)).init(),
        false => registry.with(lines.with_ansi(std::io::stderr().is_terminal()).with_target(false)).init(),
    }
    Ok(Log)
}
