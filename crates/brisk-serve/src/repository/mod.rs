//! Where versions come from. [`follow`] keeps up with it, [`manage`] changes it.

mod follow;
mod manage;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use brisk_registry::Repository;
use serde_json::{Value as Json, json};

use crate::app::App;
use crate::fault::{Answered, Fault, FaultKind};
use crate::load::{at_low_priority, load};
use crate::model::Served;
use crate::server::Error;

/// The alias that answers requests without a version; without it the latest does.
pub const PRODUCTION: &str = "production";

/// Where versions come from.
pub struct Source {
    from: From,
    wishes: Mutex<Wishes>,
    /// One look at a time.
    looking: tokio::sync::Mutex<()>,
}

enum From {
    /// One model: a run or a model folder. Its version is 1.
    Folder { name: String, path: PathBuf },
    /// Versions and aliases; and where versions of a bucket are kept while they are loaded.
    Repository { repository: Arc<Repository>, cache: Option<tempfile::TempDir> },
}

/// What was asked for beyond what the repository says.
#[derive(Default)]
struct Wishes {
    pinned: BTreeMap<String, BTreeSet<u64>>,
    /// Versions that could not be loaded.
    refused: BTreeMap<(String, u64), Refusal>,
    /// Models that could not be read, and why.
    unread: BTreeMap<String, Trouble>,
}

/// Why a version could not be loaded, or a model not be read.
#[derive(Clone)]
struct Trouble {
    reason: String,
    /// It may pass: a store that does not answer, a full disk. Damaged files and wrong answers stay what they are.
    passing: bool,
}

impl Trouble {
    fn lasting(reason: impl ToString) -> Trouble {
        Trouble { reason: reason.to_string(), passing: false }
    }

    fn passing(reason: impl ToString) -> Trouble {
        Trouble { reason: reason.to_string(), passing: true }
    }
}

impl std::convert::From<brisk_registry::Error> for Trouble {
    fn from(error: brisk_registry::Error) -> Trouble {
        Trouble { reason: error.to_string(), passing: !error.is_bad_input() }
    }
}

impl std::convert::From<brisk_eval::Error> for Trouble {
    fn from(error: brisk_eval::Error) -> Trouble {
        let passing = matches!(&error, brisk_eval::Error::Format(e) if e.is_io());
        Trouble { reason: error.to_string(), passing }
    }
}

/// A version that could not be loaded.
struct Refusal {
    trouble: Trouble,
    tries: u32,
    /// Before then it is not tried again.
    again: Instant,
}

impl Source {
    /// A run, a model folder, or a repository: a folder, or `s3://bucket/prefix`.
    pub async fn open(location: &str) -> Result<Source, Error> {
        let path = Path::new(location);
        let from = match location.contains("://")
            || brisk_registry::is_repository(path)
            || brisk_registry::is_free(path)
        {
            true => {
                let folder = std::env::temp_dir();
                let cannot = |e| {
                    Error::Setup(std::io::Error::other(format!(
                        "temporary folder {} (TMPDIR): {e}",
                        folder.display()
                    )))
                };
                let cache = match location.starts_with("s3://") {
                    true => Some(tempfile::tempdir().map_err(cannot)?),
                    false => None,
                };
                From::Repository { repository: Arc::new(Repository::open(location).await?), cache }
            }
            false => {
                check_place(path)?;
                From::Folder { name: name_of(path), path: path.into() }
            }
        };
        Ok(Source { from, wishes: Mutex::default(), looking: tokio::sync::Mutex::new(()) })
    }

    /// For people.
    pub fn describe(&self) -> String {
        match &self.from {
            From::Folder { path, .. } => path.display().to_string(),
            From::Repository { repository, .. } => repository.location().to_string(),
        }
    }

    fn wishes(&self) -> MutexGuard<'_, Wishes> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn repository(&self) -> Answered<&Repository> {
        match &self.from {
            From::Repository { repository, .. } => Ok(repository),
            From::Folder { .. } => Err(Fault::new(
                FaultKind::Conflict,
                "this server serves a single model: publish it, and serve the repository",
            )),
        }
    }
}

/// An error that says what to give, if there can be no model.
fn check_place(path: &Path) -> Result<(), Error> {
    let shown = path.display();
    let of = path.parent().filter(|parent| brisk_registry::is_repository(parent));
    let message = match (of, path.file_name()) {
        _ if !path.exists() => {
            format!("{shown}: there is no such folder; expected a run, a model folder, or a repository")
        }
        (Some(repository), Some(name)) if !brisk_format::is_model(path) => format!(
            "{shown}: this is a model of a repository: serve {} with --name {}",
            repository.display(),
            name.display()
        ),
        _ => return Ok(()),
    };
    Err(Error::Setup(std::io::Error::new(std::io::ErrorKind::NotFound, message)))
}

/// The name of a single model: that of its run.
fn name_of(path: &Path) -> String {
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.into());
    let is_inside = path.file_name().is_some_and(|n| n == "model");
    let named = if is_inside { path.parent().unwrap_or(&path) } else { &path };
    named.file_name().map_or("model".into(), |n| n.to_string_lossy().into_owned())
}

