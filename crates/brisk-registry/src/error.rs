//! What can go wrong with a repository.

use std::error::Error as StdError;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

/// A result of asking or changing a repository.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with a repository: where, what was expected, what was found, and what to do.
///
/// ```
/// let error = brisk_registry::check_name("../etc").unwrap_err();
/// assert!(error.to_string().starts_with("\"../etc\" cannot be the name of a model"));
/// assert!(error.is_bad_input());
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no model, version or alias of this name.
    #[error("{place}: there is no {what} {name:?}{}", hint(known, near))]
    NotFound {
        /// The repository, or the model in it.
        place: String,
        /// What was asked for: `model`, `version`, `alias`.
        what: &'static str,
        /// Its name.
        name: String,
        /// The names that there are.
        known: Vec<String>,
        /// The one of them that may be meant.
        near: Option<String>,
    },
    /// There is no version that an alias could go back to.
    #[error(
        "{place}: there is no version before \"{version}\" to go back to, or it was removed; `brisk models alias` points it to any other"
    )]
    NoEarlier {
        /// The alias.
        place: String,
        /// Where it points.
        version: u64,
    },
    /// A name that nothing in a repository can have.
    #[error("{name:?} cannot be the name of {what}: expected {expected}")]
    BadName {
        /// What it should be the name of.
        what: &'static str,
        /// The name.
        name: String,
        /// What names are like.
        expected: &'static str,
    },
    /// No repository can be had there.
    #[error("{location}: {message}")]
    Location {
        /// As it was given.
        location: String,
        /// What was expected, what was found, and what to do.
        message: String,
    },
    /// The bytes of a file are not those that were written.
    #[error("{file}: damaged: expected {expected}, found {found}; {remedy}")]
    Damaged {
        /// The file.
        file: String,
        /// What was written.
        expected: String,
        /// What is there.
        found: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A later version of Brisk made it.
    #[error("{file}: written by a newer Brisk (format {found}, this one reads {known}): update Brisk")]
    Newer {
        /// The file.
        file: String,
        /// Its format version.
        found: u64,
        /// The latest version that can be read.
        known: u32,
    },
    /// An alias points to a version that should be removed.
    #[error(
        "{place}: version {version} stays: {} to it; move or remove what points to it first",
        pointing(aliases)
    )]
    InUse {
        /// The model.
        place: String,
        /// Its version.
        version: u64,
        /// What points to it.
        aliases: Vec<String>,
    },
    /// Somebody else changed the same at the same time.
    #[error("{place}: {message}")]
    Conflict {
        /// The model, version or alias.
        place: String,
        /// What happened, and what to do.
        message: String,
    },
    /// The folder or bucket failed.
    #[error("{path}: {source}{}", remedy(source))]
    Store {
        /// The file in it.
        path: String,
        /// What it says.
        source: object_store::Error,
    },
    /// The model to be published is not in order.
    #[error(transparent)]
    Model(#[from] brisk_format::Error),
    /// A file outside of the repository could not be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    /// True if what was asked for is at fault; false if the machine, the network or the moment is, and trying again later
    /// may help.
    pub fn is_bad_input(&self) -> bool {
        use object_store::Error as Store;
        match self {
            Error::Conflict { .. } => false,
            Error::Store { source, .. } => matches!(
                source,
                Store::PermissionDenied { .. } | Store::Unauthenticated { .. } | Store::NotFound { .. }
            ),
            Error::Model(error) => !error.is_io(),
            Error::Io { source, .. } => matches!(
                source.kind(),
                ErrorKind::NotFound
                    | ErrorKind::PermissionDenied
                    | ErrorKind::IsADirectory
                    | ErrorKind::NotADirectory
                    | ErrorKind::AlreadyExists
            ),
            _ => true,
        }
    }

    /// `known` are all that there are.
    pub(crate) fn not_found(place: &str, what: &'static str, name: &str, known: Vec<String>) -> Error {
        let near = known.iter().map(|k| (strsim::damerau_levenshtein(k, name), k)).min();
        let near = near.filter(|n| n.0 <= 1 + name.chars().count() / 4).map(|n| n.1.clone());
        // Numbers are near to each other by chance.
        let near = near.filter(|_| name.parse::<u64>().is_err());
        Error::NotFound { place: place.into(), what, name: name.into(), known, near }
    }

    pub(crate) fn io(path: &std::path::Path) -> impl Fn(io::Error) -> Error {
        move |source| Error::Io { path: path.into(), source }
    }
}

/// What may be meant instead, or all that there are.
fn hint(known: &[String], near: &Option<String>) -> String {
    const MOST: usize = 12;
    match (near, known.len()) {
        (Some(near), _) => format!("; did you mean {near:?}?"),
        (None, 0) => "; there are none yet".into(),
        (None, n @ ..=MOST) => format!("; there {} {}", if n == 1 { "is" } else { "are" }, known.join(", ")),
        (None, n) => format!("; there are {n}, such as {}", known[n - MOST..].join(", ")),
    }
}

fn pointing(aliases: &[String]) -> String {
    match aliases {
        [one] => format!("the alias {one} points"),
        many => format!("the aliases {} point", many.join(", ")),
    }
}

fn is_full(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}

/// What to do about a failing folder or bucket.
fn remedy(source: &object_store::Error) -> &'static str {
    use object_store::Error as Store;
    let mut cause: Option<&(dyn StdError + 'static)> = Some(source);
    while let Some(error) = cause {
        match error.downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(kind) if is_full(kind) => {
                return "; free some space and try again (the versions that are there are unchanged)";
            }
            Some(ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => {
                return "; change the folder's permissions, or choose another repository";
            }
            _ => cause = error.source(),
        }
    }
    match source {
        Store::PermissionDenied { .. } | Store::Unauthenticated { .. } => {
            "; check the bucket's name and the AWS_* variables of the environment"
        }
        _ => "",
    }
}
