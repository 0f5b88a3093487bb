//! What an administrator does to what is served.

use std::sync::Arc;
use std::time::Instant;

use brisk_registry::Moved;
use serde_json::{Value as Json, json};

use super::{Trouble, fault};
use crate::app::App;
use crate::catalog::{Canary, Entry, unloaded};
use crate::fault::{Answered, Fault, FaultKind};
use crate::model::unknown_model;

impl App {
    /// Loads what is new of a model, and a version that no alias names.
    pub async fn load(self: &Arc<App>, name: &str, version: Option<u64>) -> Answered<()> {
        self.try_load(name, version).await.map(drop)
    }

    /// The same; whether the version stays in memory for this reason alone.
    async fn try_load(self: &Arc<App>, name: &str, version: Option<u64>) -> Answered<bool> {
        let listed = self.listed().await?;
        let model = match listed.get(name) {
            Some(Ok(model)) => model,
            Some(Err(trouble)) => return Err(Fault::new(FaultKind::Conflict, trouble.reason.as_str())),
            None => return Err(unknown_model(name, &listed.keys().cloned().collect::<Vec<_>>())),
        };
        if let Some(version) = version.filter(|v| !model.versions.contains(v)) {
            let known: Vec<_> = model.versions.iter().map(u64::to_string).collect();
            return Err(Fault::new(
                FaultKind::NotFound,
                format!("model `{name}` has no version {version}; it has {}", known.join(", ")),
            ));
        }
        let pinned = {
            let mut wishes = self.source.wishes();
            self.catalog.unloaded().remove(name);
            wishes.refused.retain(|(n, _), _| n != name);
            version.is_some_and(|v| wishes.pinned.entry(name.into()).or_default().insert(v))
        };
        let loaded = match self.refresh().await {
            Ok(()) => {
                self.reasons(name, version).map_or(Ok(pinned), |r| Err(Fault::new(FaultKind::Conflict, r)))
            }
            Err(fault) => Err(fault),
        };
        if let (Err(_), true, Some(version)) = (&loaded, pinned, version) {
            self.unpin(name, version);
        }
        loaded
    }

    /// Does something with a version that this server can load, which stays in memory meanwhile. A model that was unloaded stays so.
    async fn with_loaded<T>(
        self: &Arc<App>,
        name: &str,
        version: Option<u64>,
        act: impl Future<Output = T>,
    ) -> Answered<T> {
        let Some(version) = version.filter(|_| !self.is_unloaded(name)) else { return Ok(act.await) };
        let pinned = self.try_load(name, Some(version)).await?;
        let done = act.await;
        if pinned {
            self.unpin(name, version);
        }
        Ok(done)
    }

    fn unpin(&self, name: &str, version: u64) {
        if let Some(pinned) = self.source.wishes().pinned.get_mut(name) {
            pinned.remove(&version);
        }
    }

