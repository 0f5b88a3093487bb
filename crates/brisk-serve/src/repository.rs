//! Where versions come from, and keeping up with it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use brisk_registry::{Moved, Repository};
use serde_json::{Value as Json, json};

use crate::app::App;
use crate::catalog::{Canary, Entry, Table};
use crate::fault::{Answered, Fault, FaultKind};
use crate::load::{at_low_priority, load};
use crate::metrics::Of;
use crate::model::{Served, unknown_model};
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
    unloaded: BTreeSet<String>,
    /// Versions that could not be loaded, and why.
    refused: BTreeMap<(String, u64), String>,
}

impl Source {
    /// A run, a model folder, or a repository: a folder, or `s3://bucket/prefix`.
    pub async fn open(location: &str) -> Result<Source, Error> {
        let path = Path::new(location);
        let from = match location.contains("://") || brisk_registry::is_repository(path) {
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
            false => From::Folder { name: name_of(path), path: path.into() },
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
    /// Brings what is served up to date with where it comes from. What cannot be loaded is refused, logged, and left out; what was served before goes on.
    pub async fn refresh(self: &Arc<App>) -> Answered<()> {
        let _alone = self.source.looking.lock().await;
        let listed = self.listed().await?;
        let (pinned, unloaded) = {
            let mut wishes = self.source.wishes();
            wishes
                .refused
                .retain(|(name, version), _| listed.get(name).is_some_and(|l| l.versions.contains(version)));
            (wishes.pinned.clone(), wishes.unloaded.clone())
        };
        for (name, model) in &listed {
            if unloaded.contains(name) {
                continue;
            }
            let table = self.catalog.table();
            let before = table.get(name);
            let canary = before.and_then(|e| e.canary).map(|c| c.version);
            let mut wanted: BTreeSet<u64> = model.aliases.values().copied().chain(canary).collect();
            wanted.extend(pinned.get(name).into_iter().flatten());
            wanted.retain(|v| model.versions.contains(v));
            let mut loaded: BTreeMap<u64, Arc<Served>> =
                before.map(|e| e.versions.clone()).unwrap_or_default();
            let like = before.and_then(|e| e.versions.get(&e.default)).cloned();
            for &version in &wanted {
                self.have(name, version, &like, &mut loaded).await;
            }
            let mut default = model.aliases.get(PRODUCTION).copied();
            // Without that alias, the latest that is whole.
            for &version in model.versions.iter().rev() {
                if default.is_none() && self.have(name, version, &like, &mut loaded).await {
                    default = Some(version);
                }
            }
            if let Some(default) = default {
                wanted.insert(default);
                self.swap(name, model, &wanted, default, loaded);
            }
        }
        let gone: Vec<String> = self
            .catalog
            .table()
            .keys()
            .filter(|n| !listed.contains_key(*n) || unloaded.contains(*n))
            .cloned()
            .collect();
        gone.iter().for_each(|name| self.forget(name));
        self.started_up();
        Ok(())
    }

    /// Loads a version, unless it is there or was refused before. Whether it is there now.
    async fn have(
        self: &Arc<App>,
        name: &str,
        version: u64,
        like: &Option<Arc<Served>>,
        loaded: &mut BTreeMap<u64, Arc<Served>>,
    ) -> bool {
        let refused = self.source.wishes().refused.contains_key(&(name.to_string(), version));
        if loaded.contains_key(&version) || refused {
            return !refused;
        }
        match self.fetch_and_load(name, version, like.clone()).await {
            Ok(served) => {
                tracing::info!(model = name, version, "loaded");
                loaded.insert(version, Arc::new(served));
                true
            }
            Err(reason) => {
                tracing::error!(model = name, version, reason, "refused");
                self.source.wishes().refused.insert((name.into(), version), reason);
                false
            }
        }
    }

    /// One change of the catalog: new versions answer from here on, those that nobody wants go when their last request is answered.
    fn swap(
        self: &Arc<App>,
        name: &str,
        model: &Listed,
        wanted: &BTreeSet<u64>,
        wanted_default: u64,
        mut loaded: BTreeMap<u64, Arc<Served>>,
    ) {
        let dropped = self.catalog.change(|table: &mut Table| {
            let mut entry = table.get(name).cloned().unwrap_or_default();
            entry.default = match loaded.contains_key(&wanted_default) {
                true => wanted_default,
                // It could not be loaded: the one before goes on.
                false if loaded.contains_key(&entry.default) => entry.default,
                false => match loaded.last_key_value() {
                    Some((&latest, _)) => latest,
                    None => return Vec::new(),
                },
            };
            let stays = |v: &u64| wanted.contains(v) || *v == entry.default;
            let dropped: Vec<u64> = entry.versions.keys().filter(|v| !stays(v)).copied().collect();
            loaded.retain(|v, _| stays(v));
            entry.versions = loaded;
            entry.aliases = model
                .aliases
                .iter()
                .filter(|a| entry.versions.contains_key(a.1))
                .map(|(a, v)| (a.clone(), *v))
                .collect();
            table.insert(name.into(), entry);
            dropped
        });
        self.gone(name, dropped);
    }

    fn forget(self: &Arc<App>, name: &str) {
        let entry = self.catalog.change(|table| table.shift_remove(name));
        self.gone(name, entry.into_iter().flat_map(|e| e.versions.into_keys()).collect());
    }

    /// What is to be done when versions do not answer any more.
    fn gone(self: &Arc<App>, name: &str, versions: Vec<u64>) {
        for &version in &versions {
            tracing::info!(model = name, version, "unloaded");
            self.metrics.forget(&Of { model: name.into(), version });
        }
        if !versions.is_empty() {
            self.give_back();
        }
    }

    async fn listed(&self) -> Answered<BTreeMap<String, Listed>> {
        match &self.source.from {
            From::Folder { name, .. } => {
                let name = self.options.name.as_ref().unwrap_or(name);
                let one = Listed { versions: [1].into(), aliases: BTreeMap::new() };
                Ok([(name.clone(), one)].into())
            }
            From::Repository { repository, .. } => {
                let models = repository.models().await.map_err(fault)?;
                let listed = |m: brisk_registry::ModelEntry| {
                    let versions = m.versions.into_iter().collect();
                    (m.name, Listed { versions, aliases: m.aliases.into_iter().collect() })
                };
                Ok(models.into_iter().map(listed).collect())
            }
        }
    }

    async fn fetch_and_load(
        self: &Arc<App>,
        name: &str,
        version: u64,
        like: Option<Arc<Served>>,
    ) -> Result<Served, String> {
        let (folder, about) = match &self.source.from {
            From::Folder { path, .. } => (path.clone(), Json::Null),
            From::Repository { repository, cache, .. } => {
                let record = repository.version(name, version).await.map_err(|e| e.to_string())?;
                let (own, into) =
                    (repository.clone(), cache.as_ref().map(|c| c.path().join(format!("{name}-{version}"))));
                let (wanted, handle) = (record.clone(), tokio::runtime::Handle::current());
                // Checksums of a large model take long: not on a thread that answers.
                let there = move || {
                    handle.block_on(async {
                        match (own.local_path(&wanted), into) {
                            (Some(path), _) => {
                                own.verify(&wanted).await.map(|()| path).map_err(|e| e.to_string())
                            }
                            (None, Some(into)) => {
                                own.fetch(&wanted, &into).await.map(|()| into).map_err(|e| e.to_string())
                            }
                            (None, None) => Err("there is no folder to fetch it into".into()),
                        }
                    })
                };
                let there = tokio::task::spawn_blocking(there).await.map_err(|e| e.to_string())?;
                let folder = there?;
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
            let _ = send.send(served.map(|s| Served { about, ..s }).map_err(|e| e.to_string()));
        };
        std::thread::Builder::new().name("loader".into()).spawn(work).map_err(|e| e.to_string())?;
        let loaded = receive.await;
        if let From::Repository { cache: Some(cache), .. } = &self.source.from {
            // All of it is in memory now.
            let _ = std::fs::remove_dir_all(cache.path().join(format!("{name}-{version}")));
        }
        loaded.unwrap_or_else(|_| Err("loading it failed; the server's log says more".into()))
    }

    /// Looks for new versions until the server stops.
    pub async fn watch(self: Arc<App>) {
        if self.options.watch.is_zero() || matches!(self.source.from, From::Folder { .. }) {
            return;
        }
        while !self.is_stopping() {
            tokio::time::sleep(self.options.watch.max(Duration::from_millis(50))).await;
            if let Err(fault) = self.refresh().await {
                tracing::warn!(reason = fault.message, "the repository cannot be read; what is served stays");
            }
        }
    }

    /// Loads what is new of a model, and a version that no alias names.
    pub async fn load(self: &Arc<App>, name: &str, version: Option<u64>) -> Answered<()> {
        let listed = self.listed().await?;
        let Some(model) = listed.get(name) else {
            return Err(unknown_model(name, &listed.keys().cloned().collect::<Vec<_>>()));
        };
        if let Some(version) = version.filter(|v| !model.versions.contains(v)) {
            let known: Vec<_> = model.versions.iter().map(u64::to_string).collect();
            return Err(Fault::new(
                FaultKind::NotFound,
                format!("model `{name}` has no version {version}; it has {}", known.join(", ")),
            ));
        }
        {
            let mut wishes = self.source.wishes();
            wishes.unloaded.remove(name);
            wishes.refused.retain(|(n, _), _| n != name);
            if let Some(version) = version {
                wishes.pinned.entry(name.into()).or_default().insert(version);
            }
        }
        self.refresh().await?;
        let asked = |(n, v): &(String, u64)| n == name && version.is_none_or(|w| w == *v);
        let wishes = self.source.wishes();
        let refused = wishes.refused.iter().filter(|r| asked(r.0));
        let reasons: Vec<String> = refused.map(|((_, v), reason)| format!("version {v}: {reason}")).collect();
        match reasons.is_empty() {
            true => Ok(()),
            false => Err(Fault::new(FaultKind::Conflict, reasons.join("; "))),
        }
    }

    /// Takes a model out of memory until it is loaded again.
    pub async fn unload(self: &Arc<App>, name: &str) -> Answered<()> {
        let table = self.catalog.table();
        if !table.contains_key(name) {
            return Err(unknown_model(name, &table.keys().cloned().collect::<Vec<_>>()));
        }
        {
            let mut wishes = self.source.wishes();
            wishes.unloaded.insert(name.into());
            wishes.pinned.remove(name);
        }
        self.refresh().await
    }

    /// Moves or removes an alias in the repository, and follows it.
    pub async fn set_alias(self: &Arc<App>, name: &str, alias: &str, version: Option<u64>) -> Answered<()> {
        let repository = self.source.repository()?;
        match version {
            Some(version) => repository.set_alias(name, alias, version).await.map_err(fault)?,
            None => repository.remove_alias(name, alias).await.map_err(fault)?,
        };
        self.refresh().await
    }

    /// Moves an alias back to the version before; gives both versions.
    pub async fn rollback(self: &Arc<App>, name: &str, alias: &str) -> Answered<Moved> {
        let moved = self.source.repository()?.rollback(name, alias).await.map_err(fault)?;
        self.refresh().await?;
        Ok(moved)
    }

    /// Sets or ends the canary of a model.
    pub fn set_canary(&self, name: &str, canary: Option<Canary>) {
        self.catalog.change(|table| {
            if let Some(entry) = table.get_mut(name) {
                entry.canary = canary;
            }
        });
    }

    /// Whether a model is missing because none of its versions could be loaded.
    pub fn lacks_a_model(&self, table: &Table) -> bool {
        self.source.wishes().refused.keys().any(|(name, _)| !table.contains_key(name))
    }

    /// Versions that could not be loaded.
    pub fn refused(&self) -> Vec<Json> {
        let wishes = self.source.wishes();
        wishes
            .refused
            .iter()
            .map(|((model, version), reason)| json!({"model": model, "version": version, "reason": reason}))
            .collect()
    }

    /// All versions and their state, as KServe lists them.
    pub fn index(&self) -> Json {
        let table = self.catalog.table();
        let of = |(name, entry): (&String, &Entry)| {
            let one =
                |v: &u64| json!({"name": name, "version": v.to_string(), "state": "READY", "reason": ""});
            entry.versions.keys().map(one).collect::<Vec<_>>()
        };
        let mut all: Vec<Json> = table.iter().flat_map(of).collect();
        all.extend(self.refused().into_iter().map(|r| {
            let version = r["version"].to_string();
            json!({"name": r["model"], "version": version, "state": "UNAVAILABLE", "reason": r["reason"]})
        }));
        all.extend(
            self.source.wishes().unloaded.iter().map(
                |name| json!({"name": name, "version": "", "state": "UNAVAILABLE", "reason": "unloaded"}),
            ),
        );
        Json::Array(all)
    }
}

/// What the registry says, as a fault.
fn fault(error: brisk_registry::Error) -> Fault {
    let kind = match &error {
        brisk_registry::Error::NotFound { .. } => FaultKind::NotFound,
        brisk_registry::Error::BadName { .. } => FaultKind::BadRequest,
        brisk_registry::Error::Conflict { .. } | brisk_registry::Error::InUse { .. } => FaultKind::Conflict,
        _ => FaultKind::Unavailable,
    };
    Fault::new(kind, error.to_string())
}
