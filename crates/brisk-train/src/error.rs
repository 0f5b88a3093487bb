//! What can go wrong in training.

use std::path::PathBuf;

/// A result of training.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in training.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The project file is wrong.
    #[error("{place}: {message}")]
    Project {
        /// The file with line and column, or the override.
        place: String,
        /// What is wrong, what was expected, what to do.
        message: String,
    },
    /// Something in the model is wrong.
    #[error(transparent)]
    Model(#[from] brisk_nn::Error),
    /// Something in the data is wrong.
    #[error(transparent)]
    Data(#[from] brisk_data::Error),
    /// A checkpoint or model cannot be read or written.
    #[error(transparent)]
    Format(#[from] brisk_format::Error),
    /// A measure could not be taken.
    #[error(transparent)]
    Eval(#[from] brisk_eval::Error),
    /// A program could not be compiled or run.
    #[error(transparent)]
    Runtime(#[from] brisk_runtime::Error),
    /// The loss is no longer a number.
    #[error(
        "epoch {epoch}, step {step}: the loss is {value}; {cause}. The weights of the step before are kept. Try a lower learning_rate, clipnorm, or look for such values in the data"
    )]
    Diverged {
        /// From 1.
        epoch: usize,
        /// From 1, in the epoch.
        step: usize,
        /// NaN or an infinity.
        value: f32,
        /// The first tensor that went bad.
        cause: String,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A run folder that cannot be used as asked.
    #[error("{path}: {message}")]
    Run {
        /// The folder.
        path: PathBuf,
        /// What is wrong, and what to do.
        message: String,
    },
}

impl From<brisk_graph::Error> for Error {
    fn from(error: brisk_graph::Error) -> Error {
        Error::Runtime(error.into())
    }
}

impl Error {
    /// True if the user's input is at fault, false if the machine is (a full disk).
    ///
    /// ```
    /// let error = brisk_train::Project::parse("modle: {}", "x.yaml").unwrap_err();
    /// assert!(error.is_bad_input());
    /// ```
    pub fn is_bad_input(&self) -> bool {
        match self {
            Error::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
            Error::Format(error) => !error.is_io(),
            Error::Data(error) => error.is_bad_input(),
            Error::Diverged { .. } => false,
            _ => true,
        }
    }

    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        |source| Error::Io { path, source }
    }
}
