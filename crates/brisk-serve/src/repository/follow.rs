//! Keeping up with the repository: what is new is loaded, what nobody wants any more goes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{From, Listed, PRODUCTION, Refusal, Trouble, fault};
use crate::app::App;
use crate::catalog::Entry;
use crate::fault::Answered;
use crate::model::Served;

/// The longest time until a version is tried again whose store did not answer.
const LATEST_TRY: Duration = Duration::from_secs(300);

/// A model while its versions are looked after.
struct Look<'a> {
    name: &'a str,
    model: &'a Listed,
    /// What is served at present.
    before: Option<&'a Entry>,
    /// What is in memory.
    loaded: BTreeMap<u64, Arc<Served>>,
}

impl App {
    /// Brings what is served up to date with where it comes from. What cannot be loaded is refused, logged, and left out; what was served before goes on.
    pub async fn refresh(self: &Arc<App>) -> Answered<()> {
        let _alone = self.source.looking.lock().await;
        let listed = self.listed().await?;
        let (pinned, unloaded) = {
            let mut wishes = self.source.wishes();
            let has = |l: &Result<Listed, Trouble>, v| l.as_ref().map_or(true, |l| l.versions.contains(&v));
            wishes.refused.retain(|(name, version), _| listed.get(name).is_some_and(|l| has(l, *version)));
            wishes.unread.retain(|name, _| listed.get(name).is_some_and(|l| l.is_err()));
            (wishes.pinned.clone(), self.catalog.unloaded().clone())
        };
        for (name, model) in listed.iter().filter(|(name, _)| !unloaded.contains(*name)) {
            let model = match model {
                Ok(model) => model,
                Err(trouble) => {
                    self.leave(name, trouble);
                    continue;
                }
            };
            let table = self.catalog.table();
            let before = table.get(name);
            let loaded = before.map(|e| e.versions.clone()).unwrap_or_default();
            let look = Look { name, model, before, loaded };
            if let Err(fault) = self.look(look, pinned.get(name).unwrap_or(&BTreeSet::new())).await {
                self.leave(name, &Trouble::passing(fault));
            }
        }
        let table = self.catalog.table();
        let gone = table.keys().filter(|n| !listed.contains_key(*n) || unloaded.contains(*n));
        gone.for_each(|name| self.forget(name));
        // What is missing for a moment is waited for before the server says that it is ready; what is damaged is not.
        let table = self.catalog.table();
        let waits = {
            let wishes = self.source.wishes();
            let refused = wishes.refused.iter().map(|((name, _), refusal)| (name, &refusal.trouble));
            let mut missing = refused.chain(&wishes.unread).filter(|(name, _)| !table.contains_key(*name));
            missing.any(|(_, trouble)| self.tries_again(trouble))
        };
        if !waits {
            self.started_up();
        }
        Ok(())
    }

    /// Leaves a model as it is, because what the repository says of it cannot be read.
    fn leave(&self, name: &str, trouble: &Trouble) {
        let before = self.source.wishes().unread.insert(name.into(), trouble.clone());
        if before.is_none_or(|b| b.reason != trouble.reason) {
            let reason = &trouble.reason;
            tracing::error!(model = name, reason, "cannot be read; what is served of it stays");
        }
    }

    async fn look(self: &Arc<App>, mut look: Look<'_>, pinned: &BTreeSet<u64>) -> Answered<()> {
        let Look { name, model, before, .. } = look;
        let mut aliases = BTreeMap::new();
        for (alias, &version) in &model.aliases {
            // An alias whose new version cannot be loaded stays where it was.
            let version = match self.have(&mut look, version).await {
                true => Some(version),
                false => before.and_then(|e| e.aliases.get(alias)).copied(),
            };
            aliases.extend(version.filter(|v| look.loaded.contains_key(v)).map(|v| (alias.clone(), v)));
        }
        let canary = before.and_then(|e| e.canary);
        let mut wanted: BTreeSet<u64> = aliases.values().copied().collect();
        for &version in pinned.iter().chain(canary.as_ref().map(|c| &c.version)) {
            if model.versions.contains(&version) && self.have(&mut look, version).await {
                wanted.insert(version);
            }
        }
        // Without any, the others can still be asked for by name.
        let points = model.aliases.get(PRODUCTION).copied().filter(|_| !look.loaded.is_empty());
        let Some(default) = self.default(&mut look, &aliases).await?.or(points) else { return Ok(()) };
        if model.aliases.contains_key(PRODUCTION) && look.loaded.contains_key(&default) {
            aliases.insert(PRODUCTION.into(), default);
        }
        wanted.insert(default);
        let mut versions = look.loaded;
        versions.retain(|v, _| wanted.contains(v));
        // New versions answer from here on; those that nobody wants go when their last request is answered.
        let dropped: Vec<u64> = self.catalog.change(|table| {
            let entry = table.entry(name.to_string()).or_default();
            let dropped = entry.versions.keys().filter(|v| !wanted.contains(v)).copied().collect();
            entry.canary = entry.canary.filter(|c| versions.contains_key(&c.version));
            (entry.versions, entry.aliases, entry.default) = (versions, aliases, default);
            dropped
        });
        self.gone(name, dropped);
        Ok(())
    }

