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
            if !repository.is_marked().await? {
                let models = repository.list(None).await.map_err(|e| without_bucket(location, e))?;
                if models.is_empty() {
                    return Err(bad(location, "there is no repository; `brisk publish` makes one"));
                }
            }
            return Ok(repository);
        };
        let fault = |message: &str| Err(bad(location, message));
        if !folder.exists() {
            return fault("there is no such folder; `brisk publish` makes a repository");
        }
        if !folder.is_dir() {
            return fault("this is a file; expected the folder of a repository");
        }
        if !is_repository(&folder) && !is_free(&folder) {
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
        repository.mark().await.map_err(|e| without_bucket(location, e))?;
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

/// Whether a folder is empty, so that a repository can be made of it.
///
/// ```
/// let dir = tempfile::tempdir()?;
/// assert!(brisk_registry::is_free(dir.path()));
/// std::fs::write(dir.path().join("notes.txt"), "")?;
/// assert!(!brisk_registry::is_free(dir.path()));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn is_free(folder: &Path) -> bool {
    stranger(folder).is_ok_and(|found| found.is_none())
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

/// Stores have no kind of error for a bucket that is not there.
fn without_bucket(location: &str, error: Error) -> Error {
    match error.to_string().contains("<Code>NoSuchBucket</Code>") {
        true => bad(location, "there is no such bucket; check its name, or make it first"),
        false => error,
    }
}

/// Something in a folder that is about to become a repository.
fn stranger(folder: &Path) -> std::io::Result<Option<String>> {
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().display().to_string();
        // Somebody else may be making it a repository just now; and file systems have things of their own.
        let is_own = name.starts_with(MARKER) || name.starts_with('.') || name == "lost+found";
        if !is_own {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

#[cfg(feature = "s3")]
fn s3(location: &str) -> Result<Repository> {
    use object_store::aws::AmazonS3Builder;
    use object_store::prefix::PrefixStore;
    let (bucket, prefix) = bucket(location)?;
    // The one that the program has chosen stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let bucket = AmazonS3Builder::from_env().with_bucket_name(bucket).build();
    let bucket = bucket.map_err(|source| Error::Store { path: location.into(), source })?;
    Ok(Repository::with_store(Arc::new(PrefixStore::new(bucket, prefix)), location))
}

/// The bucket of a location, and what all names in it begin with.
#[cfg(feature = "s3")]
fn bucket(location: &str) -> Result<(&str, object_store::path::Path)> {
    let fault = || bad(location, "expected s3://BUCKET or s3://BUCKET/PREFIX");
    let rest = location.strip_prefix(S3).ok_or_else(fault)?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let has_gap = rest.contains('/') && prefix.split('/').any(str::is_empty);
    if bucket.is_empty() || !bucket.chars().all(plain) || has_gap {
        return Err(fault());
    }
    Ok((bucket, object_store::path::Path::parse(prefix).map_err(|_| fault())?))
}

#[cfg(not(feature = "s3"))]
fn s3(location: &str) -> Result<Repository> {
    Err(bad(location, "this Brisk was built without S3; use a folder, or a Brisk with the feature `s3`"))
}

fn bad(location: &str, message: impl Into<String>) -> Error {
    Error::Location { location: location.into(), message: message.into() }
}

#[cfg(all(test, feature = "s3"))]
mod tests {
    use super::*;

    #[test]
    fn a_location_names_bucket_and_prefix() {
        for (location, name, prefix) in [
            ("s3://bucket", "bucket", ""),
            ("s3://bucket/", "bucket", ""),
            ("s3://my.bucket-1/team/models/", "my.bucket-1", "team/models"),
        ] {
            let found = bucket(location).unwrap();
            assert_eq!((found.0, found.1.as_ref()), (name, prefix), "{location}");
        }
        for location in
            ["s3://", "s3:///x", "s3://bucket//x", "s3://a b/x", "s3://b/../x", "s3://b/x//y", "s3://b/./x"]
        {
            let error = bucket(location).unwrap_err();
            assert!(error.is_bad_input() && error.to_string().contains("expected s3://BUCKET"), "{error}");
        }
    }
}