/// What the repository says of a model.
struct Listed {
    versions: BTreeSet<u64>,
    aliases: BTreeMap<String, u64>,
}

impl App {
    /// Whether new versions are looked for.
    fn watches(&self) -> bool {
        !self.options.watch.is_zero() && matches!(self.source.from, From::Repository { .. })
    }

    /// Whether what failed is tried again without being asked for.
    fn tries_again(&self, trouble: &Trouble) -> bool {
        trouble.passing && self.watches()
    }

    /// What there is. A model that cannot be read is in it with the reason.
    async fn listed(&self) -> Answered<BTreeMap<String, Result<Listed, Trouble>>> {
        match &self.source.from {
            From::Folder { name, .. } => {
                let name = self.options.name.as_ref().unwrap_or(name);
                let one = Listed { versions: [1].into(), aliases: BTreeMap::new() };
                Ok([(name.clone(), Ok(one))].into())
            }
            From::Repository { repository, .. } => {
                let models = repository.each_model().await.map_err(fault)?;
                // A folder that is not mounted any more looks like an empty one.
                let gone = models.is_empty()
                    && !self.catalog.table().is_empty()
                    && !repository.is_marked().await.map_err(fault)?;
                if gone {
                    let message =
                        format!("{}: the repository is gone; mount or restore it", repository.location());
                    return Err(Fault::new(FaultKind::Unavailable, message));
                }
                let wanted = |(name, _): &(String, _)| self.options.name.as_ref().is_none_or(|n| n == name);
                let listed = |m: brisk_registry::ModelEntry| Listed {
                    versions: m.versions.into_iter().collect(),
                    aliases: m.aliases.into_iter().collect(),
                };
                let one = |(name, entry): (String, brisk_registry::Result<_>)| {
                    (name, entry.map(listed).map_err(Trouble::from))
                };
                Ok(models.into_iter().filter(wanted).map(one).collect())
            }
        }
    }

    async fn fetch_and_load(
        self: &Arc<App>,
        name: &str,
        version: u64,
        like: Option<Arc<Served>>,
    ) -> Result<Served, Trouble> {
        let (folder, about) = match &self.source.from {
            From::Folder { path, .. } => (path.clone(), Json::Null),
            From::Repository { repository, cache, .. } => {
                let record = repository.version(name, version).await?;
                let (own, into) =
                    (repository.clone(), cache.as_ref().map(|c| c.path().join(format!("{name}-{version}"))));
                let (wanted, handle) = (record.clone(), tokio::runtime::Handle::current());
                // Checksums of a large model take long: not on a thread that answers.
                let there = move || {
                    handle.block_on(async {
                        match (own.local_path(&wanted), into) {
                            (Some(path), _) => {
                                own.verify(&wanted).await.map(|()| path).map_err(Trouble::from)
                            }
                            (None, Some(into)) => {
                                // Of a try that broke off.
                                let _ = std::fs::remove_dir_all(&into);
                                own.fetch(&wanted, &into).await.map(|()| into).map_err(Trouble::from)
                            }
                            (None, None) => Err(Trouble::lasting("there is no folder to fetch it into")),
                        }
                    })
                };
                let folder = tokio::task::spawn_blocking(there).await.map_err(Trouble::lasting)??;
                let about = json!({"metrics": record.metrics, "source": record.source, "note": record.note, "created": record.created});
                (folder, about)
            }
        };
        // The first versions are waited for; later ones must not disturb those that answer.
        let quiet = like.is_some();
        let (app, called) = (self.clone(), name.to_string());
        let (send, receive) = tokio::sync::oneshot::channel();
        let work = move || {
            if quiet {
                at_low_priority();
            }
            let served = load(&called, version, &folder, &app.device, &app.metrics, like.as_deref());
            let _ = send.send(served.map(|s| Served { about, ..s }));
        };
        std::thread::Builder::new().name("loader".into()).spawn(work).map_err(Trouble::passing)?;
        let loaded = receive.await;
        if let From::Repository { cache: Some(cache), .. } = &self.source.from {
            // All of it is in memory now.
            let _ = std::fs::remove_dir_all(cache.path().join(format!("{name}-{version}")));
        }
        match loaded {
            Ok(served) => Ok(served?),
            Err(_) => Err(Trouble::lasting("loading it failed; the server's log says more")),
        }
    }
}

/// What the registry says, as a fault.
fn fault(error: brisk_registry::Error) -> Fault {
    use brisk_registry::Error::{BadName, Conflict, Damaged, InUse, Newer, NoEarlier, NotFound};
    let kind = match &error {
        NotFound { .. } | NoEarlier { .. } => FaultKind::NotFound,
        BadName { .. } => FaultKind::BadRequest,
        Conflict { .. } | InUse { .. } => FaultKind::Conflict,
        Damaged { .. } | Newer { .. } => FaultKind::Internal,
        _ => FaultKind::Unavailable,
    };
    Fault::new(kind, error.to_string())
}