    /// The version that answers requests without one: where `production` points, or the latest that is whole. If that cannot be loaded, what
    /// answered before, or what `production` pointed to before.
    async fn default(
        self: &Arc<App>,
        look: &mut Look<'_>,
        aliases: &BTreeMap<String, u64>,
    ) -> Answered<Option<u64>> {
        if let Some(&version) = aliases.get(PRODUCTION) {
            return Ok(Some(version));
        }
        let answered = look.before.map(|e| e.default).filter(|v| look.loaded.contains_key(v));
        let others: Vec<u64> = match (&self.source.from, look.model.aliases.contains_key(PRODUCTION)) {
            (From::Repository { repository, .. }, true) => match answered {
                Some(_) => Vec::new(),
                None => repository.earlier(look.name, PRODUCTION).await.map_err(fault)?,
            },
            _ => look.model.versions.iter().rev().copied().collect(),
        };
        for version in others {
            if self.have(look, version).await {
                return Ok(Some(version));
            }
        }
        Ok(answered)
    }

    /// Loads a version, unless it is there or was refused before. Whether it is there now.
    async fn have(self: &Arc<App>, look: &mut Look<'_>, version: u64) -> bool {
        if look.loaded.contains_key(&version) {
            return true;
        }
        let key = (look.name.to_string(), version);
        let before =
            self.source.wishes().refused.get(&key).map(|r| (r.tries, self.tries_again(&r.trouble), r.again));
        let may = before.is_none_or(|(_, open, again)| open && again <= Instant::now());
        if !may || !look.model.versions.contains(&version) {
            return false;
        }
        let like = look.before.and_then(|e| e.versions.get(&e.default)).cloned();
        match self.fetch_and_load(look.name, version, like).await {
            Ok(served) => {
                tracing::info!(model = look.name, version, "loaded");
                self.source.wishes().refused.remove(&key);
                look.loaded.insert(version, Arc::new(served));
                true
            }
            Err(trouble) => {
                if let From::Repository { .. } = self.source.from {
                    tracing::error!(model = look.name, version, trouble.reason, "refused");
                }
                let tries = before.map_or(0, |b| b.0) + 1;
                let wait = self.options.watch.saturating_mul(1 << tries.min(16)).min(LATEST_TRY);
                let refusal = Refusal { trouble, tries, again: Instant::now() + wait };
                self.source.wishes().refused.insert(key, refusal);
                false
            }
        }
    }

    fn forget(self: &Arc<App>, name: &str) {
        let entry = self.catalog.change(|table| table.remove(name));
        self.gone(name, entry.into_iter().flat_map(|e| e.versions.into_keys()).collect());
    }

    /// What is to be done when versions do not answer any more.
    fn gone(self: &Arc<App>, name: &str, versions: Vec<u64>) {
        for &version in &versions {
            tracing::info!(model = name, version, "unloaded");
        }
        if !versions.is_empty() {
            self.give_back();
        }
    }

    /// Looks for new versions until the server stops.
    pub async fn watch(self: Arc<App>) {
        if !self.watches() {
            return;
        }
        while !self.is_stopping() {
            tokio::time::sleep(self.options.watch.max(Duration::from_millis(50))).await;
            if let Err(fault) = self.refresh().await {
                tracing::warn!(reason = fault.message, "the repository cannot be read; what is served stays");
            }
        }
    }
}
