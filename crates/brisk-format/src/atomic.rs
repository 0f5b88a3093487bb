//! Files and folders that are there whole, or not at all.
//!
//! What is new is written beside its place, under a name such as `.model.x1y2z3.tmp`, forced to disk, and renamed. Until
//! the rename the old one stands untouched; after it the new one is complete, also if the power fails. What a killed
//! process has left lying is removed by a later one.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::{Error, Result};

/// Writes a file that is there whole, or not at all: if this fails, what stood in its place before is still there. Makes the
/// folders that it stands in.
///
/// ```
/// use std::io::Write;
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("history.csv");
/// brisk_format::write_atomic(&path, |w| writeln!(w, "epoch,loss"))?;
/// let failed = brisk_format::write_atomic(&path, |w| {
///     w.write_all(b"half a li")?;
///     Err(std::io::ErrorKind::StorageFull.into())
/// });
/// assert!(failed.unwrap_err().is_io());
/// assert_eq!(std::fs::read_to_string(&path)?, "epoch,loss\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write_atomic(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let path = &resolve(path);
    let (parent, name) = place(path)?;
    fs::create_dir_all(&parent).map_err(Error::write(path))?;
    remove_leftovers(&parent, &name, &[]);
    let write_it = || {
        let file = temporary(&prefix(&name), 0o666).tempfile_in(&parent)?;
        let _ = file.as_file().try_lock(); // alive: not to be removed by others
        let mut buffer = BufWriter::with_capacity(1 << 16, file);
        write(&mut buffer)?;
        let file = buffer.into_inner()?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        sync_folder(&parent)
    };
    write_it().map_err(Error::write(path))
}

/// Writes a text file that is there whole, or not at all.
///
/// ```
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("labels.txt");
/// brisk_format::write_text(&path, "cat\ndog\n")?;
/// assert_eq!(std::fs::read_to_string(&path)?, "cat\ndog\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write_text(path: &Path, text: &str) -> Result<()> {
    write_atomic(path, |w| w.write_all(text.as_bytes()))
}

/// Writes a folder that is there whole, or not at all. `own` are the names that may stand in it; what else an old folder
/// holds moves to the new one.
pub(crate) fn write_folder(path: &Path, own: &[&str], write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let path = &resolve(path);
    let (parent, name) = place(path)?;
    let failed = Error::write(path);
    fs::create_dir_all(&parent).map_err(&failed)?;
    remove_leftovers(&parent, &name, own);
    if !path.exists() && aside(&parent, &name).exists() {
        fs::rename(aside(&parent, &name), path).map_err(&failed)?;
    }
    let new = temporary(&prefix(&name), 0o777).tempdir_in(&parent).map_err(&failed)?;
    let lock = File::open(new.path());
    let _ = lock.as_ref().map(File::try_lock);
    write(new.path())?;
    sync_folder(new.path()).map_err(&failed)?;
    if !path.exists() {
        fs::rename(new.path(), path).map_err(&failed)?;
        let _ = new.keep(); // it has another name now
        return sync_folder(&parent).map_err(&failed);
    }
    swap(new.path(), path, &aside(&parent, &name)).map_err(&failed)?;
    sync_folder(&parent).map_err(&failed)?;
    // The old folder has the temporary name now, and goes when `new` does, unless something of the user's stays in it.
    match keep_strangers(new.path(), path, own) {
        Ok(()) => Ok(()),
        Err(error) => {
            let _ = new.keep();
            Err(failed(error))
        }
    }
}

/// Where the old folder stands for a moment while two renames replace it.
pub(crate) fn aside(parent: &Path, name: &OsStr) -> PathBuf {
    parent.join(format!(".{}.old", name.display()))
}

/// The folder that something stands in, and its name there.
pub(crate) fn place(path: &Path) -> Result<(PathBuf, OsString)> {
    let Some(name) = path.file_name() else {
        return Err(Error::unsaved(path, "expected a path that ends with a name"));
    };
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    Ok((parent.into(), name.into()))
}

/// Makes names such as `.model.x1y2z3.tmp`, with the permissions that any new file or folder has: these, less the umask.
fn temporary(prefix: &str, mode: u32) -> tempfile::Builder<'_, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix).suffix(SUFFIX);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
    let _ = mode;
    builder
}

fn prefix(name: &OsStr) -> String {
    format!(".{}.", name.display())
}

/// A link stays a link: what it points to is replaced.
fn resolve(path: &Path) -> PathBuf {
    if path.is_symlink() || path.file_name().is_none() {
        return fs::canonicalize(path).unwrap_or_else(|_| path.into());
    }
    path.into()
}

const SUFFIX: &str = ".tmp";

/// Removes what writers of the same name left lying when they were killed: not touched for a while, and locked by nobody.
/// A folder stays if it holds anything but `own`: then it is an old one, with something of the user's.
fn remove_leftovers(parent: &Path, name: &OsStr, own: &[&str]) {
    const A_WHILE: Duration = Duration::from_secs(60);
    let prefix = prefix(name);
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let found = entry.file_name();
        let ours = |n: &str| {
            n.strip_prefix(&prefix).and_then(|n| n.strip_suffix(SUFFIX)).is_some_and(|n| n.len() == 6)
        };
        let age = || SystemTime::now().duration_since(entry.metadata().ok()?.modified().ok()?).ok();
        if !found.to_str().is_some_and(ours) || age().is_none_or(|age| age < A_WHILE) {
            continue;
        }
        let path = entry.path();
        let strangers = || strangers(&path, own).map_or(true, |s| !s.is_empty());
        let Ok(file) = File::open(&path) else { continue };
        if file.try_lock().is_err() || path.is_dir() && strangers() {
            continue;
        }
        let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
    }
}

/// Puts the new folder in the place of the old one, and the old one in its place.
fn swap(new: &Path, old: &Path, aside: &Path) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_vendor = "apple"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        if renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE).is_ok() {
            return Ok(());
        }
    }
    swap_by_renames(new, old, aside)
}

/// For file systems that cannot do it in one step. Loading looks aside if the process dies on the way.
fn swap_by_renames(new: &Path, old: &Path, aside: &Path) -> io::Result<()> {
    let _ = fs::remove_dir_all(aside);
    fs::rename(old, aside)?;
    if let Err(error) = fs::rename(new, old) {
        fs::rename(aside, old)?;
        return Err(error);
    }
    fs::rename(aside, new)
}

/// Moves what is not ours from the old folder to the new one.
fn keep_strangers(old: &Path, new: &Path, own: &[&str]) -> io::Result<()> {
    strangers(old, own)?.iter().try_for_each(|name| fs::rename(old.join(name), new.join(name)))
}

/// The names in a folder that are not ours.
fn strangers(folder: &Path, own: &[&str]) -> io::Result<Vec<OsString>> {
    let names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name()));
    names.filter(|name| !matches!(name, Ok(name) if own.iter().any(|own| name == *own))).collect()
}

/// Forces the names in a folder to disk, where the system can.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_swapped_by_renames_where_it_must_be() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["new", "old", "aside"] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join(name), "").unwrap();
        }
        swap_by_renames(&at("new"), &at("old"), &at("aside")).unwrap();
        assert!(at("new/old").exists() && at("old/new").exists() && !at("aside").exists());
        swap_by_renames(&at("none"), &at("old"), &at("aside")).unwrap_err();
        assert!(at("old/new").exists() && !at("aside").exists());
    }
}
