//! What can go wrong while models and checkpoints are kept or read.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A result of saving or loading.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong while models and checkpoints are kept or read: where, what was expected, what was found, and what
/// to do.
///
/// ```
/// let error = brisk_format::load_model("no/such/model".as_ref()).unwrap_err();
/// assert!(error.to_string().starts_with("no/such/model: there is no such folder"));
/// assert!(!error.is_io()); // the fault of whoever gave the path
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The machine failed: a full disk, a file that may not be read.
    #[error("{path}: cannot be {action}: {source}{}", remedy(source, action), path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was done to it: `read`, `written`.
        action: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// There is nothing of the kind that was asked for.
    #[error("{path}: {found}; expected {expected}{}", optional(hint), path = path.display())]
    NotFound {
        /// The path that was given.
        path: PathBuf,
        /// What should be there.
        expected: &'static str,
        /// What is there.
        found: String,
        /// What to do; may be empty.
        hint: String,
    },
    /// The bytes are not those that were written.
    #[error("{path}: damaged: {found}; {remedy}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was expected and what was found.
        found: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A later version of Brisk made it.
    #[error("{path}: written by a newer Brisk (format {found}, this one reads {known}): update Brisk", path = path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format version.
        found: u64,
        /// The latest version that can be read.
        known: u32,
    },
    /// A safetensors file breaks the rules of its format.
    #[error("{path}: not a sound safetensors file: {found}; export it again, or download it again", path = path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// What was expected and what was found.
        found: String,
    },
    /// A file of another framework breaks the rules of its format.
    #[error("{path}: not a sound {format}: {found}; export it again, or download it again", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should be.
        format: &'static str,
        /// Where, what was expected and what was found.
        found: String,
    },
    /// Tensors are not those that the model has.
    #[error("{path}: its tensors do not fit the model: {}; use the file that was saved with this model", listed(problems), path = path.display())]
    Tensors {
        /// The file.
        path: PathBuf,
        /// Each tensor that does not fit.
        problems: Vec<TensorProblem>,
    },
    /// The file is whole, but says something that this Brisk cannot use: an unknown layer, a missing key.
    #[error("{path}: {message}", path = path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What was expected, what was found, and what to do.
        message: String,
    },
    /// What should be saved cannot be.
    #[error("{path}: not saved: {message}", path = path.display())]
    Unsaved {
        /// Where it should go.
        path: PathBuf,
        /// What was expected, what was found, and what to do.
        message: String,
    },
}

impl Error {
    /// True if the machine is to blame (a full disk, a file that may not be read), and trying again later may help.
    /// False if the input is.
    pub fn is_io(&self) -> bool {
        matches!(self, Error::Io { .. })
    }

    /// The kind of the system's error, if it is one.
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Error::Io { source, .. } => Some(source.kind()),
            _ => None,
        }
    }

    pub(crate) fn write(path: &Path) -> impl Fn(io::Error) -> Error {
        move |source| Error::Io { path: path.into(), action: "written", source }
    }

    pub(crate) fn read(path: &Path) -> impl Fn(io::Error) -> Error {
        move |source| Error::Io { path: path.into(), action: "read", source }
    }

    pub(crate) fn content(path: &Path, message: impl fmt::Display) -> Error {
        Error::Content { path: path.into(), message: message.to_string() }
    }

    pub(crate) fn unsaved(path: &Path, message: impl Into<String>) -> Error {
        Error::Unsaved { path: path.into(), message: message.into() }
    }
}

/// A tensor that is missing, unexpected, or of another type or shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorProblem {
    /// Its name.
    pub name: String,
    /// The type and shape that the model has; `None` if it has no such tensor.
    pub expected: Option<String>,
    /// The type and shape in the file; `None` if it is not there.
    pub found: Option<String>,
}

impl fmt::Display for TensorProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.expected, &self.found) {
            (Some(expected), Some(found)) => {
                write!(f, "{:?} should be {expected}, found {found}", self.name)
            }
            (Some(expected), None) => write!(f, "{:?} ({expected}) is missing", self.name),
            (None, Some(found)) => write!(f, "{:?} ({found}) is unexpected", self.name),
            (None, None) => write!(f, "{:?}", self.name),
        }
    }
}

/// The first few of a list, and how many more there are.
pub(crate) fn listed<T: fmt::Display>(items: &[T]) -> String {
    const MOST: usize = 8;
    let mut text: Vec<String> = items.iter().take(MOST).map(T::to_string).collect();
    if items.len() > MOST {
        text.push(format!("and {} more", items.len() - MOST));
    }
    text.join(", ")
}

/// A text of a file in quotes, cut where it is longer than a message should be.
pub(crate) fn quoted(text: &str) -> String {
    const MOST: usize = 80;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{:?}...", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

fn optional(hint: &str) -> String {
    if hint.is_empty() { String::new() } else { format!("; {hint}") }
}

fn remedy(source: &io::Error, action: &str) -> &'static str {
    use io::ErrorKind::*;
    match source.kind() {
        StorageFull | QuotaExceeded | FileTooLarge => {
            "; free some space and try again (what was saved before is unchanged)"
        }
        PermissionDenied | ReadOnlyFilesystem if action == "written" => {
            "; change the folder's permissions, or choose another one"
        }
        PermissionDenied => "; change its permissions",
        _ => "",
    }
}
