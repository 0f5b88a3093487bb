//! TensorFlow's files: what it wrote is understood, and nothing that can be read makes it panic.

mod checkpoint;
pub mod convert;
mod hostile;
mod saved_model;

use std::fs;
use std::path::{Path, PathBuf};

/// A file or folder that TensorFlow made; see `tensorflow_files.py` there.
fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../brisk-testkit/goldens/tensorflow").join(name)
}

/// A copy of the files of a folder, not of folders in it, that may be changed.
fn copy(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(golden(name)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    dir
}
