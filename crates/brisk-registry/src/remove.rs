//! A version goes. Its number is never used again.

use std::time::{Duration, SystemTime};

use object_store::{Error as StoreError, ObjectStoreExt};

use crate::layout::{self, REMOVED, VERSION};
use crate::record::{Mark, REMEDY};
use crate::{Error, Repository, Result, check_name};

/// After this long, whoever began to remove a version is no longer at it.
const A_WHILE: Duration = Duration::from_secs(60);

impl Repository {
    /// Removes a version, or what a publisher that died has left of one. Refused while an alias points to it.
    pub async fn remove(&self, name: &str, version: u64) -> Result<()> {
        // Also of a model of which nothing else is left.
        check_name(name)?;
        let listing = self.list(Some(layout::model(name))).await?.remove(name).unwrap_or_default();
        let left = listing.described.contains(&version) || listing.files.contains_key(&version);
        if !listing.taken.contains(&version) || listing.removed.contains(&version) && !left {
            self.listing(name).await?; // says if there is no such model
            let known = listing.versions().map(|v| v.to_string()).collect();
            return Err(Error::not_found(&self.place(name), "version", &version.to_string(), known));
        }
        self.check_unused(name, version).await?;
        let mark = layout::file(name, version, REMOVED);
        if self.put_new(&mark, &Mark::new(&self.by)).await? {
            // An alias may have been moved here before the mark was there; after it, its mover goes back.
            if let Err(error) = self.check_unused(name, version).await {
                self.delete(name, version, REMOVED).await?;
                return Err(error);
            }
        } else if listing.described.contains(&version) && !self.is_old(name, version).await? {
            return Err(self.conflict(&mark, "somebody else is removing this version; try again in a minute"));
        }
        self.clear(name, version).await
    }

    async fn check_unused(&self, name: &str, version: u64) -> Result<()> {
        let aliases = self.aliases(name).await.or_else(|error| match error {
            // Nothing else is left of the model.
            Error::NotFound { .. } => Ok(Default::default()),
            other => Err(other),
        })?;
        let aliases: Vec<String> = aliases.into_iter().filter(|a| a.1 == version).map(|a| a.0).collect();
        match aliases.is_empty() {
            true => Ok(()),
            false => Err(Error::InUse { place: self.place(name), version, aliases }),
        }
    }

    /// Whether a version was marked as removed some time ago.
    async fn is_old(&self, name: &str, version: u64) -> Result<bool> {
        let mark: Option<Mark> = self.read_json(&layout::file(name, version, REMOVED), REMEDY).await?;
        let Some(mark) = mark else { return Ok(false) };
        let at = humantime::parse_rfc3339(&mark.at).ok();
        Ok(at.is_none_or(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > A_WHILE)))
    }

    /// Marks a version as removed, and removes its description before its files.
    pub(crate) async fn clear(&self, name: &str, version: u64) -> Result<()> {
        self.put_new(&layout::file(name, version, REMOVED), &Mark::new(&self.by)).await?;
        self.delete(name, version, VERSION).await?;
        let mut listing = self.list(Some(layout::model(name))).await?.remove(name).unwrap_or_default();
        for file in listing.files.remove(&version).unwrap_or_default() {
            self.delete(name, version, &file).await?;
        }
        self.sweep(name, version);
        Ok(())
    }

    async fn delete(&self, name: &str, version: u64, file: &str) -> Result<()> {
        let path = layout::file(name, version, file);
        match self.store.delete(&path).await {
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(source) => Err(self.failed(&path)(source)),
        }
    }

    /// Half-written files that a killed publisher has left in a folder: the store does not show them.
    fn sweep(&self, name: &str, version: u64) {
        let Some(folder) = &self.folder else { return };
        let folder = folder.join(name).join(version.to_string());
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().contains('#') {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}
