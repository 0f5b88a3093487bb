//! API keys: made once, shown once, stored as hashes.

use std::fs::{self, Metadata};
use std::io::{Error, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::fault::{Answered, Fault, FaultKind};

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Asking models.
    Infer,
    /// Loading, unloading, moving aliases.
    Admin,
}

/// A key as it is stored: keys have 256 random bits, so that a fast hash keeps them as well as a slow one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredKey {
    /// Who has it.
    pub name: String,
    /// BLAKE3 of the key, in hexadecimal digits.
    pub blake3: String,
    /// What it is for.
    pub scopes: Vec<Scope>,
}

/// The keys of a file, which is read again when it changes. A change that cannot be read is logged, and what was read before counts on; if the
/// file is gone, no key is known.
///
/// ```
/// use brisk_serve::{Keys, Scope};
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("keys.json");
/// let key = Keys::add(&path, "billing", &[Scope::Infer])?;
/// assert!(!std::fs::read_to_string(&path)?.contains(&key));
/// let keys = Keys::open(&path)?;
/// assert_eq!(keys.check(Some(&key), Scope::Infer).unwrap(), "billing");
/// assert_eq!(keys.check(Some(&key), Scope::Admin).unwrap_err().kind.status(), 403);
/// assert_eq!(keys.check(None, Scope::Infer).unwrap_err().kind.status(), 401);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Keys {
    path: PathBuf,
    state: Mutex<(Stamp, Vec<Known>)>,
}

/// What a file looks like from outside: when it was changed, when its owner or mode was, and its length.
type Stamp = Option<(SystemTime, i64, u64)>;

struct Known {
    name: String,
    hash: blake3::Hash,
    scopes: Vec<Scope>,
}

impl Keys {
    /// Reads the file.
    pub fn open(path: &Path) -> std::io::Result<Keys> {
        let stamp = stamp(path);
        let keys = read(path)?;
        Ok(Keys { path: path.into(), state: Mutex::new((stamp, keys)) })
    }

    /// Makes a new key, adds its hash to the file, and gives the key: it can never be read again.
    /// A new file can be read by its owner alone; one that is there keeps its owner and mode.
    pub fn add(path: &Path, name: &str, scopes: &[Scope]) -> std::io::Result<String> {
        let folder = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let named = |e: Error| Error::new(e.kind(), format!("{}: {e}", folder.display()));
        // Of two that add keys, one waits; where there are no locks, as on some file servers, nobody does.
        #[cfg(unix)]
        let _lock = {
            let lock = fs::File::open(folder).map_err(named)?;
            let _ = lock.lock();
            lock
        };
        let mut all = stored(path).or_else(|e| match e.kind() {
            ErrorKind::NotFound => Ok(Vec::new()),
            _ => Err(e),
        })?;
        if all.iter().any(|k| k.name == name) {
            let message = format!("{}: there is a key named {name:?} already", path.display());
            return Err(Error::new(ErrorKind::AlreadyExists, message));
        }
        let mut random = [0; 32];
        fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
        let digits: String = random.iter().map(|b| format!("{b:02x}")).collect();
        let key = format!("brisk-{digits}");
        let blake3 = blake3::hash(key.as_bytes()).to_hex().to_string();
        all.push(StoredKey { name: name.into(), blake3, scopes: scopes.to_vec() });
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(named)?;
        file.write_all((serde_json::to_string_pretty(&all)? + "\n").as_bytes())?;
        if let Ok(old) = fs::metadata(path) {
            like(file.path(), &old)
                .map_err(|e| Error::new(e.kind(), format!("{}: its owner: {e}", path.display())))?;
        }
        file.as_file().sync_all()?;
        file.persist(path)
            .map_err(|e| Error::new(e.error.kind(), format!("{}: {}", path.display(), e.error)))?;
        Ok(key)
    }

