//! What the files of a repository say.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::SystemTime;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::name::is_file;
use crate::{Error, FORMAT_VERSION, Result};

pub(crate) const REMEDY: &str = "restore the file from a backup, or publish the model again as a new version";
pub(crate) const ALIAS_REMEDY: &str = "restore the file from a backup, or remove it and set the alias again";

/// A version of a model, as its `version.json` describes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Version {
    /// Of the repository that it was published in.
    pub format: u32,
    /// The model.
    pub name: String,
    /// Its number, from 1.
    pub version: u64,
    /// When it was published, in UTC: `2030-01-31T12:00:00Z`.
    pub created: String,
    /// The Brisk that published it.
    pub brisk: String,
    /// Its files, by name.
    pub files: BTreeMap<String, FileRecord>,
    /// What was measured before it was published: `test_accuracy`, `val_loss`, ...
    #[serde(default)]
    pub metrics: BTreeMap<String, f64>,
    /// What its run's project required of these, all met: `test_accuracy` `>= 0.9`. Empty if nothing was required.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub required: BTreeMap<String, String>,
    /// Where it came from: the name of a run.
    #[serde(default)]
    pub source: String,
    /// The publisher's words.
    #[serde(default)]
    pub note: String,
}

/// A file of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// How long it is.
    pub bytes: u64,
    /// Its BLAKE3 checksum, in hexadecimal digits.
    pub blake3: String,
}

/// A move of an alias.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AliasEntry {
    /// Where it points since; nowhere if it was removed.
    pub version: Option<u64>,
    /// When, in UTC.
    pub at: String,
    /// Who moved it, if that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Whether it went back to an earlier version.
    #[serde(default, skip_serializing_if = "is_false")]
    pub rollback: bool,
    /// No two moves have the same.
    #[serde(default)]
    pub(crate) id: String,
}

/// What takes a number, and what says that a version is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    pub id: String,
}

impl Mark {
    pub fn new(by: &Option<String>) -> Mark {
        Mark { at: now(), by: by.clone(), id: unique() }
    }
}

impl Version {
    /// Reads a `version.json`, which may hold anything. `file` is what messages call it.
    pub(crate) fn parse(bytes: &[u8], file: &str, name: &str, number: u64) -> Result<Version> {
        let version: Version = parse(bytes, file, REMEDY)?;
        let damaged = |expected: String, found: String| {
            Err(Error::Damaged { file: file.into(), expected, found, remedy: REMEDY })
        };
        if version.name != name || version.version != number {
            return damaged(
                format!("version {number} of {name}"),
                format!("version {} of {}", version.version, version.name),
            );
        }
        for (name, record) in &version.files {
            if !is_file(name) {
                return damaged("plain names of files".into(), format!("{name:?}"));
            }
            if record.blake3.len() != 64 || !record.blake3.bytes().all(|b| b.is_ascii_hexdigit()) {
                return damaged(format!("a checksum of {name}"), format!("{:?}", record.blake3));
            }
        }
        Ok(version)
    }

    /// How long all its files are together.
    pub fn bytes(&self) -> u64 {
        self.files.values().fold(0, |sum, f| sum.saturating_add(f.bytes))
    }
}

impl AliasEntry {
    pub(crate) fn new(version: Option<u64>, by: &Option<String>) -> AliasEntry {
        AliasEntry { version, at: now(), by: by.clone(), rollback: false, id: unique() }
    }
}

/// Reads JSON, which may hold anything.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8], file: &str, remedy: &'static str) -> Result<T> {
    let damaged = |e: serde_json::Error| Error::Damaged {
        file: file.into(),
        expected: "what Brisk wrote".into(),
        found: e.to_string(),
        remedy,
    };
    let value: Value = serde_json::from_slice(bytes).map_err(damaged)?;
    match value.get("format").and_then(Value::as_u64) {
        Some(found) if found > FORMAT_VERSION.into() => {
            Err(Error::Newer { file: file.into(), found, known: FORMAT_VERSION })
        }
        _ => serde_json::from_value(value).map_err(damaged),
    }
}

/// This moment in UTC.
pub(crate) fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

/// Words that nobody else has.
fn unique() -> String {
    let word = || RandomState::new().build_hasher().finish();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
    format!("{:016x}{:016x}", word(), word() ^ now)
}

fn is_false(value: &bool) -> bool {
    !value
}
