//! Image files from the command line.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::exit::bad_input;

/// The endings of image files that a folder is searched for.
const ENDINGS: [&str; 5] = ["png", "jpg", "jpeg", "webp", "bmp"];

/// Files as they are given; of folders all images directly in them, by name.
pub fn images(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        match path.is_dir() {
            true => files.extend(in_folder(path)?),
            false => files.push(path.clone()),
        }
    }
    Ok(files)
}

fn in_folder(folder: &Path) -> Result<Vec<PathBuf>> {
    let context = || format!("cannot read the folder {}", folder.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(context)? {
        let path = entry.with_context(context)?.path();
        let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
        if ENDINGS.contains(&ending.as_str()) && path.is_file() {
            found.push(path);
        }
    }
    if found.is_empty() {
        let message = format!(
            "{}: no images in this folder; expected files ending in .{}",
            folder.display(),
            ENDINGS.join(", .")
        );
        return Err(bad_input(message));
    }
    found.sort();
    Ok(found)
}
