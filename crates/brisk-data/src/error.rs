//! What can go wrong with data: each error says where, what was expected, what was found, and what to do.

use std::io;
use std::path::{Path, PathBuf};

/// The result of anything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error that names the place and the remedy.
///
/// ```
/// let error = brisk_data::open(&"no/such/folder".into(), &Default::default()).unwrap_err();
/// assert!(error.to_string().contains("no/such/folder"));
/// assert!(error.is_bad_input());
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder is not there.
    #[error("{path}: not found. {remedy}")]
    Missing {
        /// The path, as it was looked up.
        path: PathBuf,
        /// What to do.
        remedy: String,
    },
    /// A name that is neither a known data set nor a path.
    #[error("unknown data set `{name}`{}. Known: {}; or give the path of a file or folder", did_you_mean(.suggestion), .known.join(", "))]
    UnknownName {
        /// The name.
        name: String,
        /// The nearest known name.
        suggestion: Option<String>,
        /// All known names.
        known: Vec<String>,
    },
    /// A folder or file whose layout is none of the known ones.
    #[error(
        "{path}: cannot tell what kind of data this is: {found}. Expected {expected}; or say it with `kind:`"
    )]
    UnknownKind {
        /// The path.
        path: PathBuf,
        /// What was looked for.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A configuration value that makes no sense.
    #[error("{key}: {found} is not possible: {expected}")]
    Config {
        /// The key.
        key: String,
        /// Its value.
        found: String,
        /// What is allowed.
        expected: String,
    },
    /// The operating system refused to read or write.
    #[error("{path}: {source}")]
    Io {
        /// The path.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A file ends too early.
    #[error("{path}: truncated: {what} needs {expected} bytes, only {found} are there. Get the file again")]
    Truncated {
        /// The file.
        path: PathBuf,
        /// The part of the file that is cut off.
        what: String,
        /// Bytes that should be there.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// A file has more bytes than its header promises.
    #[error(
        "{path}: {found} bytes where the header promises {expected}. The file is damaged or of another format"
    )]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Bytes promised.
        expected: u64,
        /// Bytes found.
        found: u64,
    },
    /// The first bytes are not those of the format.
    #[error(
        "{path}: offset 0: expected {expected}, found {found}. This is not such a file, or it is damaged"
    )]
    Magic {
        /// The file.
        path: PathBuf,
        /// What the first bytes should be.
        expected: String,
        /// What they are.
        found: String,
    },
    /// A gzip stream is damaged.
    #[error("{path}: damaged gzip data after {offset} unpacked bytes: {reason}. Get the file again")]
    Gzip {
        /// The file.
        path: PathBuf,
        /// Unpacked bytes before the damage.
        offset: u64,
        /// What the decompressor says.
        reason: String,
    },
    /// As many labels as images are needed.
    #[error(
        "{images_path} holds {images} images, but {labels_path} {labels} labels. Both must come from the same part of the same data set"
    )]
    CountMismatch {
        /// File of the images.
        images_path: PathBuf,
        /// Number of images.
        images: usize,
        /// File of the labels.
        labels_path: PathBuf,
        /// Number of labels.
        labels: usize,
    },
    /// No samples at all.
    #[error("{place}: no samples. {remedy}")]
    Empty {
        /// Where samples were expected.
        place: String,
        /// What to do.
        remedy: String,
    },
    /// A class that no training sample belongs to.
    #[error("{place}: class `{class}` has no samples. Add samples, or remove the class")]
    EmptyClass {
        /// Where.
        place: String,
        /// The class.
        class: String,
    },
    /// A label that names no class.
    #[error("{place}: label {label} is out of range: there are {classes} classes, 0 to {}. Correct the label, or name more classes", .classes.saturating_sub(1))]
    LabelRange {
        /// File and sample, with line or offset.
        place: String,
        /// The label.
        label: String,
        /// Number of classes.
        classes: usize,
    },
    /// A class name that is not among the known ones.
    #[error("{place}: unknown class `{label}`{}. Known: {}", did_you_mean(.suggestion), abbreviate(.known))]
    UnknownClass {
        /// File and line.
        place: String,
        /// The class.
        label: String,
        /// The nearest known class.
        suggestion: Option<String>,
        /// The known classes.
        known: Vec<String>,
    },
    /// An image that cannot be decoded.
    #[error(
        "{place}: not a readable image: {reason}. Replace or remove it (`brisk data check` lists all such files)"
    )]
    Image {
        /// The file, or the file and the place in it.
        place: String,
        /// What the decoder says.
        reason: String,
    },
    /// An image, or a file, larger than the limits that protect memory.
    #[error("{place}: {found}, the limit is {limit}. Make it smaller, or remove it")]
    TooLarge {
        /// The file.
        place: String,
        /// Its size.
        found: String,
        /// The limit.
        limit: String,
    },
    /// A CSV file without a column that is needed.
    #[error("{path}: line 1: no column `{column}`{}. Columns found: {}", did_you_mean(.suggestion), .found.join(", "))]
    Column {
        /// The file.
        path: PathBuf,
        /// The column that was looked for.
        column: String,
        /// The nearest column.
        suggestion: Option<String>,
        /// The columns of the file.
        found: Vec<String>,
    },
    /// A CSV line that cannot be read.
    #[error("{path}: line {line}: {reason}")]
    Csv {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A row of a table that cannot be read or used.
    #[error("{place}{}: {reason}", .column.as_ref().map(|c| format!(", column `{c}`")).unwrap_or_default())]
    Row {
        /// File, row and line.
        place: String,
        /// The column, if it is about one.
        column: Option<String>,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A table without a column that is needed.
    #[error("{place}: no column `{column}`{}. Columns found: {}", did_you_mean(.suggestion), abbreviate(.found))]
    NoColumn {
        /// The file or files.
        place: String,
        /// The column that was looked for.
        column: String,
        /// The nearest column.
        suggestion: Option<String>,
        /// The columns of the table.
        found: Vec<String>,
    },
    /// A tokenizer that cannot be read, trained or used.
    #[error("{place}: {reason}")]
    Tokenizer {
        /// The file, or the feature.
        place: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A tokenizer that knows more tokens than a model.
    #[error(
        "the tokenizer has {tokenizer} tokens, but the model's embedding only {model} rows. They do not belong together: take the tokenizer that the model was trained with"
    )]
    VocabularySize {
        /// Tokens of the tokenizer.
        tokenizer: usize,
        /// Rows of the model's embedding.
        model: usize,
    },
    /// A file that is not what its checksum says.
    #[error(
        "{path}: wrong checksum: expected {expected}, found {found}. The file is damaged or another version: get it again"
    )]
    Checksum {
        /// The file.
        path: PathBuf,
        /// The right checksum.
        expected: String,
        /// The checksum of the file.
        found: String,
    },
    /// A download failed.
    #[error("cannot download {url}: {reason}. {remedy}")]
    Download {
        /// The address.
        url: String,
        /// Why.
        reason: String,
        /// What to do by hand.
        remedy: String,
    },
    /// A loader thread died: a defect of the program, not of the data.
    #[error("a data loading thread stopped unexpectedly in batch {batch}; please report this")]
    Worker {
        /// The batch that is missing.
        batch: usize,
    },
    /// A tensor could not be made.
    #[error(transparent)]
    Tensor(#[from] brisk_graph::Error),
}

