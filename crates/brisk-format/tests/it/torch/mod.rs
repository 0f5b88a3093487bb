//! PyTorch's checkpoints: what it wrote is read, and what would run is refused.

mod files;
mod hostile;
mod models;
mod weights;
pub mod write;

use std::path::{Path, PathBuf};

/// A file that PyTorch made.
fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../brisk-testkit/goldens/torch").join(name)
}

/// What stands in a JSON file beside them.
fn index(name: &str) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(golden(name)).unwrap()).unwrap()
}
