//! Aliases: names that point to versions and can be moved. Each move is a file of its own, which only one can create.

use futures_util::TryStreamExt;
use serde::Serialize;

use crate::layout::{self, Item, after};
use crate::record::ALIAS_REMEDY;
use crate::{AliasEntry, Error, Repository, Result, check_alias};

/// Times that a move is tried again when others move the same alias.
const TRIES: usize = 32;

/// What an alias pointed to, and what it points to now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Moved {
    /// Before; nothing if the alias is new.
    pub from: Option<u64>,
    /// Now; nothing if it was removed.
    pub to: Option<u64>,
}

/// A history up to some move.
struct Log {
    entries: Vec<AliasEntry>,
    highest: Option<u64>,
}

impl Log {
    fn points_to(&self) -> Option<u64> {
        self.entries.last()?.version
    }

    /// The versions that can be gone back to, the nearest last. Those that were left by going back are out.
    fn earlier(&self) -> Vec<u64> {
        let mut stack = Vec::new();
        for entry in &self.entries {
            let Some(version) = entry.version else { continue };
            match stack.iter().rposition(|v| *v == version).filter(|_| entry.rollback) {
                Some(place) => stack.truncate(place + 1),
                None => stack.push(version),
            }
        }
        let now = self.points_to();
        stack.retain(|v| Some(*v) != now);
        stack
    }
}

impl Repository {
    /// Points an alias to a version. Of several that do so at the same time, the last one stays; the history has all.
    pub async fn set_alias(&self, name: &str, alias: &str, version: u64) -> Result<Moved> {
        check_alias(alias)?;
        self.version(name, version).await?;
        for _ in 0..TRIES {
            // A damaged history does not keep an alias from being set.
            let highest = self.moves(name, alias).await?.last().copied();
            let last = match highest {
                Some(number) => self.alias_entry(name, alias, number).await.ok().flatten(),
                None => None,
            };
            let from = last.and_then(|e| e.version);
            if from == Some(version) {
                return Ok(Moved { from, to: from });
            }
            let entry = AliasEntry::new(Some(version), &self.by);
            if self.append(name, alias, highest, &entry).await? {
                return self.moved(name, alias, from, version).await;
            }
        }
        Err(self.busy(name, alias))
    }

    /// Points an alias to the version that it pointed to before. Again, and it goes further back. Versions that were removed
    /// are left out.
    pub async fn rollback(&self, name: &str, alias: &str) -> Result<Moved> {
        check_alias(alias)?;
        let listing = self.listing(name).await?;
        let log = self.log(name, alias).await?;
        let Some(from) = log.points_to() else { return Err(self.no_alias(name, alias).await) };
        let Some(to) = log.earlier().into_iter().rev().find(|v| listing.has(*v)) else {
            let place = format!("{}: alias {alias}", self.place(name));
            return Err(Error::NoEarlier { place, version: from });
        };
        let entry = AliasEntry { rollback: true, ..AliasEntry::new(Some(to), &self.by) };
        match self.append(name, alias, log.highest, &entry).await? {
            true => self.moved(name, alias, Some(from), to).await,
            false => Err(self.busy(name, alias)),
        }
    }

    /// The versions that an alias could go back to, the one before first. Versions that were removed are left out.
    pub async fn earlier(&self, name: &str, alias: &str) -> Result<Vec<u64>> {
        check_alias(alias)?;
        let listing = self.listing(name).await?;
        Ok(self.log(name, alias).await?.earlier().into_iter().rev().filter(|v| listing.has(*v)).collect())
    }

    /// Removes an alias. Its history stays.
    pub async fn remove_alias(&self, name: &str, alias: &str) -> Result<Moved> {
        check_alias(alias)?;
        self.listing(name).await?;
        let log = self.log(name, alias).await?;
        let Some(from) = log.points_to() else { return Err(self.no_alias(name, alias).await) };
        match self.append(name, alias, log.highest, &AliasEntry::new(None, &self.by)).await? {
            true => Ok(Moved { from: Some(from), to: None }),
            false => Err(self.busy(name, alias)),
        }
    }

    /// All moves of an alias, the oldest first.
    pub async fn alias_history(&self, name: &str, alias: &str) -> Result<Vec<AliasEntry>> {
        check_alias(alias)?;
        self.listing(name).await?;
        let log = self.log(name, alias).await?;
        if log.entries.is_empty() {
            return Err(self.no_alias(name, alias).await);
        }
        Ok(log.entries)
    }

    pub(crate) async fn alias_entry(
        &self,
        name: &str,
        alias: &str,
        number: u64,
    ) -> Result<Option<AliasEntry>> {
        self.read_json(&layout::alias_entry(name, alias, number), ALIAS_REMEDY).await
    }

    async fn log(&self, name: &str, alias: &str) -> Result<Log> {
        let numbers = self.moves(name, alias).await?;
        let mut entries = Vec::with_capacity(numbers.len());
        for &number in &numbers {
            entries.extend(self.alias_entry(name, alias, number).await?);
        }
        Ok(Log { entries, highest: numbers.last().copied() })
    }

    /// The numbers of the moves, in order.
    async fn moves(&self, name: &str, alias: &str) -> Result<Vec<u64>> {
        let folder = layout::alias_log(name, alias);
        let mut numbers = Vec::new();
        let mut found = self.store.list(Some(&folder));
        while let Some(object) = found.try_next().await.map_err(self.failed(&folder))? {
            if let Some((_, Item::Alias(_, number))) = layout::parse(&object.location) {
                numbers.push(number);
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The next move, unless somebody else was faster.
    async fn append(
        &self,
        name: &str,
        alias: &str,
        highest: Option<u64>,
        entry: &AliasEntry,
    ) -> Result<bool> {
        match after(highest) {
            Some(next) => self.put_new(&layout::alias_entry(name, alias, next), entry).await,
            None => Err(self.conflict(name, "the alias was moved too often; use another one")),
        }
    }

    /// After a move: the version may have been removed at the same moment. Then the alias goes back.
    async fn moved(&self, name: &str, alias: &str, from: Option<u64>, to: u64) -> Result<Moved> {
        if !self.is_removed(name, to).await? {
            return Ok(Moved { from, to: Some(to) });
        }
        let back = AliasEntry { rollback: true, ..AliasEntry::new(from, &self.by) };
        let log = self.log(name, alias).await?;
        if log.points_to() == Some(to) {
            self.append(name, alias, log.highest, &back).await?;
        }
        Err(self.conflict(
            name,
            &format!("version {to} was removed while {alias} was moved to it; choose another"),
        ))
    }

    fn busy(&self, name: &str, alias: &str) -> Error {
        self.conflict(
            name,
            &format!("somebody else has moved {alias} at the same time; look where it points, and try again"),
        )
    }

    async fn no_alias(&self, name: &str, alias: &str) -> Error {
        match self.aliases(name).await {
            Ok(aliases) => Error::not_found(&self.place(name), "alias", alias, aliases.into_keys().collect()),
            Err(error) => error,
        }
    }
}