impl Error {
    /// An I/O error at a path; a missing file gets its own message.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| match source.kind() {
            io::ErrorKind::NotFound => {
                Error::Missing { remedy: format!("Check the path{}", here(&path)), path }
            }
            _ => Error::Io { path, source },
        }
    }

    /// True if the user's files, names or settings are at fault; false for a full disk, a network
    /// or a defect of the program.
    ///
    /// ```
    /// use brisk_data::Error;
    /// assert!(Error::Empty { place: "here".into(), remedy: "Add some.".into() }.is_bad_input());
    /// assert!(!Error::Worker { batch: 3 }.is_bad_input());
    /// ```
    pub fn is_bad_input(&self) -> bool {
        match self {
            Error::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::PermissionDenied
                    | io::ErrorKind::InvalidInput
                    | io::ErrorKind::InvalidData
                    | io::ErrorKind::UnexpectedEof
                    | io::ErrorKind::IsADirectory
                    | io::ErrorKind::NotADirectory
            ),
            Error::Download { .. } | Error::Worker { .. } | Error::Tensor(_) => false,
            _ => true,
        }
    }
}

/// Says which folder a relative path starts from.
fn here(path: &Path) -> String {
    match std::env::current_dir() {
        Ok(dir) if path.is_relative() => format!(" (it is relative to {})", dir.display()),
        _ => String::new(),
    }
}

fn did_you_mean(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map(|s| format!(" (did you mean `{s}`?)")).unwrap_or_default()
}

fn abbreviate(names: &[String]) -> String {
    match names.len() {
        0..=12 => names.join(", "),
        n => format!("{}, ... ({n} in all)", names[..10].join(", ")),
    }
}

/// The candidate nearest to a misspelt word, if any is near.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let word = word.to_lowercase();
    candidates
        .into_iter()
        .map(|c| (strsim::jaro_winkler(&word, &c.to_lowercase()), c))
        .filter(|(score, _)| *score > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, c)| c.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_the_nearest() {
        assert_eq!(nearest("lable", ["path", "label"]), Some("label".into()));
        assert_eq!(nearest("Cifar-10", ["cifar10", "mnist"]), Some("cifar10".into()));
        assert_eq!(nearest("xyz", ["path", "label"]), None);
    }

    #[test]
    fn a_full_disk_is_not_bad_input() {
        let e = Error::io("x")(io::Error::from(io::ErrorKind::StorageFull));
        assert!(!e.is_bad_input());
        let e = Error::io("x")(io::Error::from(io::ErrorKind::NotFound));
        assert!(e.is_bad_input() && e.to_string().contains("relative to"), "{e}");
    }
}
