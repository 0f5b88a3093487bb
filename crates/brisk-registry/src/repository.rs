//! A repository, and the few things that everything else does with its files.

use std::path::PathBuf;
use std::sync::Arc;

use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutMode};
use serde::{Serialize, de::DeserializeOwned};

use crate::layout::{self, MARKER};
use crate::record::{REMEDY, parse};
use crate::{Error, FORMAT_VERSION, Result, Version};

/// The most bytes of a file of the repository's own.
const MOST: u64 = 1 << 20;
/// Times that a bucket may say that a file is there which then is not.
const TRIES: usize = 8;

/// Versions of models, in a folder or a bucket. Cheap to clone; all clones are the same repository.
///
/// Its methods are to run on a runtime of Tokio: with time and I/O enabled for a bucket. Local files are read and written
/// where the caller runs, so a server gives long work, such as [`Repository::fetch`], a thread of its own.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// use brisk_registry::Repository;
/// let repository = Repository::in_memory();
/// assert!(repository.models().await?.is_empty());
/// let error = repository.resolve("fashion", "latest").await.unwrap_err();
/// assert_eq!(error.to_string(), "memory: there is no model \"fashion\"; there are none yet");
/// # Ok::<(), brisk_registry::Error>(())
/// # }).unwrap();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Repository {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) location: String,
    pub(crate) folder: Option<PathBuf>,
    pub(crate) by: Option<String>,
}

impl Repository {
    /// In a store of your own, which must be able to create files only if they are absent. `location` is what messages call
    /// it.
    ///
    /// ```
    /// use std::sync::Arc;
    /// let store = Arc::new(object_store::memory::InMemory::new());
    /// let repository = brisk_registry::Repository::with_store(store, "a store");
    /// assert_eq!(repository.location(), "a store");
    /// ```
    pub fn with_store(store: Arc<dyn ObjectStore>, location: impl Into<String>) -> Repository {
        Repository { store, location: location.into(), folder: None, by: None }
    }

    /// In memory, for tests.
    pub fn in_memory() -> Repository {
        Repository::with_store(Arc::new(object_store::memory::InMemory::new()), "memory")
    }

    /// Who changes it from here on, for the histories.
    ///
    /// ```
    /// let repository = brisk_registry::Repository::in_memory().acting_as("the nightly job");
    /// ```
    pub fn acting_as(self, who: impl Into<String>) -> Repository {
        Repository { by: Some(who.into()), ..self }
    }

    /// Where it is.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Where something in it is, for messages.
    pub(crate) fn place(&self, path: impl AsRef<str>) -> String {
        match path.as_ref() {
            "" => self.location.clone(),
            path => format!("{}/{path}", self.location.trim_end_matches('/')),
        }
    }

    /// The description of a version, if it is there.
    pub async fn version(&self, name: &str, version: u64) -> Result<Version> {
        crate::check_name(name)?;
        match self.existing(name, version).await? {
            Some(found) => Ok(found),
            None => {
                let known = self.versions(name).await?.iter().map(u64::to_string).collect();
                Err(Error::not_found(&self.place(name), "version", &version.to_string(), known))
            }
        }
    }

    pub(crate) async fn existing(&self, name: &str, version: u64) -> Result<Option<Version>> {
        let path = layout::file(name, version, layout::VERSION);
        let Some(bytes) = self.read(&path).await? else { return Ok(None) };
        if self.is_removed(name, version).await? {
            return Ok(None);
        }
        Version::parse(&bytes, &self.place(&path), name, version).map(Some)
    }

    /// Whether a version was removed, also if its files are still there.
    pub(crate) async fn is_removed(&self, name: &str, version: u64) -> Result<bool> {
        let path = layout::file(name, version, layout::REMOVED);
        match self.store.head(&path).await {
            Ok(_) => Ok(true),
            Err(StoreError::NotFound { .. }) => Ok(false),
            Err(source) => Err(self.failed(&path)(source)),
        }
    }

    /// Whether it says what it is. An error if a newer Brisk made it.
    pub async fn is_marked(&self) -> Result<bool> {
        Ok(self.read_json::<serde_json::Value>(&Path::from(MARKER), REMEDY).await?.is_some())
    }

    /// Lets it say what it is.
    pub(crate) async fn mark(&self) -> Result<()> {
        if !self.is_marked().await? {
            let marker = serde_json::json!({"format": FORMAT_VERSION, "brisk": env!("CARGO_PKG_VERSION")});
            self.put_new(&Path::from(MARKER), &marker).await?;
        }
        Ok(())
    }

    /// Creates a small file. False if somebody else has created it before.
    pub(crate) async fn put_new(&self, path: &Path, content: &impl Serialize) -> Result<bool> {
        let mut bytes = serde_json::to_vec_pretty(content).map_err(|e| Error::Damaged {
            file: self.place(path),
            expected: "something that can be written as JSON".into(),
            found: e.to_string(),
            remedy: "report this",
        })?;
        bytes.push(b'\n');
        let mut tries = 0;
        loop {
            tries += 1;
            match self.store.put_opts(path, bytes.clone().into(), PutMode::Create.into()).await {
                Ok(_) => return Ok(true),
                Err(error @ StoreError::AlreadyExists { .. }) => match self.read(path).await? {
                    // A bucket may have done what it then was asked again, over a bad line.
                    Some(there) => return Ok(there == bytes),
                    // It may also say so of two that came at the same moment, neither of which is there.
                    None if tries < TRIES => {}
                    None => return Err(self.failed(path)(error)),
                },
                Err(error) => return Err(self.failed(path)(error)),
            }
        }
    }

    /// The bytes of a small file, if it is there.
    pub(crate) async fn read(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        let found = match self.store.get(path).await {
            Ok(found) => found,
            Err(StoreError::NotFound { .. }) => return Ok(None),
            Err(source) => return Err(self.failed(path)(source)),
        };
        if found.meta.size > MOST {
            return Err(Error::Damaged {
                file: self.place(path),
                expected: format!("at most {MOST} bytes"),
                found: format!("{} bytes", found.meta.size),
                remedy: REMEDY,
            });
        }
        Ok(Some(found.bytes().await.map_err(self.failed(path))?.to_vec()))
    }

    /// A small file of JSON, which is there.
    pub(crate) async fn read_json<T: DeserializeOwned>(
        &self,
        path: &Path,
        remedy: &'static str,
    ) -> Result<Option<T>> {
        let Some(bytes) = self.read(path).await? else { return Ok(None) };
        parse(&bytes, &self.place(path), remedy).map(Some)
    }

    pub(crate) fn failed(&self, path: &Path) -> impl Fn(StoreError) -> Error {
        let path = self.place(path);
        move |source| Error::Store { path: path.clone(), source }
    }
}
