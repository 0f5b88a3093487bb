//! From a location to a repository.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::local::LocalFileSystem;

use crate::layout::{MARKER, VERSION, number};
use crate::{Error, Repository, Result, check_name};

const S3: &str = "s3://";
const FILE: &str = "file://";

impl Repository {
    /// A repository that is there: a path, `file://PATH`, or `s3://BUCKET/PREFIX`. A bucket's keys, region and endpoint are
    /// those of the usual variables of the environment: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`,
    /// `AWS_ENDPOINT_URL`, and `AWS_ALLOW_HTTP=true` for an endpoint without TLS.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let error = brisk_registry::Repository::open("no/such/folder").await.unwrap_err();
    /// assert!(error.to_string().starts_with("no/such/folder: there is no such folder"));
    /// # });
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn open(location: &str) -> Result<Repository> {
        let Some(folder) = folder(location)? else {
            let repository = s3(location)?;
            repository.is_marked().await?;
            return Ok(repository);
        };
        let fault = |message: &str| Err(bad(location, message));
        if !folder.exists() {
            return fault("there is no such folder; `brisk publish` makes a repository");
        }
        if !folder.is_dir() {
            return fault("this is a file; expected the folder of a repository");
        }
        if !is_repository(&folder) {
            return fault(
                "this folder is no repository: it has no brisk-repository.json; `brisk publish` makes one",
            );
        }
        let repository = local(location, folder)?;
        repository.is_marked().await?;
        Ok(repository)
    }

    /// A repository to publish in: as [`Repository::open`], but it need not be there yet.
    pub async fn create(location: &str) -> Result<Repository> {
        let repository = match folder(location)? {
            None => s3(location)?,
            Some(folder) => {
                fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
                if !is_repository(&folder)
                    && let Some(stranger) = stranger(&folder).map_err(Error::io(&folder))?
                {
                    let message =
                        format!("this folder is no repository: it holds {stranger}; choose a new one");
                    return Err(bad(location, message));
                }
                local(location, folder)?
            }
        };
        repository.mark().await?;
        Ok(repository)
    }
}

/// Whether a folder is a repository, and not a run or a model.
///
/// ```
/// let dir = tempfile::tempdir()?;
/// assert!(!brisk_registry::is_repository(dir.path()));
/// std::fs::create_dir_all(dir.path().join("fashion/1"))?;
/// std::fs::write(dir.path().join("fashion/1/version.json"), "{}")?;
/// assert!(brisk_registry::is_repository(dir.path()));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn is_repository(folder: &Path) -> bool {
    let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    let sound = |name: &std::ffi::OsStr| name.to_str().is_some_and(|n| check_name(n).is_ok());
    let is_number = |name: &std::ffi::OsStr| name.to_str().is_some_and(|n| number(n).is_some());
    folder.join(MARKER).is_file()
        || entries(folder).filter(|e| sound(&e.file_name())).any(|model| {
            entries(&model.path()).any(|v| is_number(&v.file_name()) && v.path().join(VERSION).is_file())
        })
}

/// The folder that a location means, if it means one.
fn folder(location: &str) -> Result<Option<PathBuf>> {
    match location.split_once("://") {
        _ if location.is_empty() => Err(bad(location, "expected a folder, or s3://BUCKET/PREFIX")),
        None => Ok(Some(location.into())),
        Some(_) if location.starts_with(S3) => Ok(None),
        Some(("file", path)) if path.starts_with('/') => Ok(Some(path.into())),
        Some(("file", _)) => Err(bad(location, format!("expected {FILE} and a path that begins with /"))),
        Some(_) => Err(bad(location, "expected a folder, file:///PATH, or s3://BUCKET/PREFIX")),
    }
}

fn local(location: &str, folder: PathBuf) -> Result<Repository> {
    let fault = |source| Error::Store { path: location.into(), source };
    let store = LocalFileSystem::new_with_prefix(&folder).map_err(fault)?.with_fsync(true);
    Ok(Repository { folder: Some(folder), ..Repository::with_store(Arc::new(store), location) })
}

/// Something in a folder that is about to become a repository.
fn stranger(folder: &Path) -> std::io::Result<Option<String>> {
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().display().to_string();
        // Somebody else may be making it a repository just now.
        if !name.starts_with(MARKER) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

#[cfg(feature = "s3")]
fn s3(location: &str) -> Result<Repository> {
    use object_store::aws::AmazonS3Builder;
    use object_store::prefix::PrefixStore;
    let rest = location.strip_prefix(S3).unwrap_or_default();
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(bad(location, "expected s3://BUCKET/PREFIX"));
    }
    let prefix = object_store::path::Path::parse(prefix.trim_end_matches('/'))
        .map_err(|e| bad(location, format!("expected s3://BUCKET/PREFIX: {e}")))?;
    // The one that the program has chosen stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let bucket = AmazonS3Builder::from_env().with_bucket_name(bucket).build();
    let bucket = bucket.map_err(|source| Error::Store { path: location.into(), source })?;
    Ok(Repository::with_store(Arc::new(PrefixStore::new(bucket, prefix)), location))
}

#[cfg(not(feature = "s3"))]
fn s3(location: &str) -> Result<Repository> {
    Err(bad(location, "this Brisk was built without S3; use a folder, or a Brisk with the feature `s3`"))
}

fn bad(location: &str, message: impl Into<String>) -> Error {
    Error::Location { location: location.into(), message: message.into() }
}
