//! Which models are served, in which versions, and who answers: one value that requests read and changes replace.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use crate::fault::{Answered, Fault, FaultKind};
use crate::metrics::Live;
use crate::model::{Served, unknown_model};

/// A version that a share of the requests goes to.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    /// The version.
    pub version: u64,
    /// The share of requests without a version that it answers, 0 to 100.
    #[serde(default)]
    pub percent: f64,
    /// The other requests are asked of it too, and its answers are compared with those given.
    #[serde(default)]
    pub shadow: bool,
}

/// A model with its versions.
#[derive(Clone, Default)]
pub struct Entry {
    /// Those in memory.
    pub versions: BTreeMap<u64, Arc<Served>>,
    /// Names of versions.
    pub aliases: BTreeMap<String, u64>,
    /// The version that answers requests without one.
    pub default: u64,
    /// A version that is tried.
    pub canary: Option<Canary>,
    /// Its traffic.
    pub live: Arc<Live>,
    /// How many requests without a version it has had.
    pub asked: Arc<AtomicU64>,
}

impl Entry {
    /// Of 100 calls so many are true, spread evenly.
    fn turn(&self, percent: f64) -> bool {
        let n = self.asked.fetch_add(1, Relaxed) as f64;
        let share = percent.clamp(0.0, 100.0) / 100.0;
        ((n + 1.0) * share).floor() > (n * share).floor()
    }
}

/// All models, by name.
pub type Table = BTreeMap<String, Entry>;

/// Which version of a model is wanted.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    /// The one that answers at present, or the canary.
    Default,
    /// This one.
    Version(u64),
    /// The one that an alias names.
    Alias(String),
}

impl Wanted {
    /// A number is a version, another word an alias; nothing is the default.
    pub fn parse(text: &str) -> Wanted {
        match (text, text.parse()) {
            ("", _) => Wanted::Default,
            (_, Ok(version)) => Wanted::Version(version),
            _ => Wanted::Alias(text.into()),
        }
    }
}

/// Who answers a request.
pub struct Picked {
    /// The version that answers.
    pub served: Arc<Served>,
    /// A version whose answers are compared.
    pub shadow: Option<Arc<Served>>,
    /// Where its traffic is counted.
    pub live: Arc<Live>,
}

/// The models that are served.
#[derive(Default)]
pub struct Catalog {
    table: ArcSwap<Table>,
    changing: Mutex<()>,
    /// Models that an administrator has taken out of memory.
    unloaded: Mutex<BTreeSet<String>>,
}

impl Catalog {
    /// All of it, as it is now.
    pub fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// Models that an administrator has taken out of memory.
    pub fn unloaded(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.unloaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces it by what `change` makes of it. Changes come one after another.
    pub fn change<T>(&self, change: impl FnOnce(&mut Table) -> T) -> T {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = Table::clone(&self.table.load());
        let result = change(&mut table);
        self.table.store(Arc::new(table));
        result
    }

    /// Who answers a request for a model: of those that name no version, some are the canary's.
    pub fn pick(&self, name: &str, wanted: &Wanted) -> Answered<Picked> {
        self.choose(name, wanted, true)
    }

    /// A version, to speak about it.
    pub fn find(&self, name: &str, wanted: &Wanted) -> Answered<Picked> {
        self.choose(name, wanted, false)
    }

    fn choose(&self, name: &str, wanted: &Wanted, turn: bool) -> Answered<Picked> {
        let table = self.table.load();
        let entry = table.get(name).ok_or_else(|| {
            if self.unloaded().contains(name) {
                return unloaded(name);
            }
            let known: Vec<String> = table.keys().cloned().collect();
            unknown_model(name, &known)
        })?;
        let version = match wanted {
            Wanted::Version(version) => *version,
            Wanted::Alias(alias) => *entry.aliases.get(alias).ok_or_else(|| {
                let known: Vec<_> = entry.aliases.keys().map(String::as_str).collect();
                let known = if known.is_empty() { "none".into() } else { known.join(", ") };
                Fault::new(
                    FaultKind::NotFound,
                    format!("model `{name}` has no alias `{alias}`; it has {known}"),
                )
            })?,
            Wanted::Default => match entry.canary {
                Some(canary) if turn && entry.turn(canary.percent) => canary.version,
                _ => entry.default,
            },
        };
        let served = entry.versions.get(&version).ok_or_else(|| {
            let known: Vec<_> = entry.versions.keys().map(u64::to_string).collect();
            let known = if known.is_empty() { "none".into() } else { known.join(", ") };
            Fault::new(
                FaultKind::NotFound,
                format!("version {version} of model `{name}` is not served; loaded are {known}"),
            )
        })?;
        let shadow = entry.canary.filter(|c| c.shadow && *wanted == Wanted::Default && c.version != version);
        let shadow = shadow.and_then(|c| entry.versions.get(&c.version)).cloned();
        Ok(Picked { served: served.clone(), shadow, live: entry.live.clone() })
    }

    /// The only model that is served, for requests that name none.
    pub fn only(&self) -> Answered<String> {
        let table = self.table.load();
        match table.keys().collect::<Vec<_>>()[..] {
            [name] => Ok(name.clone()),
            [] => {
                // There may be one soon, unless somebody has taken it away.
                let kind =
                    if self.unloaded().is_empty() { FaultKind::Unavailable } else { FaultKind::NotFound };
                Err(Fault::new(kind, "no model is served"))
            }
            ref several => {
                let names: Vec<_> = several.iter().map(|n| n.as_str()).collect();
                Err(Fault::bad(format!("several models are served: name one of {}", names.join(", "))))
            }
        }
    }
}

/// A request for a model that was taken out of memory.
pub fn unloaded(name: &str) -> Fault {
    let message =
        format!("model `{name}` is unloaded; POST /v2/repository/models/{name}/load brings it back");
    Fault::new(FaultKind::NotFound, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_gets_its_share() {
        let entry = Entry::default();
        for (percent, expected) in [(0.0, 0), (12.5, 125), (50.0, 500), (100.0, 1000)] {
            assert_eq!((0..1000).filter(|_| entry.turn(percent)).count(), expected);
        }
    }

    #[test]
    fn what_is_not_there_is_said() {
        let catalog = Catalog::default();
        let message = |wanted| catalog.pick("a", &wanted).err().unwrap().message;
        assert_eq!(message(Wanted::Default), "there is no model `a`; no model is served");
        catalog.change(|table| table.insert("a".into(), Entry { default: 1, ..Entry::default() }));
        assert_eq!(message(Wanted::parse("")), "version 1 of model `a` is not served; loaded are none");
        assert_eq!(message(Wanted::parse("next")), "model `a` has no alias `next`; it has none");
        assert_eq!(Wanted::parse("7"), Wanted::Version(7));
        assert_eq!(catalog.only().unwrap(), "a");
    }
}
