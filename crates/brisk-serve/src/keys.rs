//! API keys: made once, shown once, stored as hashes.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use brisk_format::write_text;
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

/// The keys of a file, which is read again when it changes.
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
    state: Mutex<(Option<SystemTime>, Vec<Known>)>,
}

struct Known {
    name: String,
    hash: blake3::Hash,
    scopes: Vec<Scope>,
}

impl Keys {
    /// Reads the file.
    pub fn open(path: &Path) -> std::io::Result<Keys> {
        let keys = read(path)?;
        Ok(Keys { path: path.into(), state: Mutex::new((modified(path), keys)) })
    }

    /// Makes a new key, adds its hash to the file, and gives the key: it can never be read again.
    pub fn add(path: &Path, name: &str, scopes: &[Scope]) -> std::io::Result<String> {
        let mut all = stored(path).or_else(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Ok(Vec::new()),
            _ => Err(e),
        })?;
        if all.iter().any(|k| k.name == name) {
            let message = format!("{}: there is a key named {name:?} already", path.display());
            return Err(std::io::Error::other(message));
        }
        let mut random = [0; 32];
        fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
        let digits: String = random.iter().map(|b| format!("{b:02x}")).collect();
        let key = format!("brisk-{digits}");
        let blake3 = blake3::hash(key.as_bytes()).to_hex().to_string();
        all.push(StoredKey { name: name.into(), blake3, scopes: scopes.to_vec() });
        write_text(path, &(serde_json::to_string_pretty(&all)? + "\n")).map_err(std::io::Error::other)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        }
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
        let now = modified(&self.path);
        if now != state.0
            && let Ok(keys) = read(&self.path)
        {
            *state = (now, keys);
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

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|m| m.modified()).ok()
}

fn stored(path: &Path) -> std::io::Result<Vec<StoredKey>> {
    let named = |e: std::io::Error| std::io::Error::new(e.kind(), format!("{}: {e}", path.display()));
    let text = fs::read_to_string(path).map_err(named)?;
    serde_json::from_str(&text).map_err(|e| std::io::Error::other(format!("{}: {e}", path.display())))
}

fn read(path: &Path) -> std::io::Result<Vec<Known>> {
    let known = |k: StoredKey| {
        let hash = blake3::Hash::from_hex(&k.blake3).map_err(|e| {
            std::io::Error::other(format!("{}: the key of {:?}: {e}", path.display(), k.name))
        })?;
        Ok(Known { name: k.name, hash, scopes: k.scopes })
    };
    stored(path)?.into_iter().map(known).collect()
}