    /// Why a version of a model, or any of them, could not be loaded.
    fn reasons(&self, name: &str, version: Option<u64>) -> Option<String> {
        let wishes = self.source.wishes();
        let refused =
            wishes.refused.iter().filter(|((n, v), _)| n == name && version.is_none_or(|w| w == *v));
        let reasons: Vec<String> =
            refused.map(|((_, v), refusal)| format!("version {v}: {}", refusal.trouble.reason)).collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    fn is_unloaded(&self, name: &str) -> bool {
        self.catalog.unloaded().contains(name)
    }

    /// Takes a model out of memory until it is loaded again.
    pub async fn unload(self: &Arc<App>, name: &str) -> Answered<()> {
        let table = self.catalog.table();
        if self.is_unloaded(name) {
            return Ok(());
        }
        if !table.contains_key(name) {
            return Err(unknown_model(name, &table.keys().cloned().collect::<Vec<_>>()));
        }
        {
            let mut wishes = self.source.wishes();
            self.catalog.unloaded().insert(name.into());
            wishes.pinned.remove(name);
            wishes.refused.retain(|(n, _), _| n != name);
        }
        self.refresh().await
    }

    /// Moves or removes an alias in the repository, and follows it. An alias does not move to a version that this server cannot load.
    pub async fn set_alias(self: &Arc<App>, name: &str, alias: &str, version: Option<u64>) -> Answered<()> {
        let repository = self.source.repository()?;
        match version {
            Some(version) => self
                .with_loaded(name, Some(version), repository.set_alias(name, alias, version))
                .await?
                .map_err(fault)?,
            None => repository.remove_alias(name, alias).await.map_err(fault)?,
        };
        self.refresh().await
    }

    /// Moves an alias back to the version before; gives both versions.
    pub async fn rollback(self: &Arc<App>, name: &str, alias: &str) -> Answered<Moved> {
        let repository = self.source.repository()?;
        // Not to a version that this server cannot load.
        let before = repository.earlier(name, alias).await.map_err(fault)?.first().copied();
        let moved = self.with_loaded(name, before, repository.rollback(name, alias)).await?.map_err(fault)?;
        self.refresh().await?;
        match moved.to.and_then(|to| self.reasons(name, Some(to))) {
            None => Ok(moved),
            Some(reason) => Err(Fault::new(
                FaultKind::Conflict,
                format!("alias `{alias}` was moved, but what it points to now cannot be loaded: {reason}"),
            )),
        }
    }

    /// Gives a share of a model's requests to another version, which is loaded for that, or ends it.
    pub async fn set_canary(self: &Arc<App>, name: &str, canary: Option<Canary>) -> Answered<()> {
        if self.is_unloaded(name) {
            return Err(unloaded(name));
        }
        let change = async {
            self.catalog.change(|table| {
                if let Some(entry) = table.get_mut(name) {
                    entry.canary = canary;
                }
            });
        };
        self.with_loaded(name, canary.map(|c| c.version), change).await?;
        self.refresh().await
    }

    /// Versions that could not be loaded.
    pub fn refused(&self) -> Vec<Json> {
        let wishes = self.source.wishes();
        let one = |((model, version), refusal): (&(String, u64), &super::Refusal)| {
            let mut reason = refusal.trouble.reason.clone();
            if self.tries_again(&refusal.trouble) {
                let seconds = refusal.again.saturating_duration_since(Instant::now()).as_secs();
                reason = format!("{reason} (tried again in {seconds} s)");
            }
            json!({"model": model, "version": version, "reason": reason})
        };
        let unread = wishes.unread.iter();
        let unread = unread.map(|(model, t)| json!({"model": model, "version": null, "reason": t.reason}));
        wishes.refused.iter().map(one).chain(unread).collect()
    }

    /// An error if the one model that the server was told to serve is not in its repository.
    pub async fn has_named(&self) -> Answered<()> {
        match &self.options.name {
            // It is there, though it cannot be read just now; or it may come.
            Some(name) if !self.catalog.table().contains_key(name) && self.listed().await?.is_empty() => {
                let models = self.source.repository()?.each_model().await.map_err(fault)?;
                match models.is_empty() {
                    true => Ok(()),
                    false => Err(unknown_model(name, &models.into_iter().map(|m| m.0).collect::<Vec<_>>())),
                }
            }
            _ => Ok(()),
        }
    }

    /// Why nothing of what is to be served can be loaded, if that is so.
    pub fn nothing_to_serve(&self) -> Option<Fault> {
        let wishes = self.source.wishes();
        let troubles: Vec<&Trouble> =
            wishes.refused.values().map(|r| &r.trouble).chain(wishes.unread.values()).collect();
        let passing = troubles.iter().any(|t| t.passing);
        let waits = troubles.iter().any(|t| self.tries_again(t));
        let kind = if passing { FaultKind::Unavailable } else { FaultKind::Internal };
        let reasons: Vec<&str> = troubles.iter().map(|t| t.reason.as_str()).collect();
        let fault = Fault::new(kind, reasons.join("; "));
        (!waits && !reasons.is_empty() && self.catalog.table().is_empty()).then_some(fault)
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
            let version = r["version"].as_u64().map_or(String::new(), |v| v.to_string());
            json!({"name": r["model"], "version": version, "state": "UNAVAILABLE", "reason": r["reason"]})
        }));
        all.extend(
            self.catalog.unloaded().iter().map(
                |name| json!({"name": name, "version": "", "state": "UNAVAILABLE", "reason": "unloaded"}),
            ),
        );
        Json::Array(all)
    }
}
