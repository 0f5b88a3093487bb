//! From errors to a message and an exit code.

use std::io::{ErrorKind::*, IsTerminal};
use std::process::ExitCode;

use crate::printer::plain;

/// Failed: the machine is to blame, or the training did not come to anything.
pub const FAILED: u8 = 1;
/// Bad usage or bad input.
pub const BAD_INPUT: u8 = 2;
/// Stopped by Ctrl-C or a request to terminate.
pub const INTERRUPTED: u8 = 130;

/// Something wrong with what the user asked for, found by the command line itself.
#[derive(Debug)]
pub struct BadInput(pub String);

impl std::fmt::Display for BadInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadInput {}

/// An error that is the input's fault.
pub fn bad_input(message: impl Into<String>) -> anyhow::Error {
    BadInput(message.into()).into()
}

/// Writes an error to stderr; the exit code for it.
pub fn report(error: &anyhow::Error) -> ExitCode {
    error_line(error);
    ExitCode::from(code(error))
}

/// Writes an error to stderr.
pub fn error_line(error: &anyhow::Error) {
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let head = if colour { "\x1b[1;31merror:\x1b[0m" } else { "error:" };
    eprintln!("{head} {}", plain(&message(error)));
}

/// The error and its causes in one paragraph. A cause that the message before it repeats is left out.
pub fn message(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if cause.starts_with(&text) {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// 1 or 2: who is to blame.
pub fn code(error: &anyhow::Error) -> u8 {
    let bad_input = error.chain().find_map(|cause| {
        if cause.is::<BadInput>()
            || cause.is::<brisk_nn::Error>()
            || cause.is::<brisk_onnx::Error>()
            || cause.is::<brisk_runtime::Error>()
        {
            return Some(true);
        }
        if let Some(e) = cause.downcast_ref::<brisk_train::Error>() {
            return Some(e.is_bad_input());
        }
        if let Some(e) = cause.downcast_ref::<brisk_data::Error>() {
            return Some(e.is_bad_input());
        }
        if let Some(e) = cause.downcast_ref::<brisk_format::Error>() {
            return Some(!e.is_io());
        }
        if let Some(e) = cause.downcast_ref::<brisk_eval::Error>() {
            return Some(match e {
                brisk_eval::Error::Data(e) => e.is_bad_input(),
                brisk_eval::Error::Format(e) => !e.is_io(),
                _ => true,
            });
        }
        if let Some(e) = cause.downcast_ref::<brisk_registry::Error>() {
            return Some(e.is_bad_input());
        }
        if let Some(e) = cause.downcast_ref::<brisk_serve::Error>() {
            return Some(match e {
                brisk_serve::Error::Listen { .. } => false,
                brisk_serve::Error::Setup(e) => e.kind() != StorageFull,
                brisk_serve::Error::Repository(e) => e.is_bad_input(),
                brisk_serve::Error::Models(fault) => fault.kind != brisk_serve::FaultKind::Unavailable,
                _ => true,
            });
        }
        let io = cause.downcast_ref::<std::io::Error>()?;
        Some(matches!(
            io.kind(),
            NotFound | PermissionDenied | IsADirectory | NotADirectory | AlreadyExists | InvalidData
        ))
    });
    if bad_input == Some(true) { BAD_INPUT } else { FAILED }
}

#[cfg(test)]
mod tests {
    use std::io::Error;

    use anyhow::Context;

    use super::*;

    #[test]
    fn a_full_disk_is_1_and_bad_input_2() {
        let full = brisk_data::Error::Io { path: "x".into(), source: StorageFull.into() };
        assert_eq!(code(&full.into()), FAILED);
        assert_eq!(code(&Error::from(StorageFull).into()), FAILED);
        let wrong = brisk_train::Project::parse("modle: {}", "x.yaml").map(|_| ()).unwrap_err();
        assert_eq!(code(&anyhow::Error::from(wrong).context("cannot train")), BAD_INPUT);
        assert_eq!(code(&bad_input("no")), BAD_INPUT);
    }

    #[test]
    fn causes_are_not_repeated() {
        let inner = brisk_data::Error::Io { path: "x".into(), source: StorageFull.into() };
        let text = message(&Err::<(), _>(inner).context("cannot save").unwrap_err());
        assert!(text.starts_with("cannot save: x: "), "{text}");
        assert_eq!(text.matches("storage").count(), 1, "{text}");
    }
}
