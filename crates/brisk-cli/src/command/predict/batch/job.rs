//! What a job is: if anything of it changes, what was answered before does not count any more.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result};
use brisk_format::{is_model, model_files};
use serde_json::{Map, Value as Json, json};

use super::super::Predict;

/// The parts of a job, and what is said if one is another.
const PARTS: [(&str, &str); 5] = [
    ("input", "the input has changed"),
    // A file may have been changed and look as before.
    ("rows", "the input has changed"),
    ("model", "the model has changed"),
    ("options", "the options have changed"),
    ("brisk", "Brisk itself has changed"),
];

/// The input, the model, and the options that answers depend on.
pub fn describe(args: &Predict, input: &Path) -> Result<Json> {
    Ok(json!({
        "input": stamp(input)?,
        "model": model(&args.run)?,
        // The path as it was given stands in messages about rows.
        "options": {"top": args.top, "embed": args.embed, "input": input.display().to_string()},
        "brisk": env!("CARGO_PKG_VERSION"),
    }))
}

/// Says what has changed between two descriptions; nothing if they are equal.
pub fn difference(old: &Json, new: &Json) -> Option<&'static str> {
    let part = PARTS.iter().find(|(key, _)| old[*key] != new[*key]);
    part.map(|(_, changed)| *changed)
}

/// A file as it is now.
pub fn stamp(path: &Path) -> Result<Json> {
    let place = || path.display().to_string();
    let data = fs::metadata(path).with_context(place)?;
    let modified = data.modified().with_context(place)?;
    // As text: JSON has no numbers that are so long.
    let modified = match modified.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_nanos().to_string(),
        Err(before) => format!("-{}", before.duration().as_nanos()),
    };
    Ok(json!({"path": resolve(path).display().to_string(), "bytes": data.len(), "modified": modified}))
}

/// A model by the checksum of its `brisk.json`, which has those of its other files; a folder of others by how its files look.
fn model(path: &Path) -> Result<Json> {
    // Where `Ready::open` looks.
    if let Some(folder) = [path.to_path_buf(), path.join("model")].iter().find(|f| is_model(f)) {
        return Ok(json!({ "checksum": model_files(folder)?.pop().and_then(|file| file.1) }));
    }
    let mut files = Map::new();
    let mut folders = vec![path.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let found = entry.with_context(|| folder.display().to_string())?.path();
            // Folders in it, such as 1_Pooling, but none below.
            if found.is_file() {
                files.insert(found.display().to_string(), stamp(&found)?);
            } else if found.is_dir() && folder == path {
                folders.push(found);
            }
        }
    }
    files.sort_keys();
    Ok(Json::Object(files))
}

/// One path for each file: without links, and from the root.
pub fn resolve(path: &Path) -> PathBuf {
    if let Ok(real) = fs::canonicalize(path) {
        return real;
    }
    // It is not there yet; its folder may be.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
    match (path.parent().and_then(|p| fs::canonicalize(p).ok()), path.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => path,
    }
}