    /// Who has a key, if it is for this. All keys are compared, in constant time.
    pub fn check(&self, key: Option<&str>, scope: Scope) -> Answered<String> {
        let Some(key) = key else {
            return Err(Fault::new(
                FaultKind::Unauthorized,
                "expected a key: `Authorization: Bearer KEY` or `X-API-Key: KEY`",
            ));
        };
        let hash = blake3::hash(key.as_bytes());
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamp(&self.path);
        if now != state.0 {
            match read(&self.path) {
                Ok(keys) => *state = (now, keys),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    tracing::error!(%error, "the file of keys is gone: no key is known");
                    *state = (now, Vec::new());
                }
                Err(error) => {
                    tracing::error!(%error, "the file of keys cannot be read: those that were read before count on");
                    // What is wrong with its text stays so until it changes; anything else is tried again.
                    if error.kind() == ErrorKind::InvalidData {
                        state.0 = now;
                    }
                }
            }
        }
        // `blake3::Hash` compares in constant time, and no key ends the loop early.
        let mut found = None;
        for known in &state.1 {
            if known.hash == hash {
                found = Some(known);
            }
        }
        match found {
            None => Err(Fault::new(FaultKind::Unauthorized, "this key is not known")),
            Some(known) if known.scopes.contains(&scope) => Ok(known.name.clone()),
            Some(known) => {
                let (name, scope) = (&known.name, format!("{scope:?}").to_lowercase());
                Err(Fault::new(
                    FaultKind::Forbidden,
                    format!("the key of {name:?} lacks the scope `{scope}`"),
                ))
            }
        }
    }
}

fn stamp(path: &Path) -> Stamp {
    let data = fs::metadata(path).ok()?;
    #[cfg(unix)]
    let changed = {
        use std::os::unix::fs::MetadataExt;
        data.ctime() * 1_000_000_000 + data.ctime_nsec()
    };
    #[cfg(not(unix))]
    let changed = 0;
    Some((data.modified().ok()?, changed, data.len()))
}

/// Gives a file the owner and mode of another.
fn like(path: &Path, old: &Metadata) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, chown};
        let new = fs::metadata(path)?;
        if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
            chown(path, Some(old.uid()), Some(old.gid()))?;
        }
    }
    fs::set_permissions(path, old.permissions())
}

fn stored(path: &Path) -> std::io::Result<Vec<StoredKey>> {
    let named = |e: Error| Error::new(e.kind(), format!("{}: {e}", path.display()));
    let text = fs::read_to_string(path).map_err(named)?;
    serde_json::from_str(&text)
        .map_err(|e| Error::new(ErrorKind::InvalidData, format!("{}: {e}", path.display())))
}

fn read(path: &Path) -> std::io::Result<Vec<Known>> {
    let known = |k: StoredKey| {
        let hash = blake3::Hash::from_hex(&k.blake3).map_err(|e| {
            let message = format!("{}: the key of {:?}: {e}", path.display(), k.name);
            Error::new(ErrorKind::InvalidData, message)
        })?;
        Ok(Known { name: k.name, hash, scopes: k.scopes })
    };
    stored(path)?.into_iter().map(known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn knows(keys: &Keys, key: &str) -> bool {
        keys.check(Some(key), Scope::Infer).is_ok()
    }

    #[test]
    fn a_file_that_changes_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        let one = Keys::add(&path, "one", &[Scope::Infer]).unwrap();
        let keys = Keys::open(&path).unwrap();
        let two = Keys::add(&path, "two", &[Scope::Infer]).unwrap();
        assert!(knows(&keys, &one) && knows(&keys, &two));
        let good = fs::read_to_string(&path).unwrap();
        fs::write(&path, "[{").unwrap();
        assert!(knows(&keys, &one), "a typing error must not lock all out");
        fs::write(&path, good).unwrap();
        assert!(knows(&keys, &two));
        fs::remove_file(&path).unwrap();
        assert!(!knows(&keys, &one) && !knows(&keys, &two));
    }

    #[test]
    fn keys_that_are_made_at_once_are_all_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        let made: Vec<String> = std::thread::scope(|scope| {
            let add = |i: usize| Keys::add(&path, &format!("app-{i}"), &[Scope::Infer]).unwrap();
            let all: Vec<_> = (0..8).map(|i| scope.spawn(move || add(i))).collect();
            all.into_iter().map(|t| t.join().unwrap()).collect()
        });
        let keys = Keys::open(&path).unwrap();
        assert!(made.iter().all(|key| knows(&keys, key)));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_keeps_its_mode() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        Keys::add(&path, "one", &[Scope::Infer]).unwrap();
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        Keys::add(&path, "two", &[Scope::Infer]).unwrap();
        assert_eq!(mode(), 0o640);
    }
}
