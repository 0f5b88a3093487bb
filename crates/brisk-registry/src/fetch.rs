//! Out of the repository, checked byte by byte.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use futures_util::TryStreamExt;
use object_store::{Error as StoreError, GetResult, GetResultPayload, ObjectStoreExt};

use crate::layout::{self, VERSION};
use crate::name::is_file;
use crate::record::REMEDY;
use crate::{Error, FileRecord, Repository, Result, Version, check_name};

const BUFFER: usize = 1 << 18;

impl Repository {
    /// Writes a version into a new folder, which is then a model folder. It is there whole, or not at all; an error if a
    /// file is not the one that was published.
    pub async fn fetch(&self, version: &Version, into: &Path) -> Result<()> {
        let failed = Error::io(into);
        if into.exists() {
            return Err(failed(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "it is there already; choose a new folder",
            )));
        }
        let parent = match into.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        fs::create_dir_all(parent).map_err(&failed)?;
        let new = temporary(parent).map_err(&failed)?;
        for (file, record) in &version.files {
            let path = new.path().join(file);
            let failed = Error::io(&path);
            let mut out = None; // made once its name is known to be good
            let write = |bytes: &[u8]| {
                let out = match &mut out {
                    Some(out) => out,
                    none => none.insert(File::create_new(&path).map_err(&failed)?),
                };
                out.write_all(bytes).map_err(&failed)
            };
            self.check(version, file, record, write).await?;
            match out {
                Some(out) => out.sync_all().map_err(&failed)?,
                None => fs::write(&path, []).map_err(&failed)?,
            }
        }
        let text = serde_json::to_vec_pretty(version).map_err(|e| failed(e.into()))?;
        fs::write(new.path().join(VERSION), text).map_err(&failed)?;
        fs::rename(new.path(), into).map_err(&failed)?;
        let _ = new.keep(); // it has another name now
        Ok(())
    }

    /// An error if a file of a version is not the one that was published.
    pub async fn verify(&self, version: &Version) -> Result<()> {
        for (file, record) in &version.files {
            self.check(version, file, record, |_| Ok(())).await?;
        }
        Ok(())
    }

    /// Where a version lies, if that is a folder: it need not be fetched, only verified.
    pub fn local_path(&self, version: &Version) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join(&version.name).join(version.version.to_string()))
    }

    /// Reads a file, and compares it with what was published.
    async fn check(
        &self,
        version: &Version,
        file: &str,
        record: &FileRecord,
        mut each: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        check_name(&version.name)?;
        if !is_file(file) {
            let expected = "a plain name";
            return Err(Error::BadName { what: "a file of a version", name: file.into(), expected });
        }
        let path = layout::file(&version.name, version.version, file);
        let damaged = |expected: String, found: String| Error::Damaged {
            file: self.place(&path),
            expected,
            found,
            remedy: REMEDY,
        };
        let got = match self.store.get(&path).await {
            Ok(got) => got,
            Err(StoreError::NotFound { .. }) if self.is_removed(&version.name, version.version).await? => {
                return Err(
                    self.conflict(&path, "the version was removed while it was being read; choose another")
                );
            }
            Err(StoreError::NotFound { .. }) => {
                return Err(damaged(format!("{} bytes", record.bytes), "no such file".into()));
            }
            Err(source) => return Err(self.failed(&path)(source)),
        };
        let length = got.meta.size;
        if length != record.bytes {
            return Err(damaged(format!("{} bytes", record.bytes), format!("{length}")));
        }
        let mut hasher = blake3::Hasher::new();
        let read = |bytes: &[u8]| {
            hasher.update(bytes);
            each(bytes)
        };
        drain(got, read, self.failed(&path)).await?;
        let found = hasher.finalize().to_hex().to_string();
        match found == record.blake3 {
            true => Ok(()),
            false => Err(damaged(format!("the checksum {}", record.blake3), found)),
        }
    }
}

/// All bytes, piece by piece.
async fn drain(
    got: GetResult,
    mut each: impl FnMut(&[u8]) -> Result<()>,
    failed: impl Fn(StoreError) -> Error,
) -> Result<()> {
    match got.payload {
        GetResultPayload::File(mut file, path) => {
            let mut buffer = vec![0; BUFFER];
            loop {
                match file.read(&mut buffer).map_err(Error::io(&path))? {
                    0 => return Ok(()),
                    n => each(&buffer[..n])?,
                }
            }
        }
        _ => {
            let mut pieces = got.into_stream();
            while let Some(bytes) = pieces.try_next().await.map_err(&failed)? {
                each(&bytes)?;
            }
            Ok(())
        }
    }
}

/// A folder with the permissions that any new one has.
fn temporary(parent: &Path) -> io::Result<tempfile::TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".fetch.").suffix(".tmp");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    builder.tempdir_in(parent)
}
