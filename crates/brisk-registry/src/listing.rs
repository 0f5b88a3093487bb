//! What there is.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::TryStreamExt;
use object_store::path::Path;
use serde::Serialize;

use crate::layout::{self, Item};
use crate::name::LATEST;
use crate::{Error, Repository, Result, Version, check_name};

/// A model of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ModelEntry {
    /// Its name.
    pub name: String,
    /// Its versions, the oldest first.
    pub versions: Vec<u64>,
    /// Where its aliases point.
    pub aliases: BTreeMap<String, u64>,
    /// Numbers that are taken but are no versions: they are being published now, or their publishers have died.
    pub unfinished: Vec<u64>,
}

/// The files of a model.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listing {
    /// All numbers that are or were ever taken.
    pub taken: BTreeSet<u64>,
    /// Those with a description.
    pub described: BTreeSet<u64>,
    pub removed: BTreeSet<u64>,
    /// The files of each number, but not the repository's own.
    pub files: BTreeMap<u64, Vec<String>>,
    /// How often each alias was moved.
    pub aliases: BTreeMap<String, u64>,
}

impl Listing {
    /// The versions that are there.
    pub fn versions(&self) -> impl DoubleEndedIterator<Item = u64> {
        self.described.iter().copied().filter(|n| !self.removed.contains(n))
    }

    pub fn has(&self, version: u64) -> bool {
        self.described.contains(&version) && !self.removed.contains(&version)
    }

    fn unfinished(&self) -> impl Iterator<Item = u64> {
        self.taken.iter().copied().filter(|n| !self.described.contains(n) && !self.removed.contains(n))
    }

    fn is_gone(&self) -> bool {
        self.versions().next().is_none() && self.unfinished().next().is_none()
    }
}

impl Repository {
    /// All models, by name.
    pub async fn models(&self) -> Result<Vec<ModelEntry>> {
        self.each_model().await?.into_iter().map(|(_, model)| model).collect()
    }

    /// All models, by name; each with what is wrong with it, if it cannot be read.
    pub async fn each_model(&self) -> Result<Vec<(String, Result<ModelEntry>)>> {
        let mut models = Vec::new();
        for (name, listing) in self.list(None).await? {
            if !listing.is_gone() {
                models.push((name.clone(), self.entry(name, &listing).await));
            }
        }
        Ok(models)
    }

    /// One model.
    pub async fn model(&self, name: &str) -> Result<ModelEntry> {
        let listing = self.listing(name).await?;
        self.entry(name.into(), &listing).await
    }

    /// The numbers of a model's versions, the oldest first.
    pub async fn versions(&self, name: &str) -> Result<Vec<u64>> {
        Ok(self.listing(name).await?.versions().collect())
    }

    /// Where the aliases of a model point.
    pub async fn aliases(&self, name: &str) -> Result<BTreeMap<String, u64>> {
        let listing = self.listing(name).await?;
        self.pointed(name, &listing).await
    }

    /// The version that is meant by a number, an alias, or `latest`.
    pub async fn resolve(&self, name: &str, spec: &str) -> Result<Version> {
        check_name(name)?;
        if let Some(number) = layout::number(spec) {
            return self.version(name, number).await;
        }
        let listing = self.listing(name).await?;
        let missing = |what, known| Error::not_found(&self.place(name), what, spec, known);
        if spec == LATEST {
            let latest = listing.versions().next_back().ok_or_else(|| missing("version", Vec::new()))?;
            return self.version(name, latest).await;
        }
        let aliases = self.pointed(name, &listing).await?;
        let names = || aliases.keys().cloned().chain([LATEST.into()]).collect();
        let version = aliases.get(spec).ok_or_else(|| missing("version or alias", names()))?;
        self.version(name, *version).await
    }

    async fn entry(&self, name: String, listing: &Listing) -> Result<ModelEntry> {
        Ok(ModelEntry {
            versions: listing.versions().collect(),
            aliases: self.pointed(&name, listing).await?,
            unfinished: listing.unfinished().collect(),
            name,
        })
    }

    pub(crate) async fn pointed(&self, name: &str, listing: &Listing) -> Result<BTreeMap<String, u64>> {
        let mut aliases = BTreeMap::new();
        for (alias, &number) in &listing.aliases {
            let entry = self.alias_entry(name, alias, number).await?;
            if let Some(version) = entry.and_then(|e| e.version) {
                aliases.insert(alias.clone(), version);
            }
        }
        Ok(aliases)
    }

    /// The files of a model that is there.
    pub(crate) async fn listing(&self, name: &str) -> Result<Listing> {
        check_name(name)?;
        match self.list(Some(layout::model(name))).await?.remove(name) {
            Some(listing) if !listing.is_gone() => Ok(listing),
            _ => {
                let known = self.list(None).await?.into_iter().filter(|m| !m.1.is_gone()).map(|m| m.0);
                Err(Error::not_found(&self.location, "model", name, known.collect()))
            }
        }
    }

    pub(crate) async fn list(&self, under: Option<Path>) -> Result<BTreeMap<String, Listing>> {
        let mut models: BTreeMap<String, Listing> = BTreeMap::new();
        let root = under.clone().unwrap_or_default();
        let mut found = self.store.list(under.as_ref());
        while let Some(object) = found.try_next().await.map_err(self.failed(&root))? {
            let Some((name, item)) = layout::parse(&object.location) else { continue };
            let model = models.entry(name).or_default();
            if let Item::Claim(n) | Item::Version(n) | Item::Removed(n) | Item::File(n, _) = &item {
                model.taken.insert(*n);
            }
            match item {
                Item::Claim(_) => {}
                Item::Version(n) => drop(model.described.insert(n)),
                Item::Removed(n) => drop(model.removed.insert(n)),
                Item::File(n, file) => model.files.entry(n).or_default().push(file),
                Item::Alias(alias, number) => {
                    let highest = model.aliases.entry(alias).or_default();
                    *highest = number.max(*highest);
                }
            }
        }
        Ok(models)
    }
}
