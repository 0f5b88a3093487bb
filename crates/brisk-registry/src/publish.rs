//! A model becomes a version.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::layout::{self, CLAIM};
use crate::name::is_file;
use crate::record::{Mark, now};
use crate::upload::{Fault, upload};
use crate::{Error, FORMAT_VERSION, FileRecord, Repository, Result, Version, check_name};

/// A model that is to be published, and what is said about it.
///
/// ```
/// use brisk_registry::Publication;
/// let publication = Publication {
///     metrics: [("test_accuracy".to_string(), 0.91)].into(),
///     source: "runs/fashion-3".into(),
///     ..Publication::new("fashion", "runs/fashion-3/model")
/// };
/// assert!(publication.note.is_empty());
/// ```
#[derive(Clone, Debug)]
pub struct Publication {
    /// The model's name in the repository.
    pub name: String,
    /// The model's folder.
    pub folder: PathBuf,
    /// Other files that go with it, by name.
    pub extra: Vec<(String, Vec<u8>)>,
    /// What was measured; what is no number is left out.
    pub metrics: BTreeMap<String, f64>,
    /// What was required of these, all met.
    pub required: BTreeMap<String, String>,
    /// The checksums of files that the metrics are of, by name: nothing else is published.
    pub expected: BTreeMap<String, String>,
    /// Where it comes from.
    pub source: String,
    /// Words for people.
    pub note: String,
}

impl Publication {
    /// The model of a folder, and nothing said about it.
    pub fn new(name: impl Into<String>, folder: impl Into<PathBuf>) -> Publication {
        Publication {
            name: name.into(),
            folder: folder.into(),
            extra: Vec::new(),
            metrics: BTreeMap::new(),
            required: BTreeMap::new(),
            expected: BTreeMap::new(),
            source: String::new(),
            note: String::new(),
        }
    }
}

impl Repository {
    /// Publishes a model as the next version. It is there whole, or not at all: if this fails, there is no such version.
    /// Several may publish at the same time.
    pub async fn publish(&self, publication: &Publication) -> Result<Version> {
        let name = &publication.name;
        check_name(name)?;
        let files = brisk_format::model_files(&publication.folder)?;
        check_files(publication, &files)?;
        for (file, expected) in &publication.expected {
            let found = files.iter().find(|f| f.0 == *file).and_then(|f| f.1.as_ref());
            if found != Some(expected) {
                return Err(self.conflict(
                    name,
                    &format!("{file} was replaced while the model was being published; publish it again"),
                ));
            }
        }
        self.mark().await?;
        let number = self.claim(name).await?;
        let result = self.fill(publication, files, number).await;
        if result.is_err() {
            // What is left has no description, so that nobody takes it for a version.
            let _ = self.clear(name, number).await;
        }
        result
    }

    /// Takes the next number.
    async fn claim(&self, name: &str) -> Result<u64> {
        let listing = self.list(Some(layout::model(name))).await?.remove(name).unwrap_or_default();
        let mut highest = listing.taken.last().copied();
        let claim = Mark::new(&self.by);
        loop {
            let Some(number) = layout::after(highest) else {
                return Err(self.conflict(name, "there are no numbers left; publish under another name"));
            };
            if self.put_new(&layout::file(name, number, CLAIM), &claim).await? {
                return Ok(number);
            }
            highest = Some(number);
        }
    }

    async fn fill(
        &self,
        publication: &Publication,
        files: Vec<(String, Option<String>)>,
        number: u64,
    ) -> Result<Version> {
        let name = &publication.name;
        let mut records = BTreeMap::new();
        for (file, bytes) in &publication.extra {
            let place = Path::new(file);
            records.insert(
                file.clone(),
                self.upload(name, number, file, place, &mut &bytes[..], bytes.len() as u64).await?,
            );
        }
        for (file, checksum) in files {
            let path = publication.folder.join(&file);
            let mut from = File::open(&path).map_err(Error::io(&path))?;
            let length = from.metadata().map_err(Error::io(&path))?.len();
            let record = self.upload(name, number, &file, &path, &mut from, length).await?;
            if let Some(expected) = checksum.filter(|c| *c != record.blake3) {
                return Err(Error::Damaged {
                    file: path.display().to_string(),
                    expected: format!("the checksum {expected}, which its brisk.json has"),
                    found: record.blake3,
                    remedy: "if the model was being saved just now, publish it again; else save it again from a checkpoint of its run, or train again",
                });
            }
            records.insert(file, record);
        }
        let version = Version {
            format: FORMAT_VERSION,
            name: name.clone(),
            version: number,
            created: now(),
            brisk: env!("CARGO_PKG_VERSION").into(),
            files: records,
            metrics: publication.metrics.clone().into_iter().filter(|m| m.1.is_finite()).collect(),
            required: publication.required.clone(),
            source: publication.source.clone(),
            note: publication.note.clone(),
        };
        let path = layout::file(name, number, layout::VERSION);
        if !self.put_new(&path, &version).await? {
            return Err(self.conflict(&path, "somebody else has written it; publish again"));
        }
        if self.is_removed(name, number).await? {
            return Err(
                self.conflict(&path, "the version was removed while it was being published; publish again")
            );
        }
        Ok(version)
    }

    async fn upload(
        &self,
        name: &str,
        number: u64,
        file: &str,
        place: &Path,
        from: &mut (dyn Read + Send),
        length: u64,
    ) -> Result<FileRecord> {
        let path = layout::file(name, number, file);
        match upload(&*self.store, &path, from, length).await {
            Ok(record) => Ok(record),
            Err(Fault::Read(error)) => Err(Error::io(place)(error)),
            Err(Fault::Write(error)) => Err(self.failed(&path)(error)),
        }
    }

    pub(crate) fn conflict(&self, path: impl AsRef<str>, message: &str) -> Error {
        Error::Conflict { place: self.place(path), message: message.into() }
    }
}

/// Each file has a name of its own that a version can have.
fn check_files(publication: &Publication, files: &[(String, Option<String>)]) -> Result<()> {
    let mut seen = HashSet::new();
    let names = files.iter().map(|f| &f.0).chain(publication.extra.iter().map(|f| &f.0));
    match names.into_iter().find(|n| !is_file(n) || !seen.insert(*n)) {
        None => Ok(()),
        Some(name) => Err(Error::BadName {
            what: "a file of a version",
            name: name.clone(),
            expected: "1 to 64 letters a-z, A-Z, digits, _, - and ., not beginning with ., none of the repository's own, each once",
        }),
    }
}
