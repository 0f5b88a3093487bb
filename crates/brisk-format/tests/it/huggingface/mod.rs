//! Hugging Face folders: what `transformers` wrote is understood, and comes back as it was.

mod forward;
mod hostile;
mod load;
mod outside;
mod save;

use std::fs;
use std::path::{Path, PathBuf};

/// One of the folders that `transformers` made.
fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../brisk-testkit/goldens/huggingface").join(name)
}

/// A copy that may be changed.
fn copy(name: &str, to: &Path) -> PathBuf {
    let to = to.join(name);
    copy_all(&golden(name), &to);
    to
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_all(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// Changes entries of a JSON file; null removes one.
fn edit(path: &Path, changes: serde_json::Value) {
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    for (key, value) in changes.as_object().unwrap() {
        json[key] = value.clone();
    }
    json.as_object_mut().unwrap().retain(|_, v| !v.is_null());
    fs::write(path, json.to_string()).unwrap();
}
