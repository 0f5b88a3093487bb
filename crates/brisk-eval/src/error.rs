/// What can go wrong while a model is measured or asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A batch whose outputs and labels do not belong together.
    #[error("{outputs} output values do not make {labels} rows of {columns}")]
    Shape {
        /// Number of output values given.
        outputs: usize,
        /// Number of labels given.
        labels: usize,
        /// Values expected for each label.
        columns: usize,
    },
    /// A label that is no class of the model.
    #[error("label {label} of sample {sample} is out of range: the model has {classes} classes (0 to {})", classes.saturating_sub(1))]
    LabelOutOfRange {
        /// The offending label.
        label: u32,
        /// Its position among all samples seen so far.
        sample: u64,
        /// Number of classes.
        classes: usize,
    },
    /// Two accumulators that measure different things were merged.
    #[error("cannot merge metrics over {left} classes with metrics over {right}")]
    Merge {
        /// Classes (or outputs) of the accumulator merged into.
        left: usize,
        /// Classes (or outputs) of the other one.
        right: usize,
    },
    /// Something in the model is wrong.
    #[error(transparent)]
    Model(#[from] brisk_nn::Error),
    /// A model cannot be read.
    #[error(transparent)]
    Format(#[from] brisk_format::Error),
    /// A model that cannot be asked.
    #[error("{place}: {message}")]
    NotReady {
        /// Its file or folder.
        place: String,
        /// What is wrong, and what to do.
        message: String,
    },
    /// Something in the data is wrong.
    #[error(transparent)]
    Data(#[from] brisk_data::Error),
    /// A program could not be compiled or run.
    #[error(transparent)]
    Runtime(#[from] brisk_runtime::Error),
}

impl From<brisk_graph::Error> for Error {
    fn from(error: brisk_graph::Error) -> Error {
        Error::Runtime(error.into())
    }
}

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
