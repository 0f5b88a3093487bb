//! `brisk.json`: what makes a folder a model folder. It holds the format's version and a checksum of every other file that
//! a prediction depends on.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::listed;
use crate::hashed::read_whole;
use crate::{Error, FORMAT_VERSION, Result};

pub(crate) const MANIFEST: &str = "brisk.json";
pub(crate) const REMEDY: &str =
    "restore the folder from a backup, save the model again from a checkpoint of its run, or train again";

#[derive(Serialize, Deserialize)]
pub(crate) struct Manifest {
    format: u64,
    /// Who wrote it; for people.
    brisk: String,
    /// Names and BLAKE3 checksums, in hexadecimal digits.
    files: Map<String, Value>,
}

impl Manifest {
    pub fn new() -> Manifest {
        Manifest { format: FORMAT_VERSION.into(), brisk: env!("CARGO_PKG_VERSION").into(), files: Map::new() }
    }

    /// Writes a new file in a folder, and remembers its checksum.
    pub fn add(
        &mut self,
        dir: &Path,
        name: &str,
        hash: blake3::Hash,
        pieces: impl Fn(&mut File) -> std::io::Result<()>,
    ) -> Result<()> {
        write_new(&dir.join(name), pieces)?;
        self.files.insert(name.into(), hash.to_hex().as_str().into());
        Ok(())
    }

    /// Writes a new text file in a folder, and remembers its checksum.
    pub fn add_text(&mut self, dir: &Path, name: &str, text: &str) -> Result<()> {
        self.add(dir, name, blake3::hash(text.as_bytes()), |f| f.write_all(text.as_bytes()))
    }

    /// Writes the manifest itself.
    pub fn finish(self, dir: &Path) -> Result<()> {
        let path = dir.join(MANIFEST);
        let text = pretty(&self).map_err(|e| Error::unsaved(&path, e.to_string()))?;
        write_new(&path, |f| f.write_all(text.as_bytes()))
    }

    /// Reads the manifest of a folder.
    pub fn read(dir: &Path) -> Result<Manifest> {
        Ok(Manifest::read_hashed(dir)?.0)
    }

    /// Reads the manifest of a folder; its own checksum too.
    pub fn read_hashed(dir: &Path) -> Result<(Manifest, blake3::Hash)> {
        let path = dir.join(MANIFEST);
        let (bytes, hash) = read_whole(&path, "a model's manifest")?;
        let damaged = |found: String| Error::Damaged { path: path.clone(), found, remedy: REMEDY };
        let value: Value = serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
        match value["format"].as_u64() {
            Some(found) if found > FORMAT_VERSION.into() => {
                return Err(Error::Newer { path, found, known: FORMAT_VERSION });
            }
            Some(found) if found == u64::from(FORMAT_VERSION) => {}
            _ => return Err(damaged(format!("expected a format version, found {}", value["format"]))),
        }
        Ok((serde_json::from_value(value).map_err(|e| damaged(e.to_string()))?, hash))
    }

    /// The files and their checksums.
    pub fn checksums(&self) -> Result<Vec<(String, Option<String>)>, String> {
        let checksum = |(name, value): (&String, &Value)| match value.as_str() {
            Some(checksum) => Ok((name.clone(), Some(checksum.to_string()))),
            None => Err(format!("expected a checksum of {name}, found {value}")),
        };
        self.files.iter().map(checksum).collect()
    }

    /// The files that it has checksums of.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// An error if a file is not the one that was written.
    pub fn check(&self, path: &Path, hash: blake3::Hash) -> Result<()> {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let damaged = |found: String| Error::Damaged { path: path.into(), found, remedy: REMEDY };
        match self.files.get(name).and_then(Value::as_str) {
            None => Err(damaged(format!("{MANIFEST} has no checksum of it"))),
            Some(expected) if expected != hash.to_hex().as_str() => {
                Err(damaged(format!("its checksum is not the one that {MANIFEST} has")))
            }
            Some(_) => Ok(()),
        }
    }

    /// Reads a text file of the folder, and checks it.
    pub fn read_text(&self, dir: &Path, name: &str) -> Result<(PathBuf, String)> {
        let path = dir.join(name);
        let (bytes, hash) = read_whole(&path, "a file of the model").map_err(missing)?;
        self.check(&path, hash)?;
        let text = String::from_utf8(bytes).map_err(|e| Error::content(&path, e))?;
        Ok((path, text))
    }
}

/// A file that the manifest speaks of is missing: then the folder is damaged, and not the path wrong.
pub(crate) fn missing(error: Error) -> Error {
    match error {
        Error::NotFound { path, found, .. } => Error::Damaged { path, found, remedy: REMEDY },
        other => other,
    }
}

/// Indented JSON that ends with a line end.
pub(crate) fn pretty(value: &impl Serialize) -> serde_json::Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

/// Writes a file in a folder that nobody else knows yet.
pub(crate) fn write_new(path: &Path, write: impl Fn(&mut File) -> std::io::Result<()>) -> Result<()> {
    let write_it = || {
        let mut file = File::create_new(path)?;
        write(&mut file)?;
        file.sync_all()
    };
    write_it().map_err(Error::write(path))
}

/// Says what a path is, if it is no model folder.
pub(crate) fn not_a_model(dir: &Path, files: &[&str]) -> Error {
    let error = |found: String, hint: String| Error::NotFound {
        path: dir.into(),
        expected: "a model folder",
        found,
        hint,
    };
    let is_model = |path: &Path| path.join(MANIFEST).is_file();
    if !dir.exists() {
        return error("there is no such folder".into(), String::new());
    }
    if !dir.is_dir() {
        let hint = "give the folder; that of a run's model is runs/NAME/model";
        return error("this is a file".into(), hint.into());
    }
    let absent: Vec<&str> = files.iter().copied().filter(|f| !dir.join(f).exists()).collect();
    let beside = fs::canonicalize(dir).ok().and_then(|d| d.parent().map(|p| p.join("model")));
    let run = ["config.yaml", "history.csv", "checkpoints"].iter().any(|n| dir.join(n).exists());
    let hint = if is_model(&dir.join("model")) {
        format!("this looks like a run: its model is {}", dir.join("model").display())
    } else if run {
        format!("this looks like a run that has not finished: try `brisk train --resume {}`", dir.display())
    } else if let Some(beside) = beside.filter(|b| is_model(b)) {
        format!("there is a model in {}", beside.display())
    } else if dir.join("config.json").exists() {
        "this looks like a Hugging Face folder that Brisk did not write: try `brisk import`".into()
    } else {
        "give the folder that training wrote, such as runs/NAME/model".into()
    };
    error(format!("there is no {}", listed(&absent)), hint)
}
